//! What a tenant stores, held against its limits before it is stored.
//!
//! The writer asks here about every event it is about to append, with everything in mind that the same
//! group has staged, so no two writes can share the last room there is. What was staged counts only as
//! long as its group lasts: a commit that fails leaves no reservation behind.

use vectorizer_index::Index;
use vectorizer_log::{Event, Record};
use vectorizer_replay::{Projection, Usage};

use super::limits::Limits;

/// What a quota is about.
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

/// A write that would take a tenant beyond what it may use. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota {} is {limit}: {used} are used, and this would add {more}", .quota.name())]
pub struct QuotaExceeded {
    /// Which.
    pub quota: QuotaType,
    /// How much there may be.
    pub limit: u64,
    /// How much there is.
    pub used: u64,
    /// How much more there would be.
    pub more: u64,
}

impl QuotaExceeded {
    /// The log would exceed its limit.
    pub fn of_the_log(limit: u64, used: u64, more: u64) -> Self {
        Self { quota: QuotaType::LogBytes, limit, used, more }
    }

    /// Whether the write would not even fit if there were nothing else.
    pub fn never_fits(&self) -> bool {
        self.more > self.limit
    }
}

/// A group's use of its tenant's limits.
///
/// First every vector is taken for a new one, which needs no look at the index; only where that exceeds a
/// limit the exact change is worked out.
pub struct StorageTracker<'state> {
    limits: Limits,
    index: &'state Index,
    /// The most that can be in use after what is staged.
    most: Usage,
    /// The exact use after the first `exact_through` staged records.
    exact: Usage,
    exact_through: usize,
}

/// An event that fits.
#[must_use]
pub struct Admitted {
    /// The most that can be in use after it.
    most: Usage,
}

impl<'state> StorageTracker<'state> {
    /// In front of a group that is decided against `projection`.
    pub fn new(limits: Limits, projection: &'state Projection) -> Self {
        let usage = *projection.usage();
        Self { limits, index: projection.index(), most: usage, exact: usage, exact_through: 0 }
    }

    /// Whether `event` fits behind the records `staged` so far. The caller stages it then, and says
    /// [`staged`](Self::staged) once that is done.
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

    /// What was admitted is staged. Before that it counts for nothing: it may not fit for another reason.
    pub fn staged(&mut self, Admitted { most }: Admitted) {
        self.most = most;
    }

    /// How large the log may become by `event`. What gives room back, and what only records, may always be
    /// appended.
    pub fn log_bytes_max(&self, event: &Event) -> u64 {
        match event {
            Event::CollectionCreated { .. }
            | Event::TextCollectionCreated { .. }
            | Event::LanguageCollectionCreated { .. }
            | Event::VectorsUpserted { .. }
            | Event::DocumentsUpserted { .. }
            | Event::PayloadChanged { .. }
            | Event::IndexDeclared { .. } => self.limits.log_bytes.unwrap_or(u64::MAX),
            // Gives nothing back.
            Event::VectorsDeleted { ids, .. } if ids.is_empty() => self.limits.log_bytes.unwrap_or(u64::MAX),
            // What is dropped was declared, and that was held against the limit.
            Event::CollectionDeleted { .. }
            | Event::IndexDropped { .. }
            | Event::VectorsDeleted { .. }
            | Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. } => u64::MAX,
        }
    }

    /// A tenant beyond a limit, which was lowered perhaps, may still do what does not take it further. Of
    /// several limits that are in the way, one that no waiting helps against is named before the others.
    fn exceeded(&self, before: &Usage, after: &Usage) -> Result<(), QuotaExceeded> {
        let Limits { storage_bytes, vectors, collections, log_bytes: _, requests: _ } = self.limits;
        let quotas = [
            (QuotaType::StorageBytes, storage_bytes, before.logical_bytes(), after.logical_bytes()),
            (QuotaType::Vectors, vectors, before.vectors(), after.vectors()),
            (QuotaType::Collections, collections, before.collections(), after.collections()),
        ];
        let exceeded = quotas.into_iter().filter_map(|(quota, limit, used, wanted)| {
            let limit = limit.filter(|limit| wanted > *limit && wanted > used)?;
            Some(QuotaExceeded { quota, limit, used, more: wanted - used })
        });
        // The first of those that are alike.
        exceeded.min_by_key(|exceeded| !exceeded.never_fits()).map_or(Ok(()), Err)
    }
}
