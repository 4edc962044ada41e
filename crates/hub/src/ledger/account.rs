//! The places of a tenant's events, and of those of one meter of one log.

use std::collections::BTreeMap;

use vectorizer_hivehub::UsageEvent;
use vectorizer_log::{Meter, Seq};

use super::page::Totals;
use super::{MARK_EVERY, STREAM_MARK_EVERY};

/// A tenant's events, numbered from 1 in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Account {
    count: u64,
    last_place: u64,
    /// The places of the events whose number is a multiple of [`MARK_EVERY`].
    marks: Vec<u64>,
    pub(super) totals: BTreeMap<Meter, Totals>,
}

/// The events of one meter of one log, in ascending order of seq.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) last_seq: Seq,
    pub(super) last_place: u64,
    count: u64,
    /// The places of every [`STREAM_MARK_EVERY`]th event.
    marks: Vec<(Seq, u64)>,
}

impl Account {
    pub(super) fn note(&mut self, event: &UsageEvent, place: u64) {
        self.count += 1;
        self.last_place = place;
        if self.count.is_multiple_of(MARK_EVERY) {
            self.marks.push(place);
        }
        self.totals.entry(event.data.meter).or_insert_with(|| Totals::of(event.data.meter)).add(event);
    }

    /// The number of events.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn last_place(&self) -> u64 {
        self.last_place
    }

    /// The number and place of the first event from `number` on whose place is stored.
    pub(super) fn known_from(&self, number: u64) -> (u64, u64) {
        let marked = number.div_ceil(MARK_EVERY).max(1);
        let mark = usize::try_from(marked - 1).ok().and_then(|index| self.marks.get(index));
        mark.map_or((self.count, self.last_place), |place| (marked * MARK_EVERY, *place))
    }
}

impl Stream {
    pub(super) fn note(&mut self, seq: Seq, place: u64) {
        self.count += 1;
        (self.last_seq, self.last_place) = (seq, place);
        if self.count.is_multiple_of(STREAM_MARK_EVERY) {
            self.marks.push((seq, place));
        }
    }

    /// The stored place at or shortly after the event that ends at `seq`, if there is one.
    pub(super) fn place_at_or_behind(&self, seq: Seq) -> u64 {
        let marked = self.marks.partition_point(|(marked, _)| *marked < seq);
        self.marks.get(marked).map_or(self.last_place, |(_, place)| *place)
    }
}
