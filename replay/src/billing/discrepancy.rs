//! What a log says of its bill that its records do not bear out.

use std::fmt;

use vectorizer_log::{JournalPosition, Meter, Seq};

use super::entry::BilledWindow;

/// Something about the bill that does not hold, and which record says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {kind}")]
pub struct Discrepancy {
    /// The record.
    pub seq: Seq,
    /// What does not hold.
    pub kind: DiscrepancyKind,
}

/// What does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscrepancyKind {
    /// A total is not what the records come to.
    #[error("{} is {recomputed} by the records, the close says {}", .meter.name(), Said(.recorded))]
    Total {
        /// Of this meter.
        meter: Meter,
        /// What the close says, if it says anything.
        recorded: Option<u128>,
        /// What the records come to.
        recomputed: u128,
    },
    /// The totals are not every meter once, in order.
    #[error("the totals of the close are not every meter once and in order")]
    Meters,
    /// The close speaks of another window than the one that was open.
    #[error("the window is {} by the records, the close says {}", Span(.recomputed), Span(.recorded))]
    Window {
        /// What the close says.
        recorded: BilledWindow,
        /// What the records say.
        recomputed: BilledWindow,
    },
    /// The window was measured by rules that this program does not have, so its lines may differ for no
    /// other reason.
    #[error("the window was measured by version {recorded} of the rules, this program has version {known}")]
    Metering {
        /// What the close says.
        recorded: u16,
        /// This program's rules.
        known: u16,
    },
    /// What is corrected is no close in front of the correction.
    #[error("it corrects record {corrects}, which closes no window in front of it")]
    CorrectsNoClose {
        /// What it wants to correct.
        corrects: Seq,
    },
    /// An acknowledgement of what is not in front of it.
    #[error("it acknowledges everything through record {through}, which is not in front of it")]
    AcknowledgedTooFar {
        /// What it wants to acknowledge.
        through: Seq,
    },
    /// Requests that were folded in before, by their place in the journal. They count twice.
    #[error(
        "it folds in journal {} through entry {}, which was folded in through entry {} before",
        .journal.journal, .journal.entry, .folded.entry
    )]
    FoldedTwice {
        /// How far it goes.
        journal: JournalPosition,
        /// How far it had gone before.
        folded: JournalPosition,
    },
}

/// What a close says of a meter.
struct Said<'a>(&'a Option<u128>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

/// Where a window lies.
struct Span<'a>(&'a BilledWindow);

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BilledWindow { since, through, first_seq } = self.0;
        write!(f, "from {since} and record {first_seq} on to {through}")
    }
}
