//! A plain bill: every window is computed from the whole history.

use vectorizer_log::{Event, Record};

use crate::model::{Model, ModelCollection};

/// What a record changed, and what was stored after it.
struct Moment {
    seq: u64,
    at: i64,
    /// The end of the window, if this record closed one.
    closed_through: Option<i64>,
    upserted: u128,
    deleted: u128,
    searches: u128,
    requests: u128,
    bytes: u128,
}

/// The history, record by record.
pub(super) struct PlainBill(Vec<Moment>);

/// A window by records and by time, the latter half-open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PlainWindow {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) since: i64,
    pub(super) through: i64,
}

impl PlainBill {
    pub(super) fn of(records: &[Record]) -> Self {
        let mut model = Model::default();
        let moments = records.iter().map(|record| {
            let (upserted, deleted) = (model.vectors_upserted, model.vectors_deleted);
            model.apply(record);
            let (mut searches, mut requests) = (0, 0);
            if let Event::UsageObserved { operations, .. } = &record.event {
                for operation in operations {
                    searches += u128::from(operation.searches);
                    requests += u128::from(operation.requests);
                }
            }
            let closed_through = if let Event::BillingClosed { through, .. } = &record.event {
                Some(through.micros())
            } else {
                None
            };
            Moment {
                seq: record.seq.get(),
                at: record.at.micros(),
                closed_through,
                upserted: u128::from(model.vectors_upserted - upserted),
                deleted: u128::from(model.vectors_deleted - deleted),
                searches,
                requests,
                bytes: model.collections.values().map(ModelCollection::logical_bytes).sum::<u64>().into(),
            }
        });
        Self(moments.collect())
    }

    /// All closed windows, oldest first, and the open one as of `now`; none without a record.
    pub(super) fn windows(&self, now: i64) -> Vec<PlainWindow> {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return Vec::new() };
        let mut windows = Vec::new();
        let (mut first_seq, mut since) = (first.seq, first.at);
        for moment in &self.0 {
            if let Some(through) = moment.closed_through {
                windows.push(PlainWindow { first_seq, last_seq: moment.seq, since, through });
                (first_seq, since) = (moment.seq + 1, through);
            }
        }
        windows.push(PlainWindow { first_seq, last_seq: last.seq, since, through: now });
        windows
    }

    /// The totals of a window, in the order of the meters.
    pub(super) fn totals(&self, window: PlainWindow) -> [u128; 6] {
        let PlainWindow { first_seq, last_seq, since, through } = window;
        let records = || self.0.iter().filter(|moment| (first_seq..=last_seq).contains(&moment.seq));
        [
            records().map(|moment| moment.upserted).sum(),
            records().map(|moment| moment.deleted).sum(),
            records().map(|moment| moment.searches).sum(),
            records().map(|moment| moment.requests).sum(),
            // The fraction of a byte-second counts in the next window.
            self.byte_micros(through) / 1_000_000 - self.byte_micros(since) / 1_000_000,
            self.0.iter().take_while(|moment| moment.seq <= last_seq).last().unwrap().bytes,
        ]
    }

    /// Stored bytes times microseconds, from the beginning to `until`.
    pub(super) fn byte_micros(&self, until: i64) -> u128 {
        let ends = self.0.iter().skip(1).map(|moment| moment.at).chain([i64::MAX]);
        self.0
            .iter()
            .zip(ends)
            .map(|(moment, end)| {
                let micros = end.min(until) - moment.at.min(until);
                moment.bytes * u128::try_from(micros).unwrap()
            })
            .sum()
    }
}
