//! A tenant's checkpoint on disk: what its log adds up to, so that waking need not fold all of it.
//!
//! It is written behind the writer while the tenant is awake, and when its log is closed, if that has grown
//! much since. What is behind it is folded when the tenant wakes. One that is damaged, missing or of another
//! log costs time only.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use vectorizer_log::{Error, Head, LogId, LogReader, Seq, StoredRecord, TenantFolder};
use vectorizer_replay::Restored;

use super::replaced_file::replace;
use super::shared_state::SharedState;

/// The file, within the tenant's folder.
const FILE: &str = "checkpoint";
/// So many bytes of a log are always folded again rather than written once more as a checkpoint.
const TAIL_BYTES_MIN: u64 = 64 << 10;
/// A log that is closed has no more behind its checkpoint than this, and than this share of its size.
const TAIL_BYTES_MAX: u64 = 16 << 20;
const TAIL_SHARE: u64 = 4;
/// While the log is open there may be more, as every checkpoint is written whole: as much as it has itself,
/// and at least this.
const OPEN_TAIL_BYTES_MIN: u64 = 32 << 20;

/// One tenant's checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoints {
    path: PathBuf,
    log_id: LogId,
    /// Locked while one is written.
    kept: Mutex<Kept>,
}

/// The checkpoint on disk.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Its last record; none, if there is no checkpoint.
    head: Head,
    /// The log's up to there.
    log_bytes: u64,
    /// Its own.
    bytes: u64,
}

impl Kept {
    fn none(log_id: LogId) -> Self {
        Self { head: Head::genesis(log_id), log_bytes: 0, bytes: 0 }
    }
}

impl Checkpoints {
    /// In the tenant's `folder`.
    pub(super) fn new(folder: &TenantFolder, log_id: LogId) -> Self {
        Self { path: folder.path().join(FILE), log_id, kept: Mutex::new(Kept::none(log_id)) }
    }

    /// The checkpoint, if there is one that can be used. Asks `stop` now and then.
    pub(super) fn read(&self, stop: &impl Fn() -> bool) -> Option<Restored> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            file => file.and_then(|file| Ok((file.metadata()?.len(), file))),
        };
        let restored = file.map_err(|error| error.to_string()).and_then(|(bytes, file)| {
            let restored = Restored::read(BufReader::new(file), bytes, self.log_id, stop);
            restored.map(|restored| (restored, bytes)).map_err(|error| error.to_string())
        });
        match restored {
            Ok((restored, bytes)) => {
                *self.kept() = Kept { head: restored.head, log_bytes: restored.log_bytes, bytes };
                Some(restored)
            }
            Err(_) if stop() => None,
            Err(error) => {
                warn!(error, "the checkpoint is of no use, and the log is folded instead");
                None
            }
        }
    }

    /// There is none that belongs to this log's history.
    pub(super) fn forget(&self) {
        *self.kept() = Kept::none(self.log_id);
    }

    /// The log was read: it has `log_bytes`, of which `behind` are of records after the checkpoint.
    pub(super) fn opened(&self, log_bytes: u64, behind: u64) {
        self.kept().log_bytes = log_bytes.saturating_sub(behind);
    }

    /// Older records were dropped, so the log has `after` bytes instead of `before`.
    pub(super) fn history_dropped(&self, before: u64, after: u64) {
        let mut kept = self.kept();
        kept.log_bytes = (kept.log_bytes + after).saturating_sub(before);
    }

    /// The last record of the checkpoint.
    pub(super) fn head(&self) -> Head {
        self.kept().head
    }

    /// Whether so much has been written since that another should be, while the log is open.
    pub(super) fn is_due(&self, log_bytes: u64) -> bool {
        let kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // One is being written.
            Err(TryLockError::WouldBlock) => return false,
        };
        log_bytes.saturating_sub(kept.log_bytes) > kept.bytes.max(OPEN_TAIL_BYTES_MIN)
    }

    /// Whether so much has been written since that another has to be before the log is closed.
    pub(super) fn is_behind(&self, log_bytes: u64) -> bool {
        let kept = self.kept();
        let tail_max = (kept.bytes / TAIL_SHARE).clamp(TAIL_BYTES_MIN, TAIL_BYTES_MAX);
        log_bytes.saturating_sub(kept.log_bytes) > tail_max
    }

    /// Writes one of the state as it is now. Fails when `stop` is cancelled meanwhile.
    pub(super) fn write(&self, state: &SharedState, stop: &CancellationToken) -> io::Result<()> {
        let mut kept = self.kept();
        let (checkpoint, head, log_bytes) = {
            if !state.is_trusted() {
                return Err(io::Error::other("the state cannot be trusted"));
            }
            let state = state.read();
            (state.projection.freeze(state.head, state.log_bytes), state.head, state.log_bytes)
        };
        if head.seq == kept.head.seq {
            return Ok(());
        }
        let bytes = replace(&self.path, stop, |file| checkpoint.write(file))?;
        debug!(seq = %head.seq, bytes, "wrote a checkpoint");
        *kept = Kept { head, log_bytes, bytes };
        Ok(())
    }

    /// The record that the checkpoint ends with, and those behind it.
    pub(super) fn tail(&self, log: &LogReader) -> Result<(Head, Vec<StoredRecord>), Error> {
        let base = self.kept().head;
        let from = base.seq.next().max(Seq::OLDEST);
        Ok((base, log.read(from, usize::MAX, usize::MAX)?))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
