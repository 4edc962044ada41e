//! What the events of the bill are made of.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::meter::Meter;
use crate::position::Seq;

/// How often one operation was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedOperation {
    /// The operation's name.
    pub operation: String,
    /// The requests that count.
    pub requests: u64,
    /// The searches within them: a request may hold many.
    pub searches: u64,
}

/// A place in a node's journal of requests: everything in it up to and including this entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPosition {
    /// The journal, which has this id for all its life.
    pub journal: Uuid,
    /// The entry. Entries of one journal rise.
    pub entry: u64,
}

impl JournalPosition {
    /// Whether what lies at this place was folded in already where `folded` was the place before: then a
    /// crash came between folding it in and noting that down.
    pub fn is_folded_by(&self, folded: &Self) -> bool {
        self.journal == folded.journal && self.entry <= folded.entry
    }
}

/// A line that `HiveHub` has rejected for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedLine {
    /// The close or correction it is a line of.
    pub seq: Seq,
    /// Its meter.
    pub meter: Meter,
    /// Why it was rejected, of at most [`Event::REASON_BYTES_MAX`](crate::Event::REASON_BYTES_MAX).
    pub reason: String,
}
