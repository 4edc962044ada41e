//! Reading a log that cannot be opened where it is.
//!
//! Opening sled writes: a snapshot, and zeros over what is free. On a disk without room, or one that takes no writes, a
//! log that was not closed cleanly can be read all the same from a copy in memory, or on another disk. Nothing in the
//! tenant's folder is changed.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::damage::{Damage, DamageKind};
use crate::durable::copy_tree;
use crate::error::Error;
use crate::folder::damaged_as_a_whole;
use crate::head;
use crate::position::{Head, LogId, Seq};
use crate::record::Record;
use crate::recovery::is_acknowledged;
use crate::storage::{SledCopy, SledPaths, Storage, StorageError, StorageFailure};
use crate::verifier::{Verifier, WalkEnd, walk};

/// What sled writes of its own when it opens a log: some segments.
const ROOM_BYTES: u64 = 16 << 20;

/// Folders in memory or on other disks, in the order in which they are tried.
fn scratches() -> [PathBuf; 2] {
    ["/dev/shm".into(), std::env::temp_dir()]
}

/// Copies the log at `from` to where there is room, and hands every record up to the acknowledged head to `fold`. How
/// far that is, and the stored bytes up to there.
pub(crate) fn read<E: From<Error>>(
    from: &SledPaths,
    segment_bytes: usize,
    log_id: LogId,
    fold: &mut dyn FnMut(Record) -> Result<(), E>,
) -> Result<(Head, u64), E> {
    let failed = |source| Error::File { doing: "copy", path: from.log.clone(), source };
    let bytes = fs::metadata(from.log.join("db")).map_err(failed)?.len();
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
        condemned: copy.path().join("condemned"),
    };
    // IMPORTANT: what the page cache holds counts as durable.
    File::open(from.log.join("db"))
        .and_then(|data| data.sync_data())
        .and_then(|()| copy_tree(&from.log, &to.log))
        .and_then(|()| fs::copy(&from.head, &to.head))
        .map_err(failed)?;
    let storage = SledCopy::open(to, segment_bytes).map_err(damaged_as_a_whole)?;
    fold_acknowledged(&storage, log_id, fold)
}

fn fold_acknowledged<E: From<Error>>(
    storage: &dyn Storage,
    log_id: LogId,
    fold: &mut dyn FnMut(Record) -> Result<(), E>,
) -> Result<(Head, u64), E> {
    let head_file = storage.read_head().map_err(Error::from)?;
    let (acknowledged, _) = head::acknowledged(&head_file).map_err(Error::from)?;
    if acknowledged.seq == Seq::NONE {
        let genesis = Head::genesis(log_id);
        if genesis == acknowledged {
            return Ok((genesis, 0));
        }
        let kind = DamageKind::OtherHistory { found: genesis.chain, acknowledged: acknowledged.chain };
        return Err(Error::from(Damage { seq: Seq::NONE, kind }).into());
    }
    let (mut reached, mut bytes, mut failure) = (Head::genesis(log_id), 0, None);
    let end = walk(storage, &mut Verifier::new(log_id), &mut |verified| {
        reached = verified.head;
        bytes += verified.stored.len() as u64;
        let take = || {
            if reached.seq == acknowledged.seq {
                is_acknowledged(reached, verified.mark, acknowledged).map_err(Error::from)?;
            }
            fold(verified.record)
        };
        match take() {
            Ok(()) if reached.seq < acknowledged.seq => ControlFlow::Continue(()),
            Ok(()) => ControlFlow::Break(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })
    .map_err(Error::from)?;
    match (failure, end) {
        (Some(failure), _) => Err(failure),
        (None, WalkEnd::Damaged(damage)) => Err(Error::from(damage).into()),
        (None, WalkEnd::Whole) if reached.seq < acknowledged.seq => {
            let kind = DamageKind::Missing { found: None };
            Err(Error::from(Damage { seq: reached.seq.next(), kind }).into())
        }
        (None, WalkEnd::Whole) => Ok((reached, bytes)),
    }
}

fn has_room(folder: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|system| system.f_bavail.saturating_mul(system.f_frsize) >= bytes.saturating_mul(2))
}
