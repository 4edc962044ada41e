//! The range of an export.

use crate::position::{Seq, Timestamp};

/// A range of records by number, both ends included, and by time, without its end: one export ends where the next
/// begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportRange {
    /// The first record.
    pub from: Option<Seq>,
    /// The last record.
    pub to: Option<Seq>,
    /// The earliest time.
    pub since: Option<Timestamp>,
    /// The end of the time, not included.
    pub until: Option<Timestamp>,
}

/// The position of a record relative to a range. Numbers and times never run backwards, so all records after one that
/// is after the range are after it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangePosition {
    /// Before the range: later records may be in it.
    Before,
    /// In the range.
    Within,
    /// After the range: no later record is in it.
    After,
}

impl ExportRange {
    /// The position of a record with this number and time.
    pub fn place(&self, seq: Seq, at: Timestamp) -> RangePosition {
        let ends_before = |from: Seq, moment: Timestamp| {
            self.to.is_some_and(|to| to < from) || self.until.is_some_and(|until| until <= moment)
        };
        // A range whose end is before its beginning is empty.
        let begins = (self.from.unwrap_or(seq).max(seq), self.since.unwrap_or(at).max(at));
        if ends_before(begins.0, begins.1) {
            RangePosition::After
        } else if begins == (seq, at) {
            RangePosition::Within
        } else {
            RangePosition::Before
        }
    }
}
