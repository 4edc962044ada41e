//! Which records an export shows.

use crate::position::{Seq, Timestamp};

/// By seq, both ends included, and by time, the end not included: one export ends where the next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportRange {
    /// The first record.
    pub from: Option<Seq>,
    /// The last record.
    pub to: Option<Seq>,
    /// Records of this moment or later.
    pub since: Option<Timestamp>,
    /// Records before this moment.
    pub until: Option<Timestamp>,
}

/// Where a record lies with regard to a range. Neither seqs nor times run backwards, so what follows one that
/// lies behind does too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportPlace {
    /// Others behind it may be shown.
    Before,
    /// It is shown.
    Within,
    /// Neither it nor any other that follows is shown.
    Behind,
}

impl ExportRange {
    /// Where the record at `seq`, of the moment `at`, lies.
    pub fn place(&self, seq: Seq, at: Timestamp) -> ExportPlace {
        let ends_before = |from: Seq, moment: Timestamp| {
            self.to.is_some_and(|to| to < from) || self.until.is_some_and(|until| until <= moment)
        };
        // A range that ends before it begins has nothing to wait for.
        let begins = (self.from.unwrap_or(seq).max(seq), self.since.unwrap_or(at).max(at));
        if ends_before(begins.0, begins.1) {
            ExportPlace::Behind
        } else if begins == (seq, at) {
            ExportPlace::Within
        } else {
            ExportPlace::Before
        }
    }
}
