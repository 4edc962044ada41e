//! Discrepancies between the billing events of a log and its records.

use std::fmt;

use vectorizer_log::{JournalPosition, Meter, Seq};

use crate::billing::BilledWindow;

/// A discrepancy, and the record that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {kind}")]
pub struct Discrepancy {
    /// The record.
    pub seq: Seq,
    /// The kind.
    pub kind: DiscrepancyKind,
}

/// The kinds of discrepancies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscrepancyKind {
    /// A total does not match the records.
    #[error("{} is {recomputed} by the records, the close says {}", .meter.name(), RecordedTotal(.recorded))]
    Total {
        /// The meter.
        meter: Meter,
        /// The total in the close, if it has one.
        recorded: Option<u128>,
        /// The total by the records.
        recomputed: u128,
    },
    /// The totals are not every meter once, in order.
    #[error("the totals of the close are not every meter once and in order")]
    Meters,
    /// The close has another window than the one that was open.
    #[error("the window is {} by the records, the close says {}", Span(.recomputed), Span(.recorded))]
    Window {
        /// The window in the close.
        recorded: BilledWindow,
        /// The window by the records.
        recomputed: BilledWindow,
    },
    /// The window was measured by an unknown version of the rules, so its lines may differ for that reason alone.
    #[error("the window was measured by version {recorded} of the rules, this program has version {known}")]
    Metering {
        /// The version in the close.
        recorded: u16,
        /// The version of this program.
        known: u16,
    },
    /// The corrected record is not an earlier close.
    #[error("it corrects record {corrects}, which is not an earlier close")]
    CorrectsNoClose {
        /// The corrected record.
        corrects: Seq,
    },
    /// The acknowledgement covers records that are not before it.
    #[error("it acknowledges everything through record {through}, which is not before it")]
    AcknowledgedTooFar {
        /// The last record that it covers.
        through: Seq,
    },
    /// The requests were recorded before, by their journal position. They count twice.
    #[error(
        "it records the requests of journal {} up to entry {}, which were recorded up to entry {} before",
        .journal.journal, .journal.entry, .folded.entry
    )]
    RecordedTwice {
        /// The journal position of the record.
        journal: JournalPosition,
        /// The journal position before it.
        folded: JournalPosition,
    },
}

/// Displays a recorded total.
struct RecordedTotal<'a>(&'a Option<u128>);

impl fmt::Display for RecordedTotal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

/// Displays a window.
struct Span<'a>(&'a BilledWindow);

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BilledWindow { since, through, first_seq } = self.0;
        write!(f, "from {since} and record {first_seq} on to {through}")
    }
}
