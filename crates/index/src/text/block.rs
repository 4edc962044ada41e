//! Blocks of up to 128 compressed postings of one term.

use crate::memory::{list, shared};

/// The most postings of a block.
pub(super) const BLOCK_POSTINGS_MAX: usize = 128;

/// The occurrence of a term in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Posting {
    /// The document's number.
    pub(super) document: u32,
    /// How many times the term occurs.
    pub(super) count: u32,
    /// The length of the document in words.
    pub(super) length: u32,
}

/// Postings in the order of their documents, with bounds of their scores.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) first: u32,
    pub(super) last: u32,
    /// The highest count of the postings.
    pub(super) count_max: u32,
    /// The length of the shortest document.
    pub(super) length_min: u32,
    len: u8,
    /// For each posting: the difference of its document to the previous one, its count and its length, as LEB128.
    bytes: Vec<u8>,
}

impl Block {
    pub(super) fn new(posting: Posting) -> Self {
        let Posting { document, count, length } = posting;
        let mut block = Self {
            first: document,
            last: document,
            count_max: count,
            length_min: length,
            len: 0,
            bytes: Vec::new(),
        };
        block.push(posting);
        block
    }

    /// A block of these postings; `None` if there are none.
    pub(super) fn of(postings: &[Posting]) -> Option<Self> {
        let (first, rest) = postings.split_first()?;
        let mut block = Self::new(*first);
        for posting in rest {
            block.push(*posting);
        }
        block.bytes.shrink_to_fit();
        Some(block)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == BLOCK_POSTINGS_MAX
    }

    /// Adds a posting after all others. The block must not be full.
    pub(super) fn push(&mut self, posting: Posting) {
        let Posting { document, count, length } = posting;
        for number in [document - self.last, count, length] {
            write(&mut self.bytes, number);
        }
        self.last = document;
        self.count_max = self.count_max.max(count);
        self.length_min = self.length_min.min(length);
        self.len += 1;
        if self.is_full() {
            self.bytes.shrink_to_fit();
        }
    }

    /// All postings, in order.
    pub(super) fn postings(&self) -> impl Iterator<Item = Posting> {
        let (mut rest, mut document) = (self.bytes.as_slice(), self.first);
        (0..self.len).map(move |_| {
            document += read(&mut rest);
            Posting { document, count: read(&mut rest), length: read(&mut rest) }
        })
    }

    /// The heap bytes, including the reference counts of its `Arc`.
    pub(super) fn bytes(&self) -> usize {
        shared(size_of::<Self>()) + list::<u8>(self.bytes.capacity())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits")]
fn write(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[inline]
fn read(bytes: &mut &[u8]) -> u32 {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postings_are_decoded_unchanged_and_small_ones_take_three_bytes() {
        let posting = |document, count, length| Posting { document, count, length };
        let large =
            [posting(0, 1, 1), posting(u32::MAX - 1, u32::MAX, u32::MAX), posting(u32::MAX, 128, 127)];
        assert_eq!(Block::of(&large).unwrap().postings().collect::<Vec<_>>(), large);
        let small: Vec<_> = (5..5 + 128).map(|number| posting(number * 100, 1, 20)).collect();
        let block = Block::of(&small).unwrap();
        assert!(block.is_full());
        assert_eq!(block.bytes.len(), 3 * 128);
        assert_eq!(block.postings().collect::<Vec<_>>(), small);
        assert_eq!((block.first, block.last, block.count_max, block.length_min), (500, 13_200, 1, 20));
        assert!(Block::of(&[]).is_none());
    }
}
