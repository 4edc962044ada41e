//! The counts of one tenant's requests, until they are in its log.
//!
//! ```text
//!            request                   once a second                     with a commit
//!   client ──────────► counts of now ────────────────► node's journal ─ ─ ─ ─ ─ ─ ─ ─┐ only after a crash
//!                            └────────────────────────────────────────► tenant's log ◄┘
//! ```
//!
//! No failure makes a request count twice. Counts are in *segments*. A segment begins when counts are taken for the
//! log, at a place in the journal that is given out once, and the record in the log has that place. So the place in
//! the last durable record tells which segments are in the log: those that began before it. Segments are never
//! merged, and a later journal entry of a segment replaces the earlier one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vectorizer_access::Operation;
use vectorizer_log::{Event, JournalPosition, LogId, ObservedOperation, TenantId, Timestamp};

use super::counts::Counts;

/// Gives out places in the node's journal, each once.
#[derive(Debug)]
pub(crate) struct Positions {
    journal: Uuid,
    next: AtomicU64,
}

impl Positions {
    pub(crate) fn new(journal: Uuid, first: u64) -> Self {
        Self { journal, next: AtomicU64::new(first) }
    }

    /// Places are at `first` or behind it from now on.
    pub(crate) fn advance(&self, first: u64) {
        self.next.fetch_max(first, Ordering::Relaxed);
    }

    fn next(&self) -> JournalPosition {
        JournalPosition { journal: self.journal, entry: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

/// The meter of one tenant.
#[derive(Debug)]
pub struct TenantMeter {
    tenant: TenantId,
    log_id: LogId,
    positions: Arc<Positions>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their places. Requests are counted in the last one.
    segments: Vec<Segment>,
    /// The place of the last durable record.
    folded: Option<JournalPosition>,
    /// Whether the journal does not have it yet.
    folded_is_new: bool,
    awake: bool,
}

#[derive(Debug)]
struct Segment {
    begins: JournalPosition,
    counts: Counts,
    /// Whether the journal does not have these counts yet.
    is_new: bool,
}

/// An entry of the journal, about one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) tenant: TenantId,
    pub(crate) log_id: LogId,
    /// Segments that began before this place are in the tenant's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folded: Option<JournalPosition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) segment: Option<SegmentEntry>,
}

/// The counts of a segment so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) begins: JournalPosition,
    pub(crate) operations: Vec<ObservedOperation>,
    pub(crate) since: Timestamp,
    pub(crate) through: Timestamp,
}

/// Which entries to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those that the journal does not have yet.
    New,
    /// All that are not in the log.
    All,
}

impl TenantMeter {
    pub(crate) fn new(tenant: TenantId, log_id: LogId, positions: Arc<Positions>) -> Self {
        Self { tenant, log_id, positions, state: Mutex::default() }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The log that takes the counts.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Counts an admitted request.
    pub fn request(&self, operation: Operation) {
        self.count(operation, 1, 0);
    }

    /// Counts answered searches.
    pub fn searched(&self, operation: Operation, searches: u64) {
        self.count(operation, 0, searches);
    }

    fn count(&self, operation: Operation, requests: u64, searches: u64) {
        let at = Timestamp::now();
        let mut state = self.state();
        if state.segments.is_empty() {
            let begins = self.positions.next();
            state.segments.push(Segment::new(begins));
        }
        if let Some(open) = state.segments.last_mut() {
            open.counts.count(operation, requests, searches, at);
            open.is_new = true;
        }
    }

    /// Takes all counts that are not in the log, for the next commit; `None` if there are none. Later counts are for
    /// the commit after it.
    pub fn take(self: &Arc<Self>) -> Option<TakenUsage> {
        let mut state = self.state();
        let mut taken = Counts::default();
        for segment in &state.segments {
            taken.merge(&segment.counts);
        }
        let (since, through) = taken.span()?;
        let journal = self.positions.next();
        state.segments.push(Segment::new(journal));
        Some(TakenUsage { meter: Arc::clone(self), operations: taken.operations(), since, through, journal })
    }

    /// Requests and searches that are not in a log with all counts up to this place.
    pub fn waiting(&self, folded: Option<JournalPosition>) -> (u64, u64) {
        let state = self.state();
        let waiting = |segment: &&Segment| !folded.is_some_and(|folded| segment.is_before(&folded));
        let operations =
            state.segments.iter().filter(waiting).flat_map(|segment| segment.counts.operations());
        operations.fold((0, 0), |(requests, searches), it| (requests + it.requests, searches + it.searches))
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.state().is_empty()
    }

    /// The tenant wakes. Its log has all counts up to this place.
    pub(crate) fn wakes(&self, folded: Option<JournalPosition>) {
        let mut state = self.state();
        state.awake = true;
        if let Some(folded) = folded {
            let segments = state.segments.len();
            state.segments.retain(|segment| !segment.is_before(&folded));
            state.folded_is_new |= segments > state.segments.len();
            state.folded = Some(folded);
        }
        // New counts go into a segment of their own.
        let begins = self.positions.next();
        state.segments.push(Segment::new(begins));
    }

    /// The tenant falls asleep. The taken counts are in its log.
    pub(crate) fn sleeps(&self) {
        self.state().awake = false;
    }

    /// Whether the meter can be removed: the journal does not need it either.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state();
        !state.awake && !state.folded_is_new && state.is_empty()
    }

    /// Whether its tenant sleeps although counts wait for its log.
    pub(crate) fn is_pending(&self) -> bool {
        let state = self.state();
        !state.awake && !state.is_empty()
    }

    /// Takes an entry that was read from the journal.
    pub(crate) fn read(&self, entry: Entry) {
        let mut state = self.state();
        if let Some(folded) = entry.folded {
            state.segments.retain(|segment| !segment.is_before(&folded));
            state.folded = Some(folded);
        }
        if let Some(SegmentEntry { begins, operations, since, through }) = entry.segment {
            state.segments.retain(|segment| segment.begins != begins);
            let mut segment = Segment::new(begins);
            segment.counts.add(&operations, since, through);
            state.segments.push(segment);
        }
    }

    /// Adds the entries to write to `into`. They count as written: only [`Wanted::All`] returns them again.
    pub(crate) fn entries(&self, wanted: Wanted, into: &mut Vec<Entry>) {
        let mut state = self.state();
        let mut folded = state.folded.filter(|_| std::mem::take(&mut state.folded_is_new));
        for segment in &mut state.segments {
            let is_new = std::mem::take(&mut segment.is_new);
            let Some((since, through)) = segment.counts.span() else { continue };
            if is_new || wanted == Wanted::All {
                let (begins, operations) = (segment.begins, segment.counts.operations());
                let segment = Some(SegmentEntry { begins, operations, since, through });
                let (tenant, log_id, folded) = (self.tenant.clone(), self.log_id, folded.take());
                into.push(Entry { tenant, log_id, folded, segment });
            }
        }
        if folded.is_some() {
            let (tenant, log_id) = (self.tenant.clone(), self.log_id);
            into.push(Entry { tenant, log_id, folded, segment: None });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a poisoned lock can be used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.counts.span().is_none())
    }
}

impl Segment {
    fn new(begins: JournalPosition) -> Self {
        Self { begins, counts: Counts::default(), is_new: false }
    }

    /// Whether it is in a log with all counts up to this place.
    fn is_before(&self, folded: &JournalPosition) -> bool {
        self.begins != *folded && self.begins.is_folded_by(folded)
    }
}

/// Counts that were taken for the log. The meter has them, too, until they are [`kept`](Self::kept). If it is not
/// known whether they are durable, the log tells when it is opened again.
#[derive(Debug)]
pub struct TakenUsage {
    meter: Arc<TenantMeter>,
    operations: Vec<ObservedOperation>,
    since: Timestamp,
    through: Timestamp,
    journal: JournalPosition,
}

impl TakenUsage {
    /// The event for the log.
    pub fn event(&self) -> Event {
        let Self { meter: _, operations, since, through, journal } = self;
        let (operations, since, through) = (operations.clone(), *since, *through);
        Event::UsageObserved { operations, since, through, journal: *journal }
    }

    /// The event is durable.
    pub fn kept(self) {
        let mut state = self.meter.state();
        // All segments from before the event, also those of another journal.
        match state.segments.iter().position(|segment| segment.begins == self.journal) {
            Some(taken) => drop(state.segments.drain(..taken)),
            None => state.segments.retain(|segment| !segment.is_before(&self.journal)),
        }
        state.folded = Some(self.journal);
        state.folded_is_new = true;
    }
}
