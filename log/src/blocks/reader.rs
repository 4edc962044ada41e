//! Reading a file of blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{BlockCodec, BlockEntry, END, FOOTER_BYTES, FileHash, Index, MAGIC, restored};
use crate::envelope::BODY_BYTES_MAX;
use crate::storage::StorageFailure;

/// The largest content of a block: one entry more than the usual size.
const CONTENT_BYTES_MAX: usize = BODY_BYTES_MAX + (1 << 20);

/// Why a file of blocks cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockFileError {
    /// The system does not give the bytes. This says nothing about them.
    #[error("{0}")]
    Unavailable(io::Error),
    /// The file does not exist.
    #[error("the file does not exist")]
    Absent,
    /// The bytes are not those that were written.
    #[error("{0}")]
    Damaged(String),
}

impl From<io::Error> for BlockFileError {
    fn from(error: io::Error) -> Self {
        match StorageFailure::of(&error) {
            StorageFailure::Broken | StorageFailure::Full => Self::Unavailable(error),
            StorageFailure::Absent => Self::Absent,
            StorageFailure::Corrupt => Self::Damaged(error.to_string()),
        }
    }
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, BlockFileError> {
    Err(BlockFileError::Damaged(reason.into()))
}

/// An open file of blocks whose index is verified.
#[derive(Debug)]
pub(crate) struct BlockFile {
    file: File,
    blocks: Arc<[BlockEntry]>,
}

impl BlockFile {
    /// Opens a file and verifies its index. The file must have this hash, if one is given. Also returns its facts and
    /// its hash.
    pub(crate) fn open<F: DeserializeOwned>(
        path: &Path,
        expected: Option<FileHash>,
    ) -> Result<(Self, F, FileHash), BlockFileError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let smallest = (MAGIC.len() + FOOTER_BYTES) as u64;
        let Some(footer_at) = length.checked_sub(FOOTER_BYTES as u64).filter(|_| length >= smallest) else {
            return damaged(format!("it has {length} bytes"));
        };
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0)?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_at)?;
        let (index_bytes, rest) = footer.split_at(4);
        let (stated, end) = rest.split_at(32);
        if magic != MAGIC || end != END {
            return damaged("it is not a file of blocks");
        }
        let index_bytes = index_bytes.try_into().map(u32::from_le_bytes).unwrap_or_default();
        let Some(index_at) = footer_at.checked_sub(index_bytes.into()).filter(|at| *at >= MAGIC.len() as u64)
        else {
            return damaged("its index does not fit");
        };
        let mut index = vec![0; index_bytes as usize];
        file.read_exact_at(&mut index, index_at)?;
        let hash = FileHash::of_index(&index);
        if hash.0 != *stated || expected.is_some_and(|expected| expected != hash) {
            return damaged("its index does not match its hash");
        }
        let Ok(Index { facts, blocks }) = postcard::from_bytes::<Index<F>>(&index) else {
            return damaged("its index cannot be decoded");
        };
        let mut offset = MAGIC.len() as u64;
        for block in &blocks {
            if block.offset != offset || block.content_bytes as usize > CONTENT_BYTES_MAX {
                return damaged("its blocks do not fit");
            }
            offset += u64::from(block.stored_bytes);
        }
        if offset != index_at {
            return damaged("its blocks do not fit");
        }
        Ok((Self { file, blocks: blocks.into() }, facts, hash))
    }

    /// Opens a file whose index was verified before.
    pub(crate) fn reopen(path: &Path, blocks: Arc<[BlockEntry]>) -> Result<Self, BlockFileError> {
        Ok(Self { file: File::open(path)?, blocks })
    }

    /// The blocks, in order.
    pub(crate) fn blocks(&self) -> &Arc<[BlockEntry]> {
        &self.blocks
    }

    /// The verified bytes of a block, as they are stored.
    pub(crate) fn stored(&self, block: &BlockEntry) -> Result<Vec<u8>, BlockFileError> {
        let mut stored = vec![0; block.stored_bytes as usize];
        self.file.read_exact_at(&mut stored, block.offset)?;
        if blake3::hash(&stored) != block.hash {
            return damaged(format!("the block at offset {} does not match its hash", block.offset));
        }
        Ok(stored)
    }

    /// The verified content of a block.
    pub(crate) fn content(&self, block: &BlockEntry) -> Result<Vec<u8>, BlockFileError> {
        let stored = self.stored(block)?;
        let decompressed = |stored: &[u8]| {
            zstd::bulk::decompress(stored, block.content_bytes as usize)
                .map_err(|error| BlockFileError::Damaged(error.to_string()))
        };
        let content = match block.codec {
            BlockCodec::Plain => stored,
            BlockCodec::Zstandard => decompressed(&stored)?,
            BlockCodec::TransposedZstandard => restored(&decompressed(&stored)?),
        };
        if content.len() != block.content_bytes as usize {
            return damaged(format!("the block at offset {} has another length", block.offset));
        }
        Ok(content)
    }

    /// The entries of a block's content, in order.
    pub(crate) fn entries(content: &[u8]) -> impl Iterator<Item = Result<&[u8], BlockFileError>> {
        let mut rest = content;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let entry = rest.split_first_chunk().and_then(|(length, following)| {
                following.split_at_checked(u32::from_le_bytes(*length) as usize)
            });
            let Some((entry, following)) = entry else {
                rest = &[];
                return Some(damaged("an entry does not fit its block"));
            };
            rest = following;
            Some(Ok(entry))
        })
    }
}
