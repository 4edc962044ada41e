//! The parts of a bill.

use vectorizer_log::{ChainHash, LogId, Meter, RejectedLine, Seq, Timestamp};

use super::discrepancy::Discrepancy;
use crate::billing::BilledWindow;

/// An entry of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BillEntry {
    /// A line of a closed window.
    Line(BillingLine),
    /// A correction of such a line.
    Correction(BillingCorrection),
    /// A line that `HiveHub` has rejected.
    Rejected(RejectedLine),
    /// A billing event that does not match the records.
    Discrepancy(Discrepancy),
}

/// A line of the bill, as computed from the records. `HiveHub` identifies it by log, record and meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingLine {
    /// The log.
    pub log_id: LogId,
    /// The record of the close, the last one that counts.
    pub through: Seq,
    /// The meter.
    pub meter: Meter,
    /// The value.
    pub value: u128,
    /// The window.
    pub window: BilledWindow,
    /// The chain hash of the close, if it is known.
    pub chain: Option<ChainHash>,
}

impl BillingLine {
    /// The first record that counts.
    pub fn first_seq(&self) -> Seq {
        self.window.first_seq
    }

    /// The last record that counts.
    pub fn last_seq(&self) -> Seq {
        self.through
    }
}

/// A correction of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillingCorrection {
    /// The log.
    pub log_id: LogId,
    /// The record of the correction.
    pub seq: Seq,
    /// The time of the correction.
    pub at: Timestamp,
    /// The record of the corrected close.
    pub corrects: Seq,
    /// The meter of the line.
    pub meter: Meter,
    /// The amount to add to the line.
    pub by: i128,
    /// The reason.
    pub reason: String,
    /// The chain hash of the correction, if it is known.
    pub chain: Option<ChainHash>,
}

/// The total of a meter in all closed windows. A storage reading is not summed: it is the latest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledTotal {
    /// The meter.
    pub meter: Meter,
    /// The total by the records.
    pub recomputed: u128,
    /// The total by the closes.
    pub recorded: u128,
    /// The sum of the corrections.
    pub corrected: i128,
}

impl BilledTotal {
    pub(super) const fn zero(meter: Meter) -> Self {
        Self { meter, recomputed: 0, recorded: 0, corrected: 0 }
    }
}
