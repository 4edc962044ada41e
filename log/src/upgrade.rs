//! The upgrade of a folder that has no history yet.
//!
//! Programs from before there were segments know only `log`. Before anything of a log is anywhere else, its manifest
//! gets a format that they refuse.

use std::path::Path;

use crate::error::Error;
use crate::history::{FILE, History};
use crate::manifest::Manifest;
use crate::position::LogId;

/// Makes sure that the folder has a manifest of the history, and that older programs refuse the folder.
///
/// IMPORTANT: the history is durable before the manifest says that there is one. So if the manifest says so and the
/// history is missing, that is damage.
pub(crate) fn begin_history(folder: &Path, log_id: LogId) -> Result<(), Error> {
    let manifest = folder.join("manifest.json");
    if Manifest::read(manifest.clone())?.has_history() {
        return Ok(());
    }
    let failed = |path| move |source| Error::File { doing: "write", path, source };
    History::empty(log_id).replace(folder).map_err(failed(folder.join(FILE)))?;
    Manifest::change(&manifest, Manifest::with_history)
}
