//! Parts of the billing events.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::meter::Meter;
use crate::position::Seq;

/// How many times an operation was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedOperation {
    /// The operation's name.
    pub operation: String,
    /// How many requests are billed.
    pub requests: u64,
    /// How many searches they contain: one request may contain many.
    pub searches: u64,
}

/// A position in a node's request journal: all entries up to and including `entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPosition {
    /// The journal's id, which never changes.
    pub journal: Uuid,
    /// The entry. Numbers ascend within a journal.
    pub entry: u64,
}

impl JournalPosition {
    /// Whether the entries up to this position were already recorded when `folded` was the last position: then a
    /// crash has occurred between recording them and advancing the journal.
    pub fn is_folded_by(&self, folded: &Self) -> bool {
        self.journal == folded.journal && self.entry <= folded.entry
    }
}

/// A billing line that `HiveHub` has rejected permanently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedLine {
    /// The record of the close or correction.
    pub seq: Seq,
    /// The meter of the line.
    pub meter: Meter,
    /// The reason, at most [`Event::REASON_BYTES_MAX`](crate::Event::REASON_BYTES_MAX) bytes.
    pub reason: String,
}
