//! The history of a tenant's log: when tails are rotated, sealed and merged, and when old records are dropped.
//!
//! The writer rotates, because only it writes. A task of the node seals and merges behind it, and prepares bases. The
//! writer then publishes a base, because that is a record of the log. A log that is closed is sealed first.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{debug, info, warn};
use vectorizer_log::{
    BaseItem, Error, Head, HistoryChange, LogReader, PreparedBase, Seq, TenantFolder, TenantLog, Timestamp,
};
use vectorizer_metrics::{HistoryWork, Metrics};
use vectorizer_replay::{Projection, Projector as _};

use super::live_tenant::WakeError;
use super::retention::{Retention, RetentionClock, RetentionFile};
use super::shared_state::SharedState;

/// A tail of this size is rotated.
pub(super) const TAIL_BYTES_MAX: u64 = 32 << 20;
/// A tail of this age is rotated, unless it is small.
const TAIL_AGE_MAX: Duration = Duration::from_hours(1);
/// A smaller tail is not sealed: many small segments would cost more than they save.
const SEALED_BYTES_MIN: u64 = 1 << 20;
/// How long to wait after a rotation has failed, perhaps on a full disk.
const ROTATION_PAUSE: Duration = Duration::from_secs(10);
/// A merged segment spans at most this share of the time for which history is kept.
const SPANS: u32 = 4;
/// How long to wait after sealing or merging has failed.
const SEALING_PAUSE: Duration = Duration::from_mins(1);
/// So many records are folded at once.
const PAGE_RECORDS: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;

/// What the tasks of one tenant share about its history.
#[derive(Debug)]
pub(super) struct HistoryHandle {
    file: RetentionFile,
    retention: Mutex<Option<Retention>>,
    /// Whether the log began with this process, so that its retention is not a change of an earlier one.
    is_new: bool,
    clock: Arc<Mutex<RetentionClock>>,
    /// A base for the writer to publish.
    prepared: Mutex<Option<PreparedBase>>,
    /// Tells the writer of it.
    ready: Notify,
    /// When sealing or merging failed last.
    failed: Mutex<Option<Instant>>,
}

impl HistoryHandle {
    pub(super) fn new(folder: &TenantFolder, is_new: bool, clock: Arc<Mutex<RetentionClock>>) -> Self {
        Self {
            file: RetentionFile::new(folder.path()),
            retention: Mutex::default(),
            is_new,
            clock,
            prepared: Mutex::default(),
            ready: Notify::new(),
            failed: Mutex::default(),
        }
    }

    /// Seals and merges behind the writer, unless that has failed a moment ago.
    pub(super) fn seal(
        &self,
        log: &LogReader,
        keep: Option<Duration>,
        metrics: &Metrics,
        stop: &dyn Fn() -> bool,
    ) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none_or(|failed| failed.elapsed() >= SEALING_PAUSE) {
            *failed = (!seal(log, keep, metrics, stop)).then(Instant::now);
        }
    }

    /// Ready when a base can be published.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// The base to publish, if there is one.
    pub(super) fn take_prepared(&self) -> Option<PreparedBase> {
        self.prepared().take()
    }

    fn prepared(&self) -> MutexGuard<'_, Option<PreparedBase>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment before which records are older than history is kept, if the plan keeps it for `wanted`. `None` if
    /// it is kept for ever, or if the retention cannot be read or stored.
    pub(super) fn horizon(&self, wanted: Option<Duration>) -> Option<Timestamp> {
        let now = self.clock.lock().unwrap_or_else(PoisonError::into_inner).now(Timestamp::now());
        match self.retention(wanted, now) {
            Ok(retention) => retention.horizon(now),
            Err(error) => {
                warn!(%error, "the tenant's retention cannot be read or stored, and all its history is kept");
                None
            }
        }
    }

    /// The retention at `now`, if the plan keeps history for `wanted`. Stores a change before it is in effect.
    fn retention(&self, wanted: Option<Duration>, now: Timestamp) -> io::Result<Retention> {
        let mut known = self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *known {
            Some(retention) => Some(retention),
            None => self.file.read()?,
        };
        let initial = if self.is_new { Retention::of(wanted) } else { Retention::default() };
        let observed = before.unwrap_or(initial).observed(wanted, now);
        // A file without news is not written: most tenants keep their history for ever.
        if before.unwrap_or_default() != observed {
            self.file.write(observed)?;
        }
        *known = Some(observed);
        Ok(observed)
    }

    /// The retention as it was observed last.
    pub(super) fn observed(&self) -> Option<Retention> {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rotates the tail of an open log when that is due.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    failed: Option<Instant>,
}

impl Rotation {
    /// Rotates the tail if it is large or old. Returns whether it was rotated.
    ///
    /// # Errors
    ///
    /// Only that the log takes no more writes.
    pub(super) fn rotate_if_due(&mut self, log: &mut TenantLog, now: Timestamp) -> Result<bool, Error> {
        let age = log.tail_since().map_or(0, |since| now.micros().saturating_sub(since.micros()));
        let is_old = age >= i64::try_from(TAIL_AGE_MAX.as_micros()).unwrap_or(i64::MAX);
        let is_due = log.tail_bytes() >= TAIL_BYTES_MAX || (is_old && log.tail_bytes() >= SEALED_BYTES_MIN);
        if !is_due || self.failed.is_some_and(|failed| failed.elapsed() < ROTATION_PAUSE) {
            return Ok(false);
        }
        self.rotate(log)
    }

    fn rotate(&mut self, log: &mut TenantLog) -> Result<bool, Error> {
        match log.rotate() {
            Ok(()) => {
                debug!(seq = %log.head().seq, "began a new tail of the log");
                self.failed = None;
                Ok(true)
            }
            Err(error) if log.is_poisoned() => Err(error),
            Err(error) => {
                warn!(%error, "a new tail of the log could not be begun; the writes go on in the previous one");
                self.failed = Some(Instant::now());
                Ok(false)
            }
        }
    }
}

/// Seals the tail of a log that is about to be closed, unless it is small, and everything that waits to be sealed.
pub(super) fn seal_before_closing(log: &mut TenantLog, metrics: &Metrics) {
    if log.tail_bytes() >= SEALED_BYTES_MIN
        && let Err(error) = log.rotate()
    {
        warn!(%error, "the tail of the log could not be sealed, and is sealed later");
        return;
    }
    // Merging takes longer, and other tenants wait to be opened and closed meanwhile.
    work(&log.reader(), HistoryWork::Sealed, metrics, &|log| log.seal(&|| false));
}

/// Seals all frozen tails, and merges segments of a history that is kept for `keep`. Returns whether that succeeded.
fn seal(log: &LogReader, keep: Option<Duration>, metrics: &Metrics, stop: &dyn Fn() -> bool) -> bool {
    let span_max = keep.map(|keep| keep / SPANS);
    work(log, HistoryWork::Sealed, metrics, &|log| log.seal(stop))
        && work(log, HistoryWork::Merged, metrics, &|log| log.merge(span_max, stop))
}

/// Makes changes of one kind until there is nothing to do. An error is logged, and the change is tried again later.
/// Returns whether there was none.
fn work(
    log: &LogReader,
    work: HistoryWork,
    metrics: &Metrics,
    change: &dyn Fn(&LogReader) -> Result<Option<HistoryChange>, Error>,
) -> bool {
    loop {
        match change(log) {
            Ok(Some(HistoryChange { bytes, file_bytes, through })) => {
                info!(seq = %through, bytes, file_bytes, ?work, "changed the history of the log");
                metrics.history_worked(work, bytes);
            }
            Ok(None) | Err(Error::Closed) => return true,
            Err(error) => {
                warn!(%error, ?work, "the history of the log could not be changed; it is tried again, and writes go on");
                return false;
            }
        }
    }
}

/// The state that a base is written of.
pub(super) struct FrozenState {
    head: Head,
    items: vectorizer_replay::Checkpoint,
}

impl FrozenState {
    /// The present state. The log must not be written to meanwhile.
    pub(super) fn of(state: &SharedState) -> Self {
        let state = state.read();
        Self { head: state.head, items: state.projection.freeze(state.head, state.log_bytes) }
    }

    /// The state after the record at `head`, folded from the log.
    fn folded(log: &LogReader, head: Head, stop: &dyn Fn() -> bool) -> Result<Self, WakeError> {
        let base = log.base()?;
        let mut projection = Projection::of_beginning(log.log_id(), base.as_ref(), stop)?;
        while projection.applied() < head.seq {
            if stop() {
                return Err(WakeError::Stopping);
            }
            for stored in log.read(projection.applied().next(), PAGE_RECORDS, PAGE_BYTES)? {
                if stored.record.seq <= head.seq {
                    projection.apply(&stored.record)?;
                }
            }
        }
        Ok(Self { head, items: projection.freeze(head, 0) })
    }

    fn prepare(&self, log: &LogReader, stop: &dyn Fn() -> bool) -> Result<Option<PreparedBase>, Error> {
        let mut items =
            |push: &mut dyn FnMut(&BaseItem) -> io::Result<()>| self.items.each_item(|item| push(&item));
        log.prepare_base(self.head, &mut items, stop)
    }
}

/// The end of the last segment that may be dropped: its records are older than `horizon`, and at or below `through`.
/// `None` if less would be dropped than `bytes_min`.
fn droppable(
    log: &LogReader,
    horizon: Timestamp,
    through: Seq,
    bytes_min: u64,
) -> Result<Option<Head>, Error> {
    let mut dropped = 0;
    let mut last = None;
    for segment in log.sealed()? {
        if segment.head.seq > through || segment.until > horizon {
            break;
        }
        dropped += segment.bytes;
        last = Some(segment.head);
    }
    Ok(last.filter(|_| dropped > 0 && dropped >= bytes_min))
}

/// Prepares a base if as much history is old as the base would have, `live_bytes`. So writing bases costs no more than
/// the writes did. Records after `through` are needed.
pub(super) fn prepare_drop(
    log: &LogReader,
    handle: &HistoryHandle,
    horizon: Timestamp,
    through: Seq,
    live_bytes: u64,
    stop: &dyn Fn() -> bool,
) -> Result<(), WakeError> {
    if handle.prepared().is_some() {
        handle.ready.notify_one();
        return Ok(());
    }
    let Some(head) = droppable(log, horizon, through, live_bytes)? else { return Ok(()) };
    let state = FrozenState::folded(log, head, stop)?;
    if let Some(base) = state.prepare(log, stop)? {
        *handle.prepared() = Some(base);
        handle.ready.notify_one();
    }
    Ok(())
}

/// What the writer drops at once.
pub(super) struct DropRequest {
    /// Records that are younger are kept.
    pub(super) horizon: Timestamp,
    /// Records after this one are needed.
    pub(super) through: Seq,
    /// Less is not worth it.
    pub(super) bytes_min: u64,
    /// A tail of this size is sealed first.
    pub(super) tail_bytes_min: u64,
    /// Whether an earlier state may be folded from the log, which takes as long as reading it.
    pub(super) folds: bool,
}

/// Prepares a base for the writer, which publishes it at once. `None` if too little can be dropped.
pub(super) fn prepare_now(
    log: &mut TenantLog,
    state: &SharedState,
    request: &DropRequest,
    metrics: &Metrics,
) -> Result<Option<PreparedBase>, WakeError> {
    let DropRequest { horizon, through, bytes_min, tail_bytes_min, folds } = *request;
    let reader = log.reader();
    let sealed: u64 = reader.sealed()?.iter().map(|segment| segment.bytes).sum();
    if sealed + log.tail_bytes() < bytes_min {
        return Ok(None);
    }
    if log.tail_bytes() >= tail_bytes_min {
        log.rotate()?;
    }
    work(&reader, HistoryWork::Sealed, metrics, &|log| log.seal(&|| false));
    let Some(end) = droppable(&reader, horizon, through, bytes_min)? else { return Ok(None) };
    // The writer itself changes the state, so it does not change meanwhile.
    let is_present = end == log.head();
    let state = if is_present {
        FrozenState::of(state)
    } else if folds {
        FrozenState::folded(&reader, end, &|| false)?
    } else {
        return Ok(None);
    };
    Ok(state.prepare(&reader, &|| false)?)
}
