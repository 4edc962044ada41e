//! Writing a file of blocks.

use std::io::{self, Write};

use serde::Serialize;

use super::{BLOCK_BYTES, BlockCodec, BlockEntry, END, FOOTER_BYTES, FileHash, Index, MAGIC, transposed};
use crate::position::Timestamp;

/// The fastest level of Zstandard that gains something on text. Numbers of vectors gain nothing from higher ones.
const LEVEL: i32 = 1;
/// A block that is not smaller by this share of its content is stored as it is.
const GAIN_MIN: usize = 32;
/// After how many blocks all forms are tried again.
const BLOCKS_PER_CHOICE: u32 = 15;

/// Writes entries with consecutive numbers into blocks.
pub(crate) struct BlockWriter<W> {
    out: W,
    offset: u64,
    blocks: Vec<BlockEntry>,
    /// The entries of the block that is not written yet, and its first number and time.
    content: Vec<u8>,
    begun: Option<(u64, Timestamp)>,
    compressor: zstd::bulk::Compressor<'static>,
    /// The form that was the smallest one, and for how many more blocks it is taken without trying the other.
    chosen: (BlockCodec, u32),
}

/// A finished file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) hash: FileHash,
    pub(crate) file_bytes: u64,
}

impl<W: Write> BlockWriter<W> {
    pub(crate) fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        Ok(Self {
            out,
            offset: MAGIC.len() as u64,
            blocks: Vec::new(),
            content: Vec::new(),
            begun: None,
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            chosen: (BlockCodec::Plain, 0),
        })
    }

    /// Adds the entry with this number, which consists of the `pieces`.
    pub(crate) fn push(&mut self, number: u64, at: Timestamp, pieces: &[&[u8]]) -> io::Result<()> {
        self.begun.get_or_insert((number, at));
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.content.extend_from_slice(&length.to_le_bytes());
        for piece in pieces {
            self.content.extend_from_slice(piece);
        }
        if self.content.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    /// Adds a block of another file as it is stored there. Its entries follow those that were added before.
    pub(crate) fn push_block(&mut self, entry: &BlockEntry, stored: &[u8]) -> io::Result<()> {
        self.end_block()?;
        self.out.write_all(stored)?;
        self.blocks.push(BlockEntry { offset: self.offset, ..entry.clone() });
        self.offset += stored.len() as u64;
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let Some((first, since)) = self.begun.take() else { return Ok(()) };
        let content = std::mem::take(&mut self.content);
        let (codec, stored) = self.smallest(&content)?;
        let stored = stored.as_deref().unwrap_or(&content);
        self.out.write_all(stored)?;
        self.blocks.push(BlockEntry {
            offset: self.offset,
            stored_bytes: u32::try_from(stored.len()).map_err(io::Error::other)?,
            content_bytes: u32::try_from(content.len()).map_err(io::Error::other)?,
            codec,
            first,
            since,
            hash: *blake3::hash(stored).as_bytes(),
        });
        self.offset += stored.len() as u64;
        self.content = content;
        self.content.clear();
        Ok(())
    }

    /// A small form of a block; `None` for the content as it is. All forms are tried now and then, as adjacent blocks
    /// have similar content.
    fn smallest(&mut self, content: &[u8]) -> io::Result<(BlockCodec, Option<Vec<u8>>)> {
        let (codec, left) = self.chosen;
        if left > 0 {
            self.chosen.1 -= 1;
            let compressed = self.compressed(codec, content)?;
            let is_smaller = compressed.as_ref().is_some_and(|compressed| compressed.len() < content.len());
            return Ok(if is_smaller { (codec, compressed) } else { (BlockCodec::Plain, None) });
        }
        let mut smallest = (BlockCodec::Plain, None);
        let mut bytes_max = content.len() - content.len() / GAIN_MIN;
        for codec in [BlockCodec::Zstandard, BlockCodec::TransposedZstandard] {
            let Some(compressed) = self.compressed(codec, content)? else { continue };
            if compressed.len() < bytes_max {
                // The transposed form must gain as much over the other, as it costs another pass to read.
                bytes_max = compressed.len() - compressed.len() / GAIN_MIN;
                smallest = (codec, Some(compressed));
            }
        }
        self.chosen = (smallest.0, BLOCKS_PER_CHOICE);
        Ok(smallest)
    }

    fn compressed(&mut self, codec: BlockCodec, content: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match codec {
            BlockCodec::Plain => Ok(None),
            BlockCodec::Zstandard => self.compressor.compress(content).map(Some),
            BlockCodec::TransposedZstandard => self.compressor.compress(&transposed(content)).map(Some),
        }
    }

    /// Writes the index with these `facts`, and the footer.
    pub(crate) fn finish(mut self, facts: &impl Serialize) -> io::Result<(W, Finished)> {
        self.end_block()?;
        let index = Index { facts, blocks: self.blocks };
        let index = postcard::to_stdvec(&index).map_err(io::Error::other)?;
        let hash = FileHash::of_index(&index);
        self.out.write_all(&index)?;
        self.out.write_all(&u32::try_from(index.len()).map_err(io::Error::other)?.to_le_bytes())?;
        self.out.write_all(&hash.0)?;
        self.out.write_all(&END)?;
        let file_bytes = self.offset + (index.len() + FOOTER_BYTES) as u64;
        Ok((self.out, Finished { hash, file_bytes }))
    }
}
