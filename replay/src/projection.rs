//! The fold itself: one record after another, each exactly once.

use vectorizer_log::{CollectionId, LogId, Record, Seq};

use crate::answers::Answers;
use crate::billing::Billing;
use crate::digest::StateDigest;
use crate::usage::Usage;
use vectorizer_index::HeldBytes;
use vectorizer_index::{Change, Compaction, Index, Indexing, InvalidEvent, Removed};

/// A pure fold of one tenant's log.
///
/// An implementation takes everything it knows from the records: two that were given the same
/// records are equal. It takes each record once: one it has applied is skipped, so a source may
/// start too early; it never takes one out of turn. When it returns an error it is as it was.
pub trait Projector {
    /// The last record applied, [`Seq::NONE`] before the first.
    fn applied(&self) -> Seq;

    /// Folds in the record that follows [`applied`](Projector::applied), or skips one at or below
    /// it.
    fn apply(&mut self, record: &Record) -> Result<Applied, ApplyError>;
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It had been applied before, and nothing changed.
    Skipped,
    /// It was applied, and this changed.
    Changed(Change),
}

/// Why a record was not applied; the state is as it was. All of these are damage or a fault of
/// whoever feeds the fold, none is worth a retry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApplyError {
    /// A record is missing.
    #[error("record {found} follows record {expected}, which is missing")]
    Gap {
        /// The next record to apply.
        expected: Seq,
        /// The one given instead.
        found: Seq,
    },
    /// The record belongs to another log.
    #[error("the record is of log {found}, this is a projection of log {expected}")]
    ForeignLog {
        /// The projection's log.
        expected: LogId,
        /// The record's.
        found: LogId,
    },
    /// The record's event cannot happen in the state it meets.
    #[error("record {seq} does not apply: {reason}")]
    DoesNotApply {
        /// The record.
        seq: Seq,
        /// What does not fit.
        #[source]
        reason: InvalidEvent,
    },
}

/// Everything a tenant's log adds up to.
#[derive(Clone, Debug)]
pub struct Projection {
    pub(crate) log_id: LogId,
    pub(crate) applied: Seq,
    pub(crate) data_seq: Seq,
    pub(crate) index: Index,
    pub(crate) usage: Usage,
    pub(crate) billing: Billing,
    pub(crate) answers: Answers,
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
            answers: Answers::default(),
        }
    }

    /// The log it is a projection of.
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

    /// Where the bill stands.
    pub fn billing(&self) -> &Billing {
        &self.billing
    }

    /// The answers to idempotency keys.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// About how much of the heap it takes, but for its graphs. Costs nothing to ask, and is no part of the fold:
    /// what is shared with snapshots is counted, what only they have is not.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.index.memory_bytes() + self.answers.memory_bytes()
    }

    /// What of that is in allocations with pages of their own: the allocator has no gaps between those.
    pub fn large_bytes(&self) -> usize {
        self.index.large_bytes()
    }

    /// How much of the heap its graphs take, by now and whenever it is asked later: they are linked while nothing is
    /// folded.
    pub fn graphs_bytes(&self) -> HeldBytes {
        self.index.graphs_bytes().clone()
    }

    /// Puts a compaction of a collection in place; `false` if it came too late. Changes nothing that
    /// anybody can see, and no digest. Frees nothing: what is not needed any more is given back.
    pub fn install(&mut self, id: CollectionId, compaction: Compaction) -> (bool, Removed) {
        self.index.install(id, compaction)
    }

    /// Puts indexes of more paths of a collection's payloads in place; `false` if they came too late. Otherwise like
    /// [`install`](Self::install).
    pub fn install_indexing(&mut self, id: CollectionId, indexing: Indexing) -> (bool, Removed) {
        self.index.install_indexing(id, indexing)
    }

    /// Like [`apply`](Projector::apply), for whoever holds a lock meanwhile: a collection that is deleted is
    /// given back rather than freed.
    pub fn apply_and_keep(&mut self, record: &Record) -> Result<(Applied, Option<Removed>), ApplyError> {
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
        // IMPORTANT: the index is the only part that can refuse, so it goes first.
        let (change, removed) = self
            .index
            .apply(record)
            .map_err(|reason| ApplyError::DoesNotApply { seq: record.seq, reason })?;
        // IMPORTANT: the bill counts what was held in front of the record, so it goes before the counters.
        self.billing = self.billing.after(record, &self.usage, &change);
        self.usage = self.usage.after(&change);
        self.answers.apply(record, &change);
        if record.event.changes_data() {
            self.data_seq = record.seq;
        }
        self.applied = record.seq;
        Ok((Applied::Changed(change), removed))
    }

    /// The hash of all of it, except of which log it is and how far it was read.
    ///
    /// Reads everything: its time is that of hashing all vectors and payloads.
    pub fn digest(&self) -> StateDigest {
        StateDigest::of(&self.index, &self.usage, &self.billing, &self.answers, self.data_seq)
    }
}

impl Projector for Projection {
    fn applied(&self) -> Seq {
        self.applied
    }

    fn apply(&mut self, record: &Record) -> Result<Applied, ApplyError> {
        self.apply_and_keep(record).map(|(applied, _)| applied)
    }
}
