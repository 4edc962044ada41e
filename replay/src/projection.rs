//! The fold: it applies records one after another, each exactly once.

use vectorizer_index::HeldBytes;
use vectorizer_index::{Change, Compaction, Index, Indexing, InvalidEvent, Removed};
use vectorizer_log::{CollectionId, LogId, Record, Seq};

use crate::billing::Billing;
use crate::digest::StateDigest;
use crate::idempotency::IdempotencyTable;
use crate::usage::Usage;

/// A pure fold of one tenant's log.
///
/// An implementation depends on nothing but the records: after the same records, two projectors are equal. It applies
/// each record once, in order, and skips those that it has applied before, so a source may start too early. After an
/// error its state is unchanged.
pub trait Projector {
    /// The last record applied, [`Seq::NONE`] before the first.
    fn applied(&self) -> Seq;

    /// Applies the record after [`applied`](Projector::applied), or skips one that was applied before.
    fn apply(&mut self, record: &Record) -> Result<Applied, ApplyError>;
}

/// The result of applying a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The record was applied before. Nothing changed.
    Skipped,
    /// The record was applied and made this change.
    Changed(Change),
}

/// Why a record was not applied. The state is unchanged. Each is damage of the log or an error of the caller, so
/// retrying is useless.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApplyError {
    /// A record is missing.
    #[error("record {found} follows record {expected}, which is missing")]
    Gap {
        /// The next record to apply.
        expected: Seq,
        /// The given record.
        found: Seq,
    },
    /// The record belongs to another log.
    #[error("the record belongs to log {found}, this is a projection of log {expected}")]
    ForeignLog {
        /// The projection's log.
        expected: LogId,
        /// The record's log.
        found: LogId,
    },
    /// The record's event is not valid in the current state.
    #[error("record {seq} does not apply: {reason}")]
    DoesNotApply {
        /// The record.
        seq: Seq,
        /// Why it is not valid.
        #[source]
        reason: InvalidEvent,
    },
}

/// The state that a tenant's log adds up to.
#[derive(Clone, Debug)]
pub struct Projection {
    pub(crate) log_id: LogId,
    pub(crate) applied: Seq,
    pub(crate) data_seq: Seq,
    pub(crate) index: Index,
    pub(crate) usage: Usage,
    pub(crate) billing: Billing,
    pub(crate) idempotency: IdempotencyTable,
}

impl Projection {
    /// The projection of an empty log.
    pub fn new(log_id: LogId) -> Self {
        Self {
            log_id,
            applied: Seq::NONE,
            data_seq: Seq::NONE,
            index: Index::default(),
            usage: Usage::default(),
            billing: Billing::default(),
            idempotency: IdempotencyTable::default(),
        }
    }

    /// The log that it is a projection of.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The last record that changed data, [`Seq::NONE`] before the first
    /// (see [`Event::changes_data`](vectorizer_log::Event::changes_data)).
    pub fn data_seq(&self) -> Seq {
        self.data_seq
    }

    /// The collections.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The counters.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The state of the bill.
    pub fn billing(&self) -> &Billing {
        &self.billing
    }

    /// The answers to idempotency keys.
    pub fn idempotency(&self) -> &IdempotencyTable {
        &self.idempotency
    }

    /// The heap bytes without its graphs, estimated in constant time. Memory shared with snapshots counts, memory
    /// that only snapshots hold does not. Not part of the fold.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.index.memory_bytes() + self.idempotency.memory_bytes()
    }

    /// The part of that in large allocations, which fragment no memory.
    pub fn large_bytes(&self) -> usize {
        self.index.large_bytes()
    }

    /// The heap bytes of its graphs, as a counter that stays current: linking changes it between records.
    pub fn graphs_bytes(&self) -> HeldBytes {
        self.index.graphs_bytes().clone()
    }

    /// Installs a compaction of a collection. Returns `false` if the collection has changed its slots since. Changes no
    /// answer and no digest. The caller drops the memory that is not needed any more.
    pub fn install(&mut self, id: CollectionId, compaction: Compaction) -> (bool, Removed) {
        self.index.install(id, compaction)
    }

    /// Installs payload indexes of a collection, like [`install`](Self::install).
    pub fn install_indexing(&mut self, id: CollectionId, indexing: Indexing) -> (bool, Removed) {
        self.index.install_indexing(id, indexing)
    }

    /// Like [`apply`](Projector::apply), but returns a deleted collection, so that a caller that holds a lock can
    /// drop it later.
    pub fn apply_deferring_drop(
        &mut self,
        record: &Record,
    ) -> Result<(Applied, Option<Removed>), ApplyError> {
        if record.log_id != self.log_id {
            return Err(ApplyError::ForeignLog { expected: self.log_id, found: record.log_id });
        }
        if record.seq <= self.applied {
            return Ok((Applied::Skipped, None));
        }
        let expected = self.applied.next();
        if record.seq != expected {
            return Err(ApplyError::Gap { expected, found: record.seq });
        }
        // IMPORTANT: only the index can refuse a record, so it goes first.
        let (change, removed) = self
            .index
            .apply(record)
            .map_err(|reason| ApplyError::DoesNotApply { seq: record.seq, reason })?;
        // IMPORTANT: the bill counts what was stored before the record, so it goes before the counters.
        self.billing = self.billing.after(record, &self.usage, &change);
        self.usage = self.usage.after(&change);
        self.idempotency.apply(record, &change);
        if record.event.changes_data() {
            self.data_seq = record.seq;
        }
        self.applied = record.seq;
        Ok((Applied::Changed(change), removed))
    }

    /// The hash of the state, without the log's id and the last applied record.
    ///
    /// Takes the time to hash all vectors and payloads.
    pub fn digest(&self) -> StateDigest {
        StateDigest::of(&self.index, &self.usage, &self.billing, &self.idempotency, self.data_seq)
    }
}

impl Projector for Projection {
    fn applied(&self) -> Seq {
        self.applied
    }

    fn apply(&mut self, record: &Record) -> Result<Applied, ApplyError> {
        self.apply_deferring_drop(record).map(|(applied, _)| applied)
    }
}
