//! The open window: the totals since the last close.

use serde::{Deserialize, Serialize};
use vectorizer_log::{BaseWindow, Meter, MeterTotal, ObservedOperation, Seq, Timestamp};

use vectorizer_index::Change;

const MICROS_PER_SECOND: u128 = 1_000_000;

/// An open billing window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenWindow {
    since: Timestamp,
    first_seq: Seq,
    upserted: u128,
    deleted: u128,
    searches: u128,
    requests: u128,
    /// Stored bytes times the microseconds that they were stored, up to `counted_through`, and the remainder of the
    /// previous window, which is less than a byte-second.
    ///
    /// It cannot overflow: bytes and microseconds have 64 bits each, and no microsecond counts twice, so the sum over
    /// all time is less than 2^128, by more than that remainder.
    byte_micros: u128,
    counted_through: Timestamp,
}

/// A billing window: its time, and its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledWindow {
    /// The beginning.
    pub since: Timestamp,
    /// The end, not included.
    pub through: Timestamp,
    /// The first record.
    pub first_seq: Seq,
}

impl OpenWindow {
    pub(super) fn new(first_seq: Seq, at: Timestamp) -> Self {
        Self {
            since: at,
            first_seq,
            upserted: 0,
            deleted: 0,
            searches: 0,
            requests: 0,
            byte_micros: 0,
            counted_through: at,
        }
    }

    pub(super) fn restored(base: BaseWindow) -> Self {
        let BaseWindow {
            since,
            first_seq,
            upserted,
            deleted,
            searches,
            requests,
            byte_micros,
            counted_through,
        } = base;
        Self { since, first_seq, upserted, deleted, searches, requests, byte_micros, counted_through }
    }

    pub(super) fn base_window(self) -> BaseWindow {
        let Self { since, first_seq, upserted, deleted, searches, requests, byte_micros, counted_through } =
            self;
        BaseWindow { since, first_seq, upserted, deleted, searches, requests, byte_micros, counted_through }
    }

    /// The next window, which begins where this one is counted through.
    pub(super) fn next(&self, first_seq: Seq) -> Self {
        let rest = self.byte_micros % MICROS_PER_SECOND;
        Self { byte_micros: rest, ..Self::new(first_seq, self.counted_through) }
    }

    /// When it began.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Its first record.
    pub fn first_seq(&self) -> Seq {
        self.first_seq
    }

    /// The moment up to which storage is counted: the time of the last record.
    pub fn counted_through(&self) -> Timestamp {
        self.counted_through
    }

    /// The window at a close with this `through`, recorded at `at`: it ends at `through`, clamped to the possible
    /// moments. `bytes` are stored.
    pub(super) fn closed_at(&self, bytes: u64, through: Timestamp, at: Timestamp) -> Self {
        let through = through.clamp(self.counted_through, self.counted_through.max(at));
        self.until(bytes, through)
    }

    /// The window at the moment `through`, with `bytes` stored until then.
    #[must_use]
    pub(super) fn until(mut self, bytes: u64, through: Timestamp) -> Self {
        self.count_storage(bytes, through);
        self
    }

    /// The closed window, if it ends where it is counted through.
    pub(super) fn billed(&self) -> BilledWindow {
        BilledWindow { since: self.since, through: self.counted_through, first_seq: self.first_seq }
    }

    /// Counts `bytes` as stored up to `through`, if that is later than `counted_through`.
    pub(super) fn count_storage(&mut self, bytes: u64, through: Timestamp) {
        if through > self.counted_through {
            let micros = through.micros().abs_diff(self.counted_through.micros());
            self.byte_micros += u128::from(bytes) * u128::from(micros);
            self.counted_through = through;
        }
    }

    pub(super) fn count_change(&mut self, change: &Change) {
        self.upserted += u128::from(change.vectors_added) + u128::from(change.vectors_replaced);
        self.deleted += u128::from(change.vectors_removed);
    }

    pub(super) fn count_operations(&mut self, operations: &[ObservedOperation]) {
        for ObservedOperation { operation: _, requests, searches } in operations {
            self.requests += u128::from(*requests);
            self.searches += u128::from(*searches);
        }
    }

    /// The totals where it is counted through, with `bytes` stored then.
    pub(super) fn totals(&self, bytes: u64) -> [MeterTotal; Meter::ALL.len()] {
        Meter::ALL.map(|meter| MeterTotal {
            meter,
            value: match meter {
                Meter::VectorsUpserted => self.upserted,
                Meter::VectorsDeleted => self.deleted,
                Meter::Searches => self.searches,
                Meter::Requests => self.requests,
                Meter::StorageByteSeconds => self.byte_micros / MICROS_PER_SECOND,
                Meter::StorageBytes => bytes.into(),
            },
        })
    }

    /// Whether any total is above zero that does not depend on future storage.
    pub fn has_counted(&self) -> bool {
        self.upserted + self.deleted + self.searches + self.requests > 0
            || self.byte_micros >= MICROS_PER_SECOND
    }

    /// Whether any total is above zero.
    pub(super) fn has_totals(&self, bytes: u64) -> bool {
        self.totals(bytes).iter().any(|total| total.value > 0)
    }

    /// The part that a digest covers: everything but `counted_through`, which advances with every record, even if the
    /// totals of all future moments stay the same. `bytes` are stored now.
    pub(crate) fn logical(&self, bytes: u64) -> LogicalWindow {
        // Byte-microseconds grow linearly; this is their value at time zero.
        #[expect(clippy::cast_sign_loss, reason = "a number of the line and not of time: modulo 2^128")]
        let from_the_beginning =
            u128::from(bytes).wrapping_mul(i128::from(self.counted_through.micros()) as u128);
        LogicalWindow {
            since: self.since,
            first_seq: self.first_seq,
            numbers: [
                self.upserted,
                self.deleted,
                self.searches,
                self.requests,
                self.byte_micros.wrapping_sub(from_the_beginning),
            ],
        }
    }
}

/// See [`OpenWindow::logical`].
pub(crate) struct LogicalWindow {
    pub(crate) since: Timestamp,
    pub(crate) first_seq: Seq,
    pub(crate) numbers: [u128; 5],
}
