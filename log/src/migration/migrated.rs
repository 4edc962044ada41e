//! The source folders that were migrated, and their destinations.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use vectorizer_durable::{self as durable, sync_folder};

use super::destination::Destination;
use super::error::{MigrationError, failed};
use crate::tenant_id::TenantId;

/// The folder of migrated source folders, beside the tenants'. No tenant can have this name.
pub(super) const MIGRATED: &str = "_migrated";

/// Writes a destination durably.
pub(super) fn write(destination: &Destination, path: &Path) -> Result<(), MigrationError> {
    let unfinished = path.with_extension("json.new");
    durable::replace(path, &unfinished, |file| file.write_all(&serde_json::to_vec_pretty(destination)?))
        // The folder may be new.
        .and_then(|()| path.parent().and_then(Path::parent).map_or(Ok(()), sync_folder))
        .map_err(failed("write", path))
}

/// The destination of the data that `source` had in the data folder `from`; `None` if it is still there or never was.
pub fn destination(from: &Path, source: &TenantId) -> Result<Option<Destination>, MigrationError> {
    if from.join(source.as_str()).exists() {
        return Ok(None);
    }
    Ok(destinations(from)?.into_iter().find(|it| it.source == *source))
}

/// The destinations of all data whose source folders are still set aside in `from`.
pub(super) fn destinations(from: &Path) -> Result<Vec<Destination>, MigrationError> {
    let migrated = from.join(MIGRATED);
    let entries = match fs::read_dir(&migrated) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", &migrated))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", &migrated))?.path();
        // A destination does not count any more once its source folder was moved back or erased.
        if path.extension().is_some_and(|it| it == "json") && path.with_extension("").is_dir() {
            let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            found.push(read.map_err(failed("read", &path))?);
        }
    }
    Ok(found)
}
