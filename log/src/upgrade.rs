//! The upgrade of a folder that has no manifest of its history.
//!
//! Programs from before there were segments know only `log`, and envelopes of version 1. Before anything of a log is
//! anywhere else, or in another form, its manifest gets a format that they refuse.

use std::path::Path;

use crate::error::Error;
use crate::history::{FILE, History};
use crate::manifest::Manifest;
use crate::position::LogId;

/// Makes sure that the folder has a manifest of the history, and that older programs refuse the folder. Returns the
/// history if it begins now.
///
/// IMPORTANT: the history is durable before the manifest says that there is one. So if the manifest says so and the
/// history is missing, that is damage.
pub(crate) fn begin_history(folder: &Path, log_id: LogId) -> Result<Option<History>, Error> {
    let manifest = folder.join("manifest.json");
    if Manifest::read(manifest.clone())?.has_history() {
        return Ok(None);
    }
    let failed = |path| move |source| Error::File { doing: "write", path, source };
    let history = History::begun(log_id)?;
    history.replace(folder).map_err(failed(folder.join(FILE)))?;
    Manifest::change(&manifest, Manifest::with_history)?;
    Ok(Some(history))
}
