//! The best documents by BM25.
//!
//! All terms are read side by side, in the order of documents, and documents whose terms cannot reach the least score
//! are skipped (block-max WAND): first by the highest score of each term, then by its highest score within the
//! current block. With two to four words, this reads a small share of the postings of common ones.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::block::{Block, Posting};
use super::postings::Postings;

/// How fast further occurrences of a word in a document lose weight.
const K1: f64 = 1.2;
/// How much the length of a document counts.
const B: f64 = 0.75;
/// Bounds are summed in another order than scores, and scores are rounded to `f32`. This factor exceeds both errors.
const SLACK: f64 = 1.0 + 1e-6;

/// The postings of a query's terms, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct QueryPostings {
    /// In the order of the terms.
    postings: Vec<Postings>,
    documents: u64,
    /// The mean length of a document, in words.
    length_mean: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Computes the score of a term in a document.
#[derive(Clone, Copy)]
struct Weight {
    /// The inverse document frequency of the term.
    idf: f64,
    length_mean: f64,
}

impl Weight {
    #[inline]
    fn score(self, count: u32, length: u32) -> f64 {
        let count = f64::from(count);
        let length = f64::from(length) / self.length_mean;
        self.idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length))
    }

    /// An upper bound of the scores in the block: it has no higher count and no shorter document.
    fn bound(self, block: &Block) -> f64 {
        self.score(block.count_max, block.length_min) * SLACK
    }
}

/// A position in the postings of one term.
struct Cursor {
    weight: Weight,
    /// The position of the term in the query.
    term: usize,
    blocks: Vec<Arc<Block>>,
    /// The highest score of any posting.
    bound: f64,
    /// The position: a block, and a posting in it.
    block: usize,
    at: usize,
    /// The decoded postings of the block.
    postings: Vec<Posting>,
    /// The document at the position.
    document: u32,
}

impl Cursor {
    fn new(term: usize, postings: Postings, documents: u64, length_mean: f64) -> Self {
        let having = float(postings.len() as u64);
        let idf = (1.0 + (float(documents) - having + 0.5) / (having + 0.5)).ln();
        let weight = Weight { idf, length_mean };
        let blocks = postings.blocks();
        let bound = blocks.iter().map(|block| weight.bound(block)).fold(0.0, f64::max);
        let document = blocks[0].first;
        let mut cursor =
            Self { weight, term, blocks, bound, block: 0, at: 0, postings: Vec::new(), document };
        cursor.read();
        cursor
    }

    fn read(&mut self) {
        self.postings.clear();
        self.postings.extend(self.blocks[self.block].postings());
        self.at = 0;
    }

    /// Advances to the first document at or after `document`. Returns `false` if there is none.
    fn seek(&mut self, document: u32) -> bool {
        if self.document >= document {
            return true;
        }
        if self.blocks[self.block].last < document {
            self.block += self.blocks[self.block..].partition_point(|block| block.last < document);
            if self.block == self.blocks.len() {
                return false;
            }
            self.read();
        }
        // The document is in this block.
        while self.postings[self.at].document < document {
            self.at += 1;
        }
        self.document = self.postings[self.at].document;
        true
    }

    /// The block that would contain `document`, which is not before the cursor.
    fn block_of(&self, document: u32) -> Option<&Block> {
        let mut blocks = self.blocks[self.block..].iter();
        blocks.find(|block| block.last >= document).map(|block| &**block)
    }

    fn score(&self) -> f64 {
        let Posting { document: _, count, length } = self.postings[self.at];
        self.weight.score(count, length)
    }
}

impl QueryPostings {
    pub(super) fn new(postings: Vec<Postings>, documents: u64, length: u64) -> Self {
        Self { postings, documents, length_mean: float(length) / float(documents.max(1)) }
    }

    /// How many postings a search reads at most.
    pub(crate) fn postings(&self) -> usize {
        self.postings.iter().map(Postings::len).sum()
    }

    /// Calls `offer` with every document that has a term and may be among the best, in order, with its score. `offer`
    /// returns the least score that can still enter. If `among` is given, only documents in it are offered.
    pub(crate) fn each_best(&self, among: Option<&RoaringBitmap>, mut offer: impl FnMut(u32, f32) -> f32) {
        let cursor = |(term, postings): (usize, &Postings)| {
            Cursor::new(term, postings.clone(), self.documents, self.length_mean)
        };
        let mut cursors: Vec<Cursor> = self.postings.iter().enumerate().map(cursor).collect();
        let mut least = f64::NEG_INFINITY;
        loop {
            // Few, and nearly sorted.
            cursors.sort_by_key(|cursor| (cursor.document, cursor.term));
            let mut bound = 0.0;
            let reaches = cursors.iter().position(|cursor| {
                bound += cursor.bound;
                bound >= least
            });
            // No document can reach the least score any more.
            let Some(pivot) = reaches else { return };
            let document = cursors[pivot].document;
            let next = match among.map(|among| among.range(document..).next()) {
                Some(None) => return,
                Some(Some(next)) if next > document => next,
                _ => {
                    let here = cursors.iter().take_while(|cursor| cursor.document <= document).count();
                    match Self::skip_to(&cursors, here, document, least) {
                        Some(next) => next,
                        None if cursors[0].document < document => document,
                        None => {
                            // In the order of the terms, so that the same documents always get the same scores.
                            let score = cursors[..here].iter().map(Cursor::score).sum::<f64>();
                            #[expect(clippy::cast_possible_truncation, reason = "rounding is intended")]
                            let score = score as f32;
                            least = f64::from(offer(document, score));
                            match document.checked_add(1) {
                                Some(next) => next,
                                None => return,
                            }
                        }
                    }
                }
            };
            cursors.retain_mut(|cursor| cursor.seek(next));
        }
    }

    /// If `document` cannot reach the least score, by the current blocks of the first `here` cursors, which are not
    /// after it: the next document that may.
    fn skip_to(cursors: &[Cursor], here: usize, document: u32, least: f64) -> Option<u32> {
        let (mut bound, mut next) = (0.0, cursors.get(here).map_or(u32::MAX, |cursor| cursor.document));
        for cursor in &cursors[..here] {
            if let Some(block) = cursor.block_of(document) {
                bound += cursor.weight.bound(block);
                next = next.min(block.last.saturating_add(1));
            }
        }
        (bound < least && next > document).then_some(next)
    }
}
