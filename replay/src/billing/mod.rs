//! A tenant's bill, folded from its log.
//!
//! - `window`: the totals since the last close; `record`: what the bill reads of a record.
//!
//! A **window** consists of the records after one [`Event::BillingClosed`], or from the first one on, up to the next
//! one, including it. Counts belong to the window of their record. Storage belongs to a window by time, from the
//! `through` of one close to that of the next: the record of a close may be a little later than its `through`.
//!
//! A close that does not match its records has no effect here, as a wrong bill must not make a tenant's data
//! unreadable. [`Bill`](crate::Bill) finds it.

mod record;
mod window;

use serde::{Deserialize, Serialize};
use vectorizer_log::{BaseState, Event, JournalPosition, Meter, MeterTotal, Record, Seq, Timestamp};

pub(crate) use record::{BilledEvent, BilledRecord};
pub(crate) use window::LogicalWindow;
pub use window::{BilledWindow, OpenWindow};

use vectorizer_index::Change;

use crate::metering::METERING_VERSION;
use crate::usage::Usage;

/// The state of a tenant's bill: the open window, and which earlier ones are delivered. Its size is constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billing {
    window: Option<OpenWindow>,
    last_close: Seq,
    last_correction: Seq,
    acknowledged: Seq,
    journal: Option<JournalPosition>,
}

impl Billing {
    /// The state that a base states.
    pub(crate) fn restored(state: &BaseState) -> Self {
        Self {
            window: state.window.map(OpenWindow::restored),
            last_close: state.last_close,
            last_correction: state.last_correction,
            acknowledged: state.acknowledged,
            journal: state.journal,
        }
    }

    /// The state as a base states it, with these counters.
    pub(crate) fn base_state(&self, usage: &Usage, data_seq: Seq) -> BaseState {
        BaseState {
            data_seq,
            vectors_upserted: usage.vectors_upserted(),
            vectors_deleted: usage.vectors_deleted(),
            window: self.window.map(OpenWindow::base_window),
            last_close: self.last_close,
            last_correction: self.last_correction,
            acknowledged: self.acknowledged,
            journal: self.journal,
        }
    }

    /// The last record that may be dropped: no close or correction after it waits to be delivered. `through` is the
    /// last record that a caller wants to drop.
    #[must_use]
    pub fn droppable(&self, through: Seq) -> Seq {
        if self.last_correction > self.acknowledged {
            // The line of a correction has the window of the close that it corrects, which may be any earlier one.
            Seq::NONE
        } else if self.is_delivered() {
            through
        } else {
            through.min(self.acknowledged)
        }
    }

    /// The open window; `None` before the first record.
    pub fn window(&self) -> Option<&OpenWindow> {
        self.window.as_ref()
    }

    /// The latest close, [`Seq::NONE`] before the first. Each close leads to the one before it.
    pub fn last_close(&self) -> Seq {
        self.last_close
    }

    /// The latest correction, [`Seq::NONE`] before the first. Corrections are not linked: to find undelivered ones,
    /// which are rare, read from [`acknowledged`](Self::acknowledged) on.
    pub fn last_correction(&self) -> Seq {
        self.last_correction
    }

    /// The later of both.
    pub fn last_entry(&self) -> Seq {
        self.last_close.max(self.last_correction)
    }

    /// All closes and corrections at or below this record are delivered.
    pub fn acknowledged(&self) -> Seq {
        self.acknowledged
    }

    /// Whether all closes and corrections are delivered.
    pub fn is_delivered(&self) -> bool {
        self.last_close.max(self.last_correction) <= self.acknowledged
    }

    /// The position in the node's request journal up to which requests are recorded. Earlier entries must not be
    /// recorded again ([`JournalPosition::is_folded_by`]).
    pub fn journal(&self) -> Option<JournalPosition> {
        self.journal
    }

    /// The totals of the open window at the moment `at`, or at the last record if that is later: every meter, in the
    /// order of [`Meter::ALL`]. `usage` is that of the same state.
    pub fn totals(&self, at: Timestamp, usage: &Usage) -> Vec<MeterTotal> {
        let bytes = usage.logical_bytes();
        let window = self.window.unwrap_or_else(|| OpenWindow::new(Seq::OLDEST, at));
        window.until(bytes, at).totals(bytes).into()
    }

    /// The [`Event::BillingClosed`] that closes the window at the moment `at`; `None` if all totals are zero.
    ///
    /// It must be appended as the next record, with a time that is not before `at`. Records of the same commit before
    /// it have to be [applied](Self::after) first.
    pub fn close(&self, at: Timestamp, usage: &Usage) -> Option<Event> {
        let window = self.window?.until(usage.logical_bytes(), at);
        let totals: Vec<_> = window.totals(usage.logical_bytes()).into();
        let BilledWindow { since, through, first_seq } = window.billed();
        let closed = Event::BillingClosed { metering: METERING_VERSION, since, through, first_seq, totals };
        window.has_totals(usage.logical_bytes()).then_some(closed)
    }

    /// The state after `record`, which makes this `change` to a state with this `usage`.
    #[must_use]
    pub fn after(&self, record: &Record, usage: &Usage, change: &Change) -> Self {
        self.after_billed(&record.into(), usage, change)
    }

    /// Like [`after`](Self::after), by what the bill reads of the record.
    #[must_use]
    pub(crate) fn after_billed(&self, record: &BilledRecord<'_>, usage: &Usage, change: &Change) -> Self {
        let mut after = *self;
        let mut window = self.window_of(record);
        match record.event {
            BilledEvent::Close(close) => {
                let closed = window.closed_at(usage.logical_bytes(), close.through, record.at);
                window = closed.next(record.seq.next());
                after.last_close = record.seq;
            }
            BilledEvent::Correct { .. } => after.last_correction = record.seq,
            BilledEvent::Acknowledge { through, .. } => {
                // An acknowledgement cannot cover records after it.
                let through = record.seq.previous().map_or(Seq::NONE, |last| last.min(through));
                after.acknowledged = after.acknowledged.max(through);
            }
            BilledEvent::Usage { operations, journal } => {
                window.count_operations(operations);
                after.journal = Some(after.folded(journal));
            }
            // A change of data is counted below.
            BilledEvent::Other => {}
        }
        // The previous storage counts up to this record, the changed one from now on.
        window.count_storage(usage.logical_bytes(), record.at);
        window.count_change(change);
        after.window = Some(window);
        after
    }

    /// Computes the window that `record` closes at `through`, and its totals, from this state. It does not read what
    /// the record says about the window. `usage` is that of the state before the record.
    pub(crate) fn closed_by(
        &self,
        record: &BilledRecord<'_>,
        through: Timestamp,
        usage: &Usage,
    ) -> (BilledWindow, [MeterTotal; Meter::ALL.len()]) {
        let closed = self.window_of(record).closed_at(usage.logical_bytes(), through, record.at);
        (closed.billed(), closed.totals(usage.logical_bytes()))
    }

    /// The open window. The first record begins one.
    fn window_of(&self, record: &BilledRecord<'_>) -> OpenWindow {
        self.window.unwrap_or_else(|| OpenWindow::new(record.seq, record.at))
    }

    /// The journal position after a record with `journal`: it never goes back, unless the journal is another one.
    fn folded(&self, journal: JournalPosition) -> JournalPosition {
        self.journal.filter(|folded| journal.is_folded_by(folded)).unwrap_or(journal)
    }
}
