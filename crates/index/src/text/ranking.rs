//! The best documents by BM25.
//!
//! Documents are gone through in order, all terms abreast, and those are passed over whose terms cannot come to
//! enough (block-max WAND): first by what each term gives at most, then by what it gives at most in the block at
//! hand. With two to four words this looks at a small share of the postings of the common ones.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::block::{Block, Posting};
use super::postings::Postings;

/// How soon another occurrence of a word in a document counts less.
const K1: f64 = 1.2;
/// How much a document's length counts.
const B: f64 = 0.75;
/// Bounds are sums in another order than scores, which are rounded to f32: what a bound rules out is worse than
/// either can make up for.
const SLACK: f64 = 1.0 + 1e-6;

/// What the terms of a question have, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// In the order of the terms.
    postings: Vec<Postings>,
    documents: u64,
    /// In words, of a document on average.
    length_mean: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// How the number of a term's occurrences becomes a score.
#[derive(Clone, Copy)]
struct Weight {
    /// How much the term says.
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

    /// No posting of the block comes to more: a higher count or a shorter document would.
    fn bound(self, block: &Block) -> f64 {
        self.score(block.count_max, block.length_min) * SLACK
    }
}

/// A way through one term's postings.
struct Cursor {
    weight: Weight,
    /// Which term it is.
    term: usize,
    blocks: Vec<Arc<Block>>,
    /// No posting comes to more.
    bound: f64,
    /// Where it is: in which block, and at which of its postings.
    block: usize,
    at: usize,
    /// The block's, read.
    postings: Vec<Posting>,
    /// The document it is at.
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

    /// Goes on to the first document from `document` on; `false` if there is none.
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
        // It is in this block.
        while self.postings[self.at].document < document {
            self.at += 1;
        }
        self.document = self.postings[self.at].document;
        true
    }

    /// The block that would have `document`, which is not behind the cursor.
    fn block_of(&self, document: u32) -> Option<&Block> {
        let mut blocks = self.blocks[self.block..].iter();
        blocks.find(|block| block.last >= document).map(|block| &**block)
    }

    fn score(&self) -> f64 {
        let Posting { document: _, count, length } = self.postings[self.at];
        self.weight.score(count, length)
    }
}

impl Found {
    pub(super) fn new(postings: Vec<Postings>, documents: u64, length: u64) -> Self {
        Self { postings, documents, length_mean: float(length) / float(documents.max(1)) }
    }

    /// How many postings there are to go through, at most.
    pub(crate) fn postings(&self) -> usize {
        self.postings.iter().map(Postings::len).sum()
    }

    /// Offers every document that has a term and may be among the best, with its score, in their order.
    /// `offer` says the least score that could still enter. Only those in `among` are offered, if it is given.
    pub(crate) fn each_best(&self, among: Option<&RoaringBitmap>, mut offer: impl FnMut(u32, f32) -> f32) {
        let cursor = |(term, postings): (usize, &Postings)| {
            Cursor::new(term, postings.clone(), self.documents, self.length_mean)
        };
        let mut cursors: Vec<Cursor> = self.postings.iter().enumerate().map(cursor).collect();
        let mut least = f64::NEG_INFINITY;
        loop {
            // Few, and nearly in order.
            cursors.sort_by_key(|cursor| (cursor.document, cursor.term));
            let mut bound = 0.0;
            let reaches = cursors.iter().position(|cursor| {
                bound += cursor.bound;
                bound >= least
            });
            // No document's terms come to enough any more.
            let Some(pivot) = reaches else { return };
            let document = cursors[pivot].document;
            let next = match among.map(|among| among.range(document..).next()) {
                Some(None) => return,
                Some(Some(next)) if next > document => next,
                _ => {
                    let here = cursors.iter().take_while(|cursor| cursor.document <= document).count();
                    match Self::passed_over(&cursors, here, document, least) {
                        Some(next) => next,
                        None if cursors[0].document < document => document,
                        None => {
                            // In the order of the terms: the same documents come to the same scores.
                            let score = cursors[..here].iter().map(Cursor::score).sum::<f64>();
                            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
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

    /// The first document behind `document` whose terms may come to enough, if those of `document` do not: by
    /// what the blocks at hand of the first `here` cursors, which are not beyond it, give at most.
    fn passed_over(cursors: &[Cursor], here: usize, document: u32, least: f64) -> Option<u32> {
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
