//! The documents of a term.

use std::sync::Arc;

use super::block::{BLOCK_POSTINGS_MAX, Block, Posting};
use crate::memory::{list, shared};

/// The postings of one term: at least one. A clone shares them, and does not change with them.
#[derive(Clone, Debug)]
pub(super) enum Postings {
    /// One document, as for most terms.
    One(Posting),
    /// Up to one block.
    Few(Arc<Block>),
    /// Several blocks.
    Many(Arc<Blocks>),
}

#[derive(Clone, Debug)]
pub(super) struct Blocks {
    /// No block is empty.
    all: Vec<Arc<Block>>,
    len: usize,
    /// About the heap bytes of the blocks.
    bytes: usize,
}

impl Postings {
    /// How many documents have the term.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(block) => block.len(),
            Self::Many(blocks) => blocks.len,
        }
    }

    /// Adds a posting whose document comes after all others.
    pub(super) fn push(&mut self, posting: Posting) {
        match self {
            Self::One(first) => {
                let mut block = Block::new(*first);
                block.push(posting);
                *self = Self::Few(Arc::new(block));
            }
            Self::Few(block) if block.is_full() => {
                let all = vec![Arc::clone(block), Arc::new(Block::new(posting))];
                let bytes = all.iter().map(|block| block.bytes()).sum();
                *self = Self::Many(Arc::new(Blocks { all, len: BLOCK_POSTINGS_MAX + 1, bytes }));
            }
            Self::Few(block) => Arc::make_mut(block).push(posting),
            Self::Many(blocks) => {
                let Blocks { all, len, bytes } = Arc::make_mut(blocks);
                *len += 1;
                if let Some(block) = all.last_mut().filter(|block| !block.is_full()) {
                    *bytes -= block.bytes();
                    Arc::make_mut(block).push(posting);
                    *bytes += block.bytes();
                } else {
                    let block = Block::new(posting);
                    *bytes += block.bytes();
                    all.push(Arc::new(block));
                }
            }
        }
    }

    /// Removes a document, if it is there. Returns whether no posting is left.
    pub(super) fn remove(&mut self, document: u32) -> bool {
        match self {
            Self::One(posting) => posting.document == document,
            Self::Few(block) => match without(block, document) {
                Some(rest) if rest.len() == 1 => {
                    *self = Self::One(rest[0]);
                    false
                }
                Some(rest) => Block::of(&rest).is_none_or(|rest| {
                    *block = Arc::new(rest);
                    false
                }),
                None => false,
            },
            Self::Many(blocks) => {
                let Blocks { all, len, bytes } = Arc::make_mut(blocks);
                let at = all.partition_point(|block| block.last < document);
                let Some(rest) = all.get(at).and_then(|block| without(block, document)) else { return false };
                *len -= 1;
                *bytes -= all[at].bytes();
                match Block::of(&rest) {
                    Some(mut block) => {
                        // So that adjacent blocks are half full on average.
                        if let Some(next) = all.get(at + 1)
                            && block.len() + next.len() <= BLOCK_POSTINGS_MAX / 2
                        {
                            *bytes -= next.bytes();
                            next.postings().for_each(|posting| block.push(posting));
                            all.remove(at + 1);
                        }
                        *bytes += block.bytes();
                        all[at] = Arc::new(block);
                    }
                    None => drop(all.remove(at)),
                }
                if let [only] = &**all {
                    *self = Self::Few(Arc::clone(only));
                }
                false
            }
        }
    }

    /// The same postings with new numbers, in the same order, without those that have none; `None` if none is left.
    pub(super) fn renumbered(&self, renumber: &impl Fn(u32) -> Option<u32>) -> Option<Self> {
        let mut postings: Option<Self> = None;
        let mut push = |posting: Posting| {
            let Some(document) = renumber(posting.document) else { return };
            let posting = Posting { document, ..posting };
            match &mut postings {
                Some(postings) => postings.push(posting),
                None => postings = Some(Self::One(posting)),
            }
        };
        match self {
            Self::One(posting) => push(*posting),
            Self::Few(block) => block.postings().for_each(push),
            Self::Many(blocks) => blocks.all.iter().flat_map(|block| block.postings()).for_each(push),
        }
        postings
    }

    /// All blocks.
    pub(super) fn blocks(self) -> Vec<Arc<Block>> {
        match self {
            Self::One(posting) => vec![Arc::new(Block::new(posting))],
            Self::Few(block) => vec![block],
            Self::Many(blocks) => blocks.all.clone(),
        }
    }

    /// The heap bytes without `Self`, estimated.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Few(block) => block.bytes(),
            Self::Many(blocks) => {
                let table = list::<Arc<Block>>(blocks.all.capacity());
                let itself = shared(size_of::<Blocks>());
                itself + table + blocks.bytes
            }
        }
    }
}

/// The block's postings without the document; `None` if the document is not in it.
fn without(block: &Block, document: u32) -> Option<Vec<Posting>> {
    let mut postings: Vec<Posting> = block.postings().collect();
    let at = postings.binary_search_by_key(&document, |posting| posting.document).ok()?;
    postings.remove(at);
    Some(postings)
}
