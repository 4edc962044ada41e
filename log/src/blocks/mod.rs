//! Files of blocks: immutable files of many small entries, compressed, with a hash for every block.
//!
//! Segments and bases are such files. The format is stated in [the crate's documentation](crate#the-format-on-disk).
//! The hash of a file covers its index, and the index has the hash of each block. So a reader of one block verifies
//! this block without reading the others.

mod reader;
mod writer;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::position::Timestamp;

pub(crate) use self::reader::{BlockFile, BlockFileError};
pub(crate) use self::writer::{BlockWriter, Finished};

const MAGIC: [u8; 8] = *b"VZBLOCK1";
const END: [u8; 8] = *b"VZBLKEND";
/// The footer: the length of the index, the hash and [`END`].
const FOOTER_BYTES: usize = 4 + 32 + END.len();
/// A block ends with the entry that reaches this size. An entry is never split, so a block may be larger.
const BLOCK_BYTES: usize = 256 << 10;

/// How the content of a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BlockCodec {
    /// As it is.
    Plain,
    /// As one frame of Zstandard.
    Zstandard,
    /// As one frame of Zstandard, after the bytes were ordered by their position modulo four. The exponents of f32
    /// numbers then lie side by side.
    TransposedZstandard,
}

/// An entry of a file's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockEntry {
    pub(crate) offset: u64,
    /// The length in the file.
    pub(crate) stored_bytes: u32,
    /// The length of the content.
    pub(crate) content_bytes: u32,
    pub(crate) codec: BlockCodec,
    /// The number of the first entry. Entries have consecutive numbers.
    pub(crate) first: u64,
    /// The time of the first entry.
    pub(crate) since: Timestamp,
    /// The hash of the stored bytes.
    pub(crate) hash: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Index<F> {
    facts: F,
    blocks: Vec<BlockEntry>,
}

/// The hash of a file of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileHash([u8; 32]);

impl FileHash {
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of_index(index: &[u8]) -> Self {
        Self(*blake3::Hasher::new().update(&MAGIC).update(index).finalize().as_bytes())
    }
}

/// Lower-case hexadecimal.
impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FileHash {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes()))
    }
}

/// Orders bytes by their position modulo four.
fn transposed(content: &[u8]) -> Vec<u8> {
    let mut planes = Vec::with_capacity(content.len());
    for plane in 0..4 {
        planes.extend(content.iter().skip(plane).step_by(4));
    }
    planes
}

/// The inverse of [`transposed`].
fn restored(planes: &[u8]) -> Vec<u8> {
    let mut content = vec![0; planes.len()];
    let mut rest = planes;
    for plane in 0..4 {
        let length = planes.len().saturating_sub(plane).div_ceil(4);
        let (bytes, following) = rest.split_at(length);
        for (place, byte) in content.iter_mut().skip(plane).step_by(4).zip(bytes) {
            *place = *byte;
        }
        rest = following;
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposition_is_undone() {
        for length in 0..40_u8 {
            let content: Vec<u8> = (0..length).collect();
            assert_eq!(restored(&transposed(&content)), content, "{length} bytes");
        }
        assert_eq!(transposed(b"0123456789"), b"0481592637");
    }
}
