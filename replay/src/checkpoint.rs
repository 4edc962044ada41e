//! A projection as bytes, and back: so that a tenant that wakes need not fold its whole log.
//!
//! ```text
//! "VZCHECK1"
//! sections: tag 4  version u32  length u64  body
//!   HEAD  log, seq and chain hash of the last record, stored bytes of the log, last record that changed data
//!   USAG  counters      BILL  where the bill stands      ANSW  answers to idempotency keys
//!   COLL  one collection, followed by its
//!     BLCK  blocks of slots, as they lie in memory
//!     ORDR  slots in the order of their ids
//!     PATH  paths of payloads that were declared, if there are any
//!   END   BLAKE3 of all in front
//! ```
//!
//! A checkpoint saves the work of folding and nothing else. One that is not exactly what was written, of
//! another log, or with sections that this version does not write, is not used at all: the log is the
//! truth. So whoever adds to what a projection holds adds a section or gives one another version.
//! What is derived from points, their postings, words and graphs, is no part of it. A section that only some states have
//! is missing in those of all others, so these are written as they were before there was such a section, and read as
//! well; a version that does not know it uses none that has it.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use vectorizer_log::{Head, LogId, Seq};

use crate::answers::Answers;
use crate::billing::Billing;
use crate::projection::Projection;
use crate::usage::Usage;
pub use vectorizer_index::checkpoint::UnusableCheckpoint;
use vectorizer_index::checkpoint::{SectionKind, SectionReader, SectionWriter};
use vectorizer_index::{FrozenIndex, Index};

const HEAD: SectionKind = SectionKind { tag: *b"HEAD", version: 1 };
const USAGE: SectionKind = SectionKind { tag: *b"USAG", version: 1 };
const BILLING: SectionKind = SectionKind { tag: *b"BILL", version: 1 };
const ANSWERS: SectionKind = SectionKind { tag: *b"ANSW", version: 1 };

/// A projection as of one record of its log, on its way to a file. Cheap to make: what is large is shared
/// with the projection, which goes on.
#[derive(Debug)]
pub struct Checkpoint {
    about: About,
    index: FrozenIndex,
    usage: Usage,
    billing: Billing,
    answers: Answers,
}

/// What a checkpoint is of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct About {
    log_id: LogId,
    seq: Seq,
    chain: [u8; 32],
    log_bytes: u64,
    data_seq: Seq,
}

/// What a checkpoint was written from.
#[derive(Debug)]
pub struct Restored {
    /// The projection.
    pub projection: Projection,
    /// Its last record.
    pub head: Head,
    /// The stored bytes of the log up to there.
    pub log_bytes: u64,
}

impl Projection {
    /// The projection as of now, whose last record is at `head` of a log that has `log_bytes` up to there.
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
            answers: self.answers.clone(),
        }
    }
}

impl Checkpoint {
    /// The last record in it.
    pub fn seq(&self) -> Seq {
        self.about.seq
    }

    /// Writes it. Takes the time of sorting all ids, and of hashing everything.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut sections = SectionWriter::begin(out)?;
        sections.write_value(HEAD, &self.about)?;
        sections.write_value(USAGE, &self.usage)?;
        sections.write_value(BILLING, &self.billing)?;
        sections.write_value(ANSWERS, &self.answers.oldest_first().collect::<Vec<_>>())?;
        self.index.write(&mut sections)?;
        sections.end()
    }
}

impl Restored {
    /// Reads what [`Checkpoint::write`] has written of the log with this id, `length` bytes. Bytes that are
    /// anything else are refused, whatever they are. Asks `stop` now and then.
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
        let answers = Answers::restored(sections.expect_value(ANSWERS)?);
        let stored = Index::read(&mut sections, usage.collections())?;
        // IMPORTANT: before anything is made of it that could take long or fail in another way.
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
        let projection = Projection { log_id, applied, data_seq, index, usage, billing, answers };
        Ok(Self { projection, head, log_bytes })
    }
}
