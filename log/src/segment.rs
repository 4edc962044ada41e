//! Segments: consecutive records of a log in one immutable file.
//!
//! A segment is a [file of blocks](crate::blocks). Each entry is a record: the mark of its last part, and its envelope.

use std::fs::File;
use std::io::{self, BufWriter};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::blocks::{BlockEntry, BlockFile, BlockFileError, BlockWriter, Finished};
use crate::damage::{Damage, DamageKind};
use crate::history::SegmentEntry;
use crate::part::Mark;
use crate::position::{ChainHash, Generation, Head, LogId, Seq, Timestamp};
use crate::storage::{StorageError, StorageFailure};

const VERSION: u16 = 1;

/// What the index of a segment says about its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentFacts {
    version: u16,
    log_id: LogId,
    generation: Generation,
    first: Seq,
    last: Seq,
    /// The times of the first and the last record.
    since: Timestamp,
    until: Timestamp,
    /// The chain hashes in front of the first record and of the last record.
    before: [u8; 32],
    after: [u8; 32],
    /// The sum of the envelopes' lengths.
    bytes: u64,
}

/// A segment that the manifest of the history names.
#[derive(Debug)]
pub(crate) struct Segment {
    log_id: LogId,
    entry: SegmentEntry,
    /// The chain hash in front of the first record.
    before: ChainHash,
    path: PathBuf,
    /// The index, once it was read and verified.
    blocks: OnceLock<Arc<[BlockEntry]>>,
}

/// How a scan ended.
#[derive(Debug)]
pub(crate) enum ScanEnd {
    /// After the last record, or by the visitor.
    Whole,
    /// Before records that cannot be read. Later records may be readable from `resume` on.
    Damaged {
        /// The first unreadable record.
        damage: Damage,
        /// The record after the unreadable ones.
        resume: Seq,
    },
}

impl Segment {
    /// The segment of `entry` in `folder`, whose first record follows the chain hash `before`. Does no I/O.
    pub(crate) fn new(folder: &Path, log_id: LogId, entry: SegmentEntry, before: ChainHash) -> Self {
        let path = folder.join(entry.file_name());
        Self { log_id, entry, before, path, blocks: OnceLock::new() }
    }

    pub(crate) fn entry(&self) -> &SegmentEntry {
        &self.entry
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The log in front of the first record.
    pub(crate) fn before(&self) -> Head {
        let seq = self.entry.first.previous().unwrap_or(Seq::NONE);
        Head { seq, chain: self.before }
    }

    /// The damage of the whole segment, or the failure of the system.
    fn unreadable(&self, first: Seq, resume: Seq, error: BlockFileError) -> Result<ScanEnd, StorageError> {
        let reason = match error {
            BlockFileError::Unavailable(error) => {
                return Err(StorageError::of_file("read a segment", &error));
            }
            BlockFileError::Absent | BlockFileError::Damaged(_) => error.to_string(),
        };
        let kind = DamageKind::Segment { file: self.entry.file_name(), reason };
        Ok(ScanEnd::Damaged { damage: Damage { seq: first, kind }, resume })
    }

    /// Opens the file. Its index is verified at the first time.
    fn open(&self) -> Result<BlockFile, BlockFileError> {
        if let Some(blocks) = self.blocks.get() {
            return BlockFile::reopen(&self.path, Arc::clone(blocks));
        }
        let (file, facts, _) = BlockFile::open::<SegmentFacts>(&self.path, Some(self.entry.hash))?;
        if facts != self.expected() {
            return Err(BlockFileError::Damaged("it is another segment than the manifest names".to_owned()));
        }
        let firsts = || file.blocks().iter().map(|block| block.first);
        let begins = firsts().next() == Some(self.entry.first.get());
        if !begins
            || !firsts().is_sorted_by(|one, next| one < next)
            || firsts().next_back() > Some(self.entry.last.get())
        {
            return Err(BlockFileError::Damaged("its blocks are not of its records".to_owned()));
        }
        // Another reader may have set it meanwhile, to the same.
        let _ = self.blocks.set(Arc::clone(file.blocks()));
        Ok(file)
    }

    fn expected(&self) -> SegmentFacts {
        let SegmentEntry { generation, first, last, since, until, chain, bytes, .. } = self.entry;
        SegmentFacts {
            version: VERSION,
            log_id: self.log_id,
            generation,
            first,
            last,
            since,
            until,
            before: *self.before.as_bytes(),
            after: *chain.as_bytes(),
            bytes,
        }
    }

    /// Calls `visit` with the mark and envelope of each record from `from` on, until it breaks. Reads one block at a
    /// time.
    pub(crate) fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]) -> ControlFlow<()>,
    ) -> Result<(ControlFlow<()>, ScanEnd), StorageError> {
        let (going_on, from) = (ControlFlow::Continue(()), from.max(self.entry.first));
        let file = match self.open() {
            Ok(file) => file,
            Err(error) => {
                let end = self.unreadable(from, self.entry.last.next(), error)?;
                return Ok((going_on, end));
            }
        };
        let blocks = file.blocks();
        let skipped = blocks.partition_point(|block| block.first <= from.get()).saturating_sub(1);
        for (at, block) in blocks.iter().enumerate().skip(skipped) {
            let next = blocks.get(at + 1).map_or(self.entry.last.next(), |next| Seq::new(next.first));
            let mut seq = Seq::new(block.first);
            let content = match file.content(block) {
                Ok(content) => content,
                Err(error) => return Ok((going_on, self.unreadable(seq.max(from), next, error)?)),
            };
            for entry in BlockFile::entries(&content) {
                // The records of a block end before the next block, so their numbers stay within the segment.
                let entry = match entry.and_then(|entry| self.expect_before(seq, next).map(|()| entry)) {
                    Ok(entry) => entry,
                    Err(error) => return Ok((going_on, self.unreadable(seq.max(from), next, error)?)),
                };
                if seq >= from && visit(seq, entry).is_break() {
                    return Ok((ControlFlow::Break(()), ScanEnd::Whole));
                }
                seq = seq.next();
            }
        }
        Ok((going_on, ScanEnd::Whole))
    }

    fn expect_before(&self, seq: Seq, next: Seq) -> Result<(), BlockFileError> {
        if seq < next {
            return Ok(());
        }
        Err(BlockFileError::Damaged(format!(
            "a block of {} has more records than its index says",
            self.entry.file_name()
        )))
    }

    /// The damage that an error of reading this segment is.
    ///
    /// # Errors
    ///
    /// Failures of the system.
    pub(crate) fn damage(&self, error: BlockFileError) -> Result<Damage, StorageError> {
        let (SegmentEntry { first, last, .. }, error) = (self.entry, error);
        match self.unreadable(first, last.next(), error)? {
            ScanEnd::Damaged { damage, .. } => Ok(damage),
            ScanEnd::Whole => Ok(Damage::missing(first)),
        }
    }

    /// Verifies the index and every block against their hashes. Calls `pace` with the bytes of each block that was
    /// read; it may break.
    pub(crate) fn scrub(
        &self,
        pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Damage>, StorageError> {
        // IMPORTANT: the index is read again. The one in memory says nothing about the file.
        let opened = BlockFile::open::<SegmentFacts>(&self.path, Some(self.entry.hash));
        let damage = |first, resume, error| match self.unreadable(first, resume, error)? {
            ScanEnd::Damaged { damage, .. } => Ok(Some(damage)),
            ScanEnd::Whole => Ok(None),
        };
        let file = match opened {
            Ok((file, ..)) => file,
            Err(error) => return damage(self.entry.first, self.entry.last.next(), error),
        };
        for block in file.blocks().iter() {
            if let Err(error) = file.stored(block) {
                return damage(Seq::new(block.first), self.entry.last.next(), error);
            }
            if pace(block.stored_bytes.into()).is_break() {
                break;
            }
        }
        Ok(None)
    }
}

/// Writes a segment.
pub(crate) struct SegmentWriter {
    blocks: BlockWriter<BufWriter<File>>,
    facts: SegmentFacts,
}

impl SegmentWriter {
    /// Begins a segment after `before`.
    pub(crate) fn begin(file: File, log_id: LogId, generation: Generation, before: Head) -> io::Result<Self> {
        let facts = SegmentFacts {
            version: VERSION,
            log_id,
            generation,
            first: before.seq.next(),
            last: before.seq,
            since: Timestamp::default(),
            until: Timestamp::default(),
            before: *before.chain.as_bytes(),
            after: *before.chain.as_bytes(),
            bytes: 0,
        };
        Ok(Self { blocks: BlockWriter::begin(BufWriter::with_capacity(1 << 20, file))?, facts })
    }

    /// Adds the next record, whose place in the chain was verified.
    pub(crate) fn push(&mut self, head: Head, at: Timestamp, mark: Mark, stored: &[u8]) -> io::Result<()> {
        debug_assert_eq!(head.seq, self.facts.last.next(), "records are consecutive");
        self.blocks.push(head.seq.get(), at, &[&[mark as u8], stored])?;
        self.reached(head, at, at, stored.len() as u64);
        Ok(())
    }

    /// Adds all blocks of the next segment as they are.
    ///
    /// # Errors
    ///
    /// Damage of that segment.
    pub(crate) fn push_segment(
        &mut self,
        segment: &Segment,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), BlockFileError> {
        let file = segment.open()?;
        for block in file.blocks().iter() {
            if stop() {
                return Err(BlockFileError::Unavailable(io::ErrorKind::Interrupted.into()));
            }
            self.blocks.push_block(block, &file.stored(block)?)?;
        }
        let SegmentEntry { last, since, until, chain, bytes, .. } = *segment.entry();
        self.reached(Head { seq: last, chain }, since, until, bytes);
        Ok(())
    }

    fn reached(&mut self, head: Head, since: Timestamp, until: Timestamp, bytes: u64) {
        if self.facts.bytes == 0 {
            self.facts.since = since;
        }
        self.facts.until = until;
        self.facts.last = head.seq;
        self.facts.after = *head.chain.as_bytes();
        self.facts.bytes += bytes;
    }

    /// Writes the rest and makes the file durable. Returns its entry in the manifest.
    pub(crate) fn finish(self) -> io::Result<SegmentEntry> {
        let Self { blocks, facts } = self;
        let (out, Finished { hash, file_bytes }) = blocks.finish(&facts)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let SegmentFacts { generation, first, last, since, until, after, bytes, .. } = facts;
        let chain = ChainHash::from_bytes(after);
        Ok(SegmentEntry { generation, first, last, since, until, chain, bytes, file_bytes, hash })
    }
}

impl From<BlockFileError> for StorageError {
    fn from(error: BlockFileError) -> Self {
        let doing = "read a segment";
        match error {
            BlockFileError::Unavailable(error) => Self::of_file(doing, &error),
            BlockFileError::Absent | BlockFileError::Damaged(_) => {
                Self { doing, reason: error.to_string(), kind: StorageFailure::Corrupt }
            }
        }
    }
}
