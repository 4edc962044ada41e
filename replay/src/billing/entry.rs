//! What a bill is made of.

use vectorizer_log::{ChainHash, LogId, Meter, RejectedLine, Seq, Timestamp};

use super::discrepancy::Discrepancy;

/// A part of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BillEntry {
    /// A line of a window that was closed.
    Line(BillingLine),
    /// A line of such a window was corrected.
    Correction(BillingCorrection),
    /// `HiveHub` has rejected a line.
    Rejected(RejectedLine),
    /// The log says something else of its bill than its records come to.
    Discrepancy(Discrepancy),
}

/// A line of the bill, as its records come to. What it is to `HiveHub` is known by log, seq and meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingLine {
    /// The log that was measured.
    pub log_id: LogId,
    /// The close, and so the last record that counts.
    pub through: Seq,
    /// What was measured.
    pub meter: Meter,
    /// How much.
    pub value: u128,
    /// When and from which record on.
    pub window: BilledWindow,
    /// The log's history through the close, where it was told.
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

/// Where a window lies in time and where it begins in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledWindow {
    /// Its beginning.
    pub since: Timestamp,
    /// Its end, not included.
    pub through: Timestamp,
    /// Its first record.
    pub first_seq: Seq,
}

/// A late correction of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillingCorrection {
    /// The log.
    pub log_id: LogId,
    /// The record that corrects.
    pub seq: Seq,
    /// When it did.
    pub at: Timestamp,
    /// The close it corrects.
    pub corrects: Seq,
    /// The meter of the line.
    pub meter: Meter,
    /// What is added to the line.
    pub by: i128,
    /// Why.
    pub reason: String,
    /// The log's history through the correction, where it was told.
    pub chain: Option<ChainHash>,
}
