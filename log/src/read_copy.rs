//! Reading a log from a copy.
//!
//! Opening sled writes: a snapshot, and zeros over free segments. A log on a full or read-only disk that was not closed
//! cleanly can still be read from a copy in memory or on another disk. Nothing in the tenant's folder is changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use vectorizer_durable::copy_tree;

use crate::error::{Error, damage_if_corrupt};
use crate::head;
use crate::position::{Head, LogId};
use crate::record::Record;
use crate::recovery::each_acknowledged;
use crate::storage::{SledCopy, SledPaths, Storage as _, StorageError, StorageFailure};

/// The space that sled takes for itself when it opens a log: some segments.
const ROOM_BYTES: u64 = 16 << 20;

/// Folders for the copy, in memory or on other disks, in the order of preference.
fn scratches() -> [PathBuf; 2] {
    ["/dev/shm".into(), std::env::temp_dir()]
}

/// Copies the log at `from` to a folder with enough space, and calls `fold` with each acknowledged record. Returns the
/// head, and the stored bytes up to it.
pub(crate) fn read<E: From<Error>>(
    from: &SledPaths,
    segment_bytes: usize,
    log_id: LogId,
    fold: &mut dyn FnMut(Record) -> Result<(), E>,
) -> Result<(Head, u64), E> {
    let failed = |source| Error::File { doing: "copy", path: from.log.clone(), source };
    let bytes = from.file_bytes().map_err(failed)?;
    let scratch = scratches().into_iter().find(|scratch| has_room(scratch, bytes.saturating_add(ROOM_BYTES)));
    let scratch = scratch.ok_or_else(|| {
        let reason = format!("no other disk has room for a copy of {bytes} bytes");
        Error::Storage(StorageError { doing: "read the log elsewhere", reason, kind: StorageFailure::Full })
    })?;
    let copy = tempfile::Builder::new()
        .prefix("vectorizer-read-")
        .tempdir_in(&scratch)
        .map_err(|source| Error::File { doing: "create a folder in", path: scratch, source })?;
    let to = SledPaths {
        log: copy.path().join("log"),
        head: copy.path().join("head"),
        poison_mark: copy.path().join("condemned"),
    };
    // IMPORTANT: before it is copied. The content of the page cache is taken to be durable. Bodies are synced before
    // sled refers to them.
    File::open(from.log.join("db"))
        .and_then(|data| data.sync_data())
        .and_then(|()| copy_tree(&from.log, &to.log))
        .and_then(|()| fs::copy(&from.head, &to.head))
        .map_err(failed)?;
    let storage = SledCopy::open(to, segment_bytes).map_err(damage_if_corrupt)?;
    let (acknowledged, _) =
        storage.read_head().map_err(Error::from).and_then(|file| Ok(head::acknowledged(&file)?))?;
    each_acknowledged(&storage, log_id, acknowledged, |committed| fold(committed.record))
}

fn has_room(folder: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|system| system.f_bavail.saturating_mul(system.f_frsize) >= bytes.saturating_mul(2))
}
