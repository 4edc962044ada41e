//! The bill of a tenant, folded from its log.
//!
//! - `window`: what has come together since the last close.
//! - `bill`: the whole bill, computed from the records alone and held against what they say of it.
//! - `entry`: what a bill is made of; `discrepancy`: what does not hold; `audit`: where that is found.
//!
//! A **window** is the records behind one [`Event::BillingClosed`], or from the first one on, through the
//! next, that record included. Counts belong to the window that their record is in, whenever it was made.
//! What is held belongs to a window by time, from one close's `through` to the next one's: the record of a
//! close may be a little later than the moment it speaks of.
//!
//! A close that says something else than its records come to changes nothing here: a wrong bill must not
//! make a tenant's data unreadable. [`Bill`] finds it.

mod audit;
mod bill;
mod discrepancy;
mod entry;
mod window;

use serde::{Deserialize, Serialize};
use vectorizer_log::{Event, JournalPosition, MeterTotal, Record, Seq, Timestamp};

pub use bill::{Bill, BilledTotal};
pub use discrepancy::{Discrepancy, DiscrepancyKind};
pub use entry::{BillEntry, BilledWindow, BillingCorrection, BillingLine};
pub(crate) use window::LogicalWindow;
pub use window::OpenWindow;

use crate::metering::METERING_VERSION;
use crate::usage::Usage;
use vectorizer_index::Change;

/// Where a tenant's bill stands: the window that is open, and how far those before it are delivered. Its
/// size does not depend on how long the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billing {
    window: Option<OpenWindow>,
    last_close: Seq,
    last_correction: Seq,
    acknowledged: Seq,
    journal: Option<JournalPosition>,
}

impl Billing {
    /// The window that is open; `None` before the first record.
    pub fn window(&self) -> Option<&OpenWindow> {
        self.window.as_ref()
    }

    /// The newest close, [`Seq::NONE`] before the first. From there each close says where the one before
    /// it is.
    pub fn last_close(&self) -> Seq {
        self.last_close
    }

    /// The newest correction, [`Seq::NONE`] before the first. They are not linked: whoever looks for one
    /// that is not delivered, which is rare, reads from [`acknowledged`](Self::acknowledged) on.
    pub fn last_correction(&self) -> Seq {
        self.last_correction
    }

    /// The newer one of the two.
    pub fn last_entry(&self) -> Seq {
        self.last_close.max(self.last_correction)
    }

    /// Every close and correction at or below it is delivered.
    pub fn acknowledged(&self) -> Seq {
        self.acknowledged
    }

    /// Whether everything that is closed or corrected is delivered.
    pub fn is_delivered(&self) -> bool {
        self.last_close.max(self.last_correction) <= self.acknowledged
    }

    /// How far the node's journal of requests has been folded in. What lies there at or before it must not
    /// be appended again ([`JournalPosition::is_folded_by`]).
    pub fn journal(&self) -> Option<JournalPosition> {
        self.journal
    }

    /// What the open window comes to at the moment `at`, or at the last record if that is later: every
    /// meter, in the order of [`Meter::ALL`](vectorizer_log::Meter::ALL). `usage` is the state's.
    pub fn totals(&self, at: Timestamp, usage: &Usage) -> Vec<MeterTotal> {
        let bytes = usage.logical_bytes();
        let window = self.window.unwrap_or_else(|| OpenWindow::new(Seq::OLDEST, at));
        window.until(bytes, at).totals(bytes).into()
    }

    /// The [`Event::BillingClosed`] of a close at the moment `at`; `None` if the window has nothing in it:
    /// nothing was counted, nothing is held, and nothing was held for long enough to count.
    ///
    /// It is right as the very next record, with a clock that does not say less than `at`. Whatever the
    /// same commit puts in front of it has to be [folded in](Self::after) first.
    pub fn close(&self, at: Timestamp, usage: &Usage) -> Option<Event> {
        let window = self.window?.until(usage.logical_bytes(), at);
        let totals: Vec<_> = window.totals(usage.logical_bytes()).into();
        let BilledWindow { since, through, first_seq } = window.billed();
        let closed = Event::BillingClosed { metering: METERING_VERSION, since, through, first_seq, totals };
        window.has_something(usage.logical_bytes()).then_some(closed)
    }

    /// Where the bill stands after `record`, which makes this `change` to a state that has this `usage` in
    /// front of it.
    #[must_use]
    pub fn after(&self, record: &Record, usage: &Usage, change: &Change) -> Self {
        let mut after = *self;
        let mut window = self.window.unwrap_or_else(|| OpenWindow::new(record.seq, record.at));
        match &record.event {
            Event::BillingClosed { through, .. } => {
                window = window.ended(usage.logical_bytes(), *through, record.at).next(record.seq.next());
                after.last_close = record.seq;
            }
            Event::UsageObserved { operations, journal, .. } => {
                window.observe(operations);
                after.journal = Some(after.folded(*journal));
            }
            Event::BillingCorrected { .. } => after.last_correction = record.seq,
            Event::BillingAcknowledged { through, .. } => {
                // Of what is behind it an acknowledgement can know nothing.
                let through = record.seq.previous().map_or(Seq::NONE, |last| last.min(*through));
                after.acknowledged = after.acknowledged.max(through);
            }
            Event::CollectionCreated { .. }
            | Event::CollectionDeleted { .. }
            | Event::TextCollectionCreated { .. }
            | Event::LanguageCollectionCreated { .. }
            | Event::VectorsUpserted { .. }
            | Event::DocumentsUpserted { .. }
            | Event::VectorsDeleted { .. }
            | Event::PayloadChanged { .. }
            | Event::IndexDeclared { .. }
            | Event::IndexDropped { .. }
            | Event::AccessDenied { .. } => {}
        }
        // What was held up to this record; what it changes is held from now on.
        window.hold(usage.logical_bytes(), record.at);
        window.count(change);
        after.window = Some(window);
        after
    }

    /// The place in the journal after folding in what reaches to `journal`: forwards only, unless it is
    /// another journal.
    fn folded(&self, journal: JournalPosition) -> JournalPosition {
        self.journal.filter(|folded| journal.is_folded_by(folded)).unwrap_or(journal)
    }
}
