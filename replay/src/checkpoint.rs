//! Checkpoints: a projection as bytes, so that a tenant that is loaded need not fold its whole log.
//!
//! ```text
//! "VZCHECK1"
//! sections: tag 4  version u32  length u64  body
//!   HEAD  log, seq and chain hash of the last record, stored bytes of the log, last record that changed data
//!   USAG  counters      BILL  state of the bill      ANSW  answers to idempotency keys
//!   COLL  one collection, followed by its
//!     BLCK  blocks of slots, as in memory
//!     ORDR  slots in the order of their ids
//!     PATH  declared payload paths, if there are any
//!   END   BLAKE3 of all in front
//! ```
//!
//! A checkpoint only saves the work of folding. One that is not exactly as it was written, is of another log, or has
//! sections that this version does not write, is not used: the log is authoritative. So an addition to the state of a
//! projection needs a new section or a new version of one. Derived data (postings, full-text indexes, graphs) is not
//! included. An optional section is missing if a state does not need it: such checkpoints are compatible with versions
//! that do not know the section, and others are refused by them.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use vectorizer_index::checkpoint::{SectionKind, SectionReader, SectionWriter};
use vectorizer_index::{FrozenIndex, Index};
use vectorizer_log::{BaseAnswer, BaseItem, BaseOutcome, Head, LogId, Seq};

use crate::billing::Billing;
use crate::idempotency::{Answer, IdempotencyTable};
use crate::projection::Projection;
use crate::usage::Usage;
pub use vectorizer_index::checkpoint::UnusableCheckpoint;

const HEAD: SectionKind = SectionKind { tag: *b"HEAD", version: 1 };
const USAGE: SectionKind = SectionKind { tag: *b"USAG", version: 1 };
const BILLING: SectionKind = SectionKind { tag: *b"BILL", version: 1 };
const ANSWERS: SectionKind = SectionKind { tag: *b"ANSW", version: 1 };

/// A projection as of one record of its log, to be written to a file. Cheap to create: large data is shared with the
/// projection.
#[derive(Debug)]
pub struct Checkpoint {
    about: About,
    index: FrozenIndex,
    usage: Usage,
    billing: Billing,
    idempotency: IdempotencyTable,
}

/// The log and the record that a checkpoint is of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct About {
    log_id: LogId,
    seq: Seq,
    chain: [u8; 32],
    log_bytes: u64,
    data_seq: Seq,
}

/// A projection restored from a checkpoint.
#[derive(Debug)]
pub struct Restored {
    /// The projection.
    pub projection: Projection,
    /// Its last record.
    pub head: Head,
    /// The stored bytes of the log up to that record.
    pub log_bytes: u64,
}

impl Projection {
    /// A checkpoint of the current state. `head` is the last applied record, and `log_bytes` the stored bytes up to it.
    pub fn freeze(&self, head: Head, log_bytes: u64) -> Checkpoint {
        let about = About {
            log_id: self.log_id,
            seq: head.seq,
            chain: *head.chain.as_bytes(),
            log_bytes,
            data_seq: self.data_seq,
        };
        debug_assert_eq!(head.seq, self.applied, "another state than the head's");
        Checkpoint {
            about,
            index: self.index.freeze(),
            usage: self.usage,
            billing: self.billing,
            idempotency: self.idempotency.clone(),
        }
    }
}

impl Checkpoint {
    /// The last record in the checkpoint.
    pub fn seq(&self) -> Seq {
        self.about.seq
    }

    /// Calls `push` with each item of a base of this state.
    pub fn each_item(&self, mut push: impl FnMut(BaseItem) -> io::Result<()>) -> io::Result<()> {
        push(BaseItem::State(self.billing.base_state(&self.usage, self.about.data_seq)))?;
        self.index.each_item(&mut push)?;
        for (key, Answer { seq, at, body_hash, outcome }) in self.idempotency.oldest_first() {
            let (key, seq, at, body_hash, outcome) =
                (key.to_owned(), *seq, *at, *body_hash, BaseOutcome::from(*outcome));
            push(BaseItem::Answer(BaseAnswer { key, seq, at, body_hash, outcome }))?;
        }
        Ok(())
    }

    /// Writes the checkpoint. Sorts all ids and hashes all bytes.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut sections = SectionWriter::begin(out)?;
        sections.write_value(HEAD, &self.about)?;
        sections.write_value(USAGE, &self.usage)?;
        sections.write_value(BILLING, &self.billing)?;
        sections.write_value(ANSWERS, &self.idempotency.oldest_first().collect::<Vec<_>>())?;
        self.index.write(&mut sections)?;
        sections.end()
    }
}

impl Restored {
    /// Restores a checkpoint of `length` bytes of the log with this id. Calls `stop` now and then.
    ///
    /// # Errors
    ///
    /// [`UnusableCheckpoint`] for any bytes that [`Checkpoint::write`] has not written for this log.
    pub fn read(
        bytes: impl Read,
        length: u64,
        log_id: LogId,
        stop: &impl Fn() -> bool,
    ) -> Result<Self, UnusableCheckpoint> {
        let mut sections = SectionReader::begin(bytes, length)?;
        let about: About = sections.expect_value(HEAD)?;
        if about.log_id != log_id {
            return Err(UnusableCheckpoint::Other);
        }
        let usage: Usage = sections.expect_value(USAGE)?;
        let billing = sections.expect_value(BILLING)?;
        let idempotency = IdempotencyTable::restored(sections.expect_value(ANSWERS)?);
        let stored = Index::read(&mut sections, usage.collections())?;
        // IMPORTANT: verify the hash before the collections are rebuilt, which takes long.
        sections.end()?;
        let index = stored.restored(stop)?;
        let (vectors, bytes) = index.by_creation().fold((0, 0), |(vectors, bytes), collection| {
            (vectors + collection.len() as u64, bytes + collection.logical_bytes())
        });
        if (vectors, bytes) != (usage.vectors(), usage.logical_bytes()) {
            return Err(UnusableCheckpoint::Damaged);
        }
        let About { seq: applied, chain, log_bytes, data_seq, .. } = about;
        let head = Head { seq: applied, chain: vectorizer_log::ChainHash::from_bytes(chain) };
        let projection = Projection { log_id, applied, data_seq, index, usage, billing, idempotency };
        Ok(Self { projection, head, log_bytes })
    }
}
