//! A folder for a copy of a log.
//!
//! Opening sled writes: a snapshot, and zeros over free segments. A log on a full or read-only disk that was not closed
//! cleanly can still be read from a copy in memory or on another disk. Nothing in the tenant's folder is changed.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Error;
use crate::storage::{StorageError, StorageFailure};

/// The space that sled takes for itself when it opens a log: some segments.
const ROOM_BYTES: u64 = 16 << 20;

/// Folders for the copy, in memory or on other disks, in the order of preference.
fn scratches() -> [PathBuf; 2] {
    ["/dev/shm".into(), std::env::temp_dir()]
}

/// A folder with enough space for a copy of `bytes`.
pub(crate) fn scratch(bytes: u64) -> Result<TempDir, Error> {
    let scratch = scratches().into_iter().find(|scratch| has_room(scratch, bytes.saturating_add(ROOM_BYTES)));
    let scratch = scratch.ok_or_else(|| {
        let reason = format!("no other disk has room for a copy of {bytes} bytes");
        Error::Storage(StorageError { doing: "read the log elsewhere", reason, kind: StorageFailure::Full })
    })?;
    tempfile::Builder::new().prefix("vectorizer-read-").tempdir_in(&scratch).map_err(|source| Error::File {
        doing: "create a folder in",
        path: scratch,
        source,
    })
}

fn has_room(folder: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|system| system.f_bavail.saturating_mul(system.f_frsize) >= bytes.saturating_mul(2))
}
