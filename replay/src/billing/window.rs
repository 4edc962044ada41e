//! What has come together since the last close.

use serde::{Deserialize, Serialize};
use vectorizer_log::{Meter, MeterTotal, ObservedOperation, Seq, Timestamp};

use super::entry::BilledWindow;
use vectorizer_index::Change;

const MICROS_PER_SECOND: u128 = 1_000_000;

/// A window of the bill that is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenWindow {
    since: Timestamp,
    first_seq: Seq,
    upserted: u128,
    deleted: u128,
    searches: u128,
    requests: u128,
    /// Bytes held times the microseconds they were held for, up to `counted_through`, and what the window
    /// before could not count, which is less than a byte-second.
    ///
    /// It cannot overflow: bytes and microseconds have 64 bits each, no microsecond counts twice, and so
    /// even all of time is less than 2^128 by more than that rest.
    byte_micros: u128,
    counted_through: Timestamp,
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

    /// The window behind this one, which ends where it is counted through.
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

    /// The moment up to which it is known what was held: that of the last record.
    pub fn counted_through(&self) -> Timestamp {
        self.counted_through
    }

    /// The window as it ends by a close, recorded at `at`, that says `through`: at that very moment, if it
    /// is one that the close can speak of. `bytes` are held.
    pub(super) fn ended(&self, bytes: u64, through: Timestamp, at: Timestamp) -> Self {
        let through = through.clamp(self.counted_through, self.counted_through.max(at));
        self.until(bytes, through)
    }

    /// The window as it is at the moment `through`, if `bytes` are held until then.
    #[must_use]
    pub(super) fn until(mut self, bytes: u64, through: Timestamp) -> Self {
        self.hold(bytes, through);
        self
    }

    /// Where it lies if it ends where it is counted through.
    pub(super) fn billed(&self) -> BilledWindow {
        BilledWindow { since: self.since, through: self.counted_through, first_seq: self.first_seq }
    }

    /// Counts `bytes` as held from where it was counted through to `through`; nothing if that is no later.
    pub(super) fn hold(&mut self, bytes: u64, through: Timestamp) {
        if through > self.counted_through {
            let micros = through.micros().abs_diff(self.counted_through.micros());
            self.byte_micros += u128::from(bytes) * u128::from(micros);
            self.counted_through = through;
        }
    }

    pub(super) fn count(&mut self, change: &Change) {
        self.upserted += u128::from(change.vectors_added) + u128::from(change.vectors_replaced);
        self.deleted += u128::from(change.vectors_removed);
    }

    pub(super) fn observe(&mut self, operations: &[ObservedOperation]) {
        for ObservedOperation { operation: _, requests, searches } in operations {
            self.requests += u128::from(*requests);
            self.searches += u128::from(*searches);
        }
    }

    /// What it comes to where it is counted through, with `bytes` held then.
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

    /// Whether anything has come together that counts whatever is held from now on.
    pub fn has_counted(&self) -> bool {
        self.upserted + self.deleted + self.searches + self.requests > 0
            || self.byte_micros >= MICROS_PER_SECOND
    }

    /// Whether any meter has come to anything.
    pub(super) fn has_something(&self, bytes: u64) -> bool {
        self.totals(bytes).iter().any(|total| total.value > 0)
    }

    /// What a digest takes of it: everything but how far it is counted, for with every record that changes
    /// nothing it is counted further and yet says the same of every moment to come. `bytes` are held now.
    pub(crate) fn logical(&self, bytes: u64) -> LogicalWindow {
        // Byte-microseconds grow along a straight line; this is where it meets the beginning of time.
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
