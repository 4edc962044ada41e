//! Bases: the state that a log begins with after older records were dropped.
//!
//! A base is a [file of blocks](crate::blocks). Each entry is one [`BaseItem`], encoded with postcard. Unlike a
//! checkpoint, a base is a part of the log: its format has golden bytes and is read by every later version.

use std::fs::File;
use std::io::{self, BufWriter};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::billing::JournalPosition;
use crate::blocks::{BlockEntry, BlockFile, BlockFileError, BlockWriter, FileHash, Finished};
use crate::damage::{Damage, DamageKind};
use crate::document::Document;
use crate::error::Error;
use crate::event::{CollectionId, CollectionName, VectorParameters};
use crate::hexadecimal;
use crate::language::TextParameters;
use crate::path::PayloadPath;
use crate::position::{ChainHash, Generation, Head, LogId, Seq, Timestamp};
use crate::storage::StorageError;

const VERSION: u16 = 1;

/// A part of a base. Variants and fields are only added at the end.
///
/// The order is: the state, then each collection followed by its points, then the answers, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BaseItem {
    /// The counters and the state of the bill. Always the first item.
    State(BaseState),
    /// A collection. Its points follow.
    Collection(BaseCollection),
    /// A point of the collection in front of it.
    Point(Document),
    /// An answer to an idempotency key.
    Answer(BaseAnswer),
}

impl BaseItem {
    /// The stored bytes of the item.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("an item has no map or sequence of unknown length")
    }

    /// The item of these stored bytes; `None` if they are not exactly one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::take_from_bytes(bytes).ok().and_then(|(item, rest)| rest.is_empty().then_some(item))
    }
}

/// The counters of a tenant, and the state of its bill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseState {
    /// The last record that changed data.
    pub data_seq: Seq,
    /// How many vectors were ever written.
    pub vectors_upserted: u64,
    /// How many vectors were ever deleted.
    pub vectors_deleted: u64,
    /// The open window of the bill; `None` before the first record.
    pub window: Option<BaseWindow>,
    /// The latest close, [`Seq::NONE`] before the first.
    pub last_close: Seq,
    /// The latest correction, [`Seq::NONE`] before the first.
    pub last_correction: Seq,
    /// All closes and corrections up to this record are delivered.
    pub acknowledged: Seq,
    /// The position in the node's request journal up to which requests are recorded.
    pub journal: Option<JournalPosition>,
}

/// The open window of a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseWindow {
    /// When it began.
    pub since: Timestamp,
    /// Its first record.
    pub first_seq: Seq,
    /// How many vectors were written.
    pub upserted: u128,
    /// How many vectors were deleted.
    pub deleted: u128,
    /// How many searches were made.
    pub searches: u128,
    /// How many requests were made.
    pub requests: u128,
    /// Stored bytes times the microseconds that they were stored.
    pub byte_micros: u128,
    /// The moment up to which storage is counted.
    pub counted_through: Timestamp,
}

/// A collection without its points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseCollection {
    /// Its id.
    pub id: CollectionId,
    /// Its name.
    pub name: CollectionName,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last record that changed it.
    pub last_change: Seq,
    /// The parameters of its vectors; `None` without vectors.
    pub vectors: Option<VectorParameters>,
    /// The parameters of its texts; `None` without texts.
    pub texts: Option<TextParameters>,
    /// The declared payload paths.
    pub declared: Vec<PayloadPath>,
}

/// An answer to an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseAnswer {
    /// The key.
    pub key: String,
    /// The record that the request appended.
    pub seq: Seq,
    /// When it was appended.
    pub at: Timestamp,
    /// The hash of the request.
    pub body_hash: [u8; 32],
    /// The outcome.
    pub outcome: BaseOutcome,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BaseOutcome {
    /// A collection was created.
    CollectionCreated,
    /// A collection was deleted with this many vectors.
    CollectionDeleted(u64),
    /// This many vectors were written.
    Upserted(u64),
    /// This many vectors were deleted.
    Deleted(u64),
    /// A payload was changed.
    PayloadChanged,
    /// A path was declared, for the first time or not.
    IndexDeclared(bool),
    /// The declaration of a path was removed.
    IndexDropped,
}

/// A base in the manifest of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BaseEntry {
    pub(crate) generation: Generation,
    /// The last record that the base contains.
    pub(crate) through: Seq,
    /// Its time, in microseconds since 1970-01-01 UTC.
    pub(crate) at: Timestamp,
    /// Its chain hash.
    #[serde(with = "hexadecimal")]
    pub(crate) chain: ChainHash,
    pub(crate) items: u64,
    /// The bytes of all items, before they were compressed.
    pub(crate) bytes: u64,
    pub(crate) file_bytes: u64,
    #[serde(with = "hexadecimal")]
    pub(crate) hash: FileHash,
}

impl BaseEntry {
    pub(crate) fn head(&self) -> Head {
        Head { seq: self.through, chain: self.chain }
    }

    /// The name of the file in the folder of segments.
    pub(crate) fn file_name(&self) -> String {
        format!("{:020}.{}.base", self.through.get(), self.generation)
    }
}

/// What the index of a base says about its items.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BaseFacts {
    version: u16,
    log_id: LogId,
    generation: Generation,
    through: Seq,
    at: Timestamp,
    chain: [u8; 32],
    items: u64,
    bytes: u64,
}

/// Writes a base.
pub(crate) struct BaseWriter {
    blocks: BlockWriter<BufWriter<File>>,
    facts: BaseFacts,
}

impl BaseWriter {
    /// Begins a base of the state after the record at `head`, which was made at `at`.
    pub(crate) fn begin(
        file: File,
        log_id: LogId,
        generation: Generation,
        head: Head,
        at: Timestamp,
    ) -> io::Result<Self> {
        let facts = BaseFacts {
            version: VERSION,
            log_id,
            generation,
            through: head.seq,
            at,
            chain: *head.chain.as_bytes(),
            items: 0,
            bytes: 0,
        };
        Ok(Self { blocks: BlockWriter::begin(BufWriter::with_capacity(1 << 20, file))?, facts })
    }

    pub(crate) fn push(&mut self, item: &BaseItem) -> io::Result<()> {
        let item = item.to_bytes();
        self.blocks.push(self.facts.items, self.facts.at, &[&item])?;
        self.facts.items += 1;
        self.facts.bytes += item.len() as u64;
        Ok(())
    }

    /// Writes the rest and makes the file durable. Returns its entry in the manifest.
    pub(crate) fn finish(self) -> io::Result<BaseEntry> {
        let Self { blocks, facts } = self;
        let (out, Finished { hash, file_bytes }) = blocks.finish(&facts)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let BaseFacts { generation, through, at, chain, items, bytes, .. } = facts;
        let chain = ChainHash::from_bytes(chain);
        Ok(BaseEntry { generation, through, at, chain, items, bytes, file_bytes, hash })
    }
}

/// The base of a log, to be folded before the records after it.
#[derive(Clone, Debug)]
pub struct Base {
    log_id: LogId,
    entry: BaseEntry,
    path: PathBuf,
}

impl Base {
    pub(crate) fn new(folder: &Path, log_id: LogId, entry: BaseEntry) -> Self {
        Self { log_id, entry, path: folder.join(entry.file_name()) }
    }

    /// The base in the file at `path`.
    pub(crate) fn of_file(path: PathBuf, log_id: LogId, entry: BaseEntry) -> Self {
        Self { log_id, entry, path }
    }

    /// Whether its file has the index of the entry. Reads no block.
    pub(crate) fn is_whole(&self) -> bool {
        self.open().is_ok()
    }

    /// The log.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The last record that the base contains.
    pub fn head(&self) -> Head {
        self.entry.head()
    }

    /// The time of that record.
    pub fn at(&self) -> Timestamp {
        self.entry.at
    }

    /// How many items there are.
    pub fn items(&self) -> u64 {
        self.entry.items
    }

    /// The stored bytes of the base, before they were compressed.
    pub fn bytes(&self) -> u64 {
        self.entry.bytes
    }

    fn failed(&self, error: BlockFileError) -> Error {
        match error {
            BlockFileError::Unavailable(error) => StorageError::of_file("read the base", &error).into(),
            BlockFileError::Absent | BlockFileError::Damaged(_) => {
                let kind = DamageKind::Segment { file: self.entry.file_name(), reason: error.to_string() };
                Damage { seq: self.entry.through, kind }.into()
            }
        }
    }

    fn open(&self) -> Result<BlockFile, BlockFileError> {
        let (file, facts, _) = BlockFile::open::<BaseFacts>(&self.path, Some(self.entry.hash))?;
        let BaseEntry { generation, through, at, chain, items, bytes, .. } = self.entry;
        let (log_id, chain) = (self.log_id, *chain.as_bytes());
        let expected = BaseFacts { version: VERSION, log_id, generation, through, at, chain, items, bytes };
        if facts != expected {
            return Err(BlockFileError::Damaged("it is another base than the manifest names".to_owned()));
        }
        Ok(file)
    }

    /// Verifies the index and every block against their hashes. Calls `pace` with the bytes of each block that was
    /// read; it may break.
    pub(crate) fn scrub(
        &self,
        pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Damage>, Error> {
        let damage = |error| {
            let error = self.failed(error);
            if let Error::Damaged(damage) = error { Ok(Some(damage)) } else { Err(error) }
        };
        let file = match self.open() {
            Ok(file) => file,
            Err(error) => return damage(error),
        };
        for block in file.blocks().iter() {
            if let Err(error) = file.stored(block) {
                return damage(error);
            }
            if pace(block.stored_bytes.into()).is_break() {
                break;
            }
        }
        Ok(None)
    }

    /// The items of the block with this number, from zero; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the base is not exactly as it was written.
    pub fn block(&self, number: usize) -> Result<Option<Vec<BaseItem>>, Error> {
        let file = self.open().map_err(|error| self.failed(error))?;
        let Some(block) = file.blocks().get(number) else { return Ok(None) };
        self.items_of(&file, block).map(Some)
    }

    fn items_of(&self, file: &BlockFile, block: &BlockEntry) -> Result<Vec<BaseItem>, Error> {
        let failed = |error| self.failed(error);
        let content = file.content(block).map_err(failed)?;
        let items = BlockFile::entries(&content).map(|entry| {
            let undecodable = || BlockFileError::Damaged("an item cannot be decoded".to_owned());
            BaseItem::from_bytes(entry?).ok_or_else(undecodable)
        });
        items.collect::<Result<_, _>>().map_err(failed)
    }

    /// Calls `visit` with each item, in order. Reads one block at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the base is not exactly as it was written, and errors of `visit`.
    pub fn each<E: From<Error>>(&self, mut visit: impl FnMut(BaseItem) -> Result<(), E>) -> Result<(), E> {
        let file = self.open().map_err(|error| self.failed(error))?;
        for block in file.blocks().iter() {
            self.items_of(&file, block)?.into_iter().try_for_each(&mut visit)?;
        }
        Ok(())
    }
}
