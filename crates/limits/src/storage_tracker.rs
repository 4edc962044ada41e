//! The check of a tenant's storage limits, before an event is stored.
//!
//! The writer checks each event before it is staged. Events that the same group has staged count, so two writes
//! cannot both take the last of a limit. They count for the time of the group only: a failed commit leaves no
//! reservation.

use vectorizer_index::Index;
use vectorizer_log::{Event, Record};
use vectorizer_replay::{Projection, Usage};

use super::limits::Limits;

/// The kinds of quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaType {
    /// Logical bytes of vectors.
    StorageBytes,
    /// Stored bytes of the log.
    LogBytes,
    /// Vectors.
    Vectors,
    /// Collections.
    Collections,
}

impl QuotaType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::StorageBytes, Self::LogBytes, Self::Vectors, Self::Collections];

    /// Its name in `HiveHub`'s contract and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StorageBytes => "storage_bytes",
            Self::LogBytes => "log_bytes",
            Self::Vectors => "vectors",
            Self::Collections => "collections",
        }
    }
}

/// A write that would exceed a quota. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota {} is {limit}: {used} are used, and this would add {more}", .quota.name())]
pub struct QuotaExceeded {
    /// Which.
    pub quota: QuotaType,
    /// The limit.
    pub limit: u64,
    /// The present use.
    pub used: u64,
    /// The increase by the write.
    pub more: u64,
}

impl QuotaExceeded {
    /// The log would exceed its limit.
    pub fn of_the_log(limit: u64, used: u64, more: u64) -> Self {
        Self { quota: QuotaType::LogBytes, limit, used, more }
    }

    /// Whether the write alone exceeds the limit.
    pub fn never_fits(&self) -> bool {
        self.more > self.limit
    }
}

/// The use of a tenant's limits by a group.
///
/// At first each vector counts as a new one, which needs no lookup. Only if that exceeds a limit, the exact change is
/// computed.
pub struct StorageTracker<'state> {
    limits: Limits,
    index: &'state Index,
    /// An upper bound of the use after the staged records.
    most: Usage,
    /// The exact use after the first `exact_through` staged records.
    exact: Usage,
    exact_through: usize,
}

/// An event within the limits.
#[must_use]
pub struct Admitted {
    /// An upper bound of the use after it.
    most: Usage,
}

impl<'state> StorageTracker<'state> {
    /// At the start of a group that is decided against `projection`.
    pub fn new(limits: Limits, projection: &'state Projection) -> Self {
        let usage = *projection.usage();
        Self { limits, index: projection.index(), most: usage, exact: usage, exact_through: 0 }
    }

    /// Checks `event` after the records `staged` so far. The caller stages it, and then calls
    /// [`staged`](Self::staged).
    pub fn admit<'r>(
        &mut self,
        event: &Event,
        staged: impl Iterator<Item = &'r Record>,
    ) -> Result<Admitted, QuotaExceeded> {
        let most = self.most.after(&self.index.upper_bound(event));
        if self.exceeded(&self.most, &most).is_ok() {
            return Ok(Admitted { most });
        }
        for record in staged.skip(self.exact_through) {
            self.exact = self.exact.after(&self.index.expected_change(&record.event));
            self.exact_through += 1;
        }
        let after = self.exact.after(&self.index.expected_change(event));
        self.exceeded(&self.exact, &after)?;
        Ok(Admitted { most: after })
    }

    /// The admitted event is staged. Before that it does not count, since it may be refused for another reason.
    pub fn staged(&mut self, Admitted { most }: Admitted) {
        self.most = most;
    }

    /// The largest log that `event` may lead to. Deletions and the server's own records are always allowed.
    pub fn log_bytes_max(&self, event: &Event) -> u64 {
        let is_limited = event.effect().data().is_some_and(|change| !change.only_removes());
        if is_limited { self.limits.log_bytes.unwrap_or(u64::MAX) } else { u64::MAX }
    }

    /// A tenant above a limit, which may have been lowered, may make writes that do not add to it. Of several
    /// exceeded limits, the error has one that the write alone exceeds, if there is one.
    fn exceeded(&self, before: &Usage, after: &Usage) -> Result<(), QuotaExceeded> {
        let Limits { storage_bytes, vectors, collections, log_bytes: _, requests: _, history: _ } =
            self.limits;
        let quotas = [
            (QuotaType::StorageBytes, storage_bytes, before.logical_bytes(), after.logical_bytes()),
            (QuotaType::Vectors, vectors, before.vectors(), after.vectors()),
            (QuotaType::Collections, collections, before.collections(), after.collections()),
        ];
        let exceeded = quotas.into_iter().filter_map(|(quota, limit, used, wanted)| {
            let limit = limit.filter(|limit| wanted > *limit && wanted > used)?;
            Some(QuotaExceeded { quota, limit, used, more: wanted - used })
        });
        // `min_by_key` returns the first of several.
        exceeded.min_by_key(|exceeded| !exceeded.never_fits()).map_or(Ok(()), Err)
    }
}
