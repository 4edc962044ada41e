//! Full-text search: an inverted index, ranked by BM25.
//!
//! - `words`: from a text to its terms, by `fold` (letters), `parts` (of a word) and `language` (stems, stop words).
//! - `query`: from a query text to its terms.
//! - `block`, `postings`: the documents of a term, its counts, and the documents' lengths.
//! - `ranking`: the best documents by BM25, in one pass over the postings of the query's terms.
//!
//! **Exact.** A search finds the best of all documents: a document that a bound rules out could not be among them.
//! Statistics cover exactly the current documents: a document that is deleted or replaced is removed from the
//! postings of its terms at once, by its stored text.
//!
//! **Shared.** A query clones the postings of its terms in a moment, and is answered without a lock. A writer copies
//! only the blocks that it changes while a query holds them.
//!
//! **Compact.** A posting takes three bytes while its numbers are small, and at most fifteen; a block of up to 128
//! takes 48 more. A term of a single document takes no block.
//!
//! All of it is derived from the texts: no digest covers it, and recovery rebuilds it in its one pass over the
//! records. So nothing on disk depends on the analysis of words: a version with a better one finds more in existing
//! collections. A record names only the language of a collection's texts, if it has one.
//!
//! **Why not an existing analyzer?** The analysis of words is our own, over the tables of Unicode
//! (`unicode-segmentation`, `unicode-normalization`) and Snowball's stemmers. `charabia` and the tokenizers of
//! `tantivy` give each word one form: they find `report.pdf` either whole or in parts, split `don't` into `don` and
//! `t`, which `can't` has too, and guess the language of a text, which fails on short queries. Dictionaries for
//! Chinese and Japanese would take some 40 MB, and find `北京` in `北京市` only where they split there.

mod block;
mod fold;
mod language;
mod parts;
mod postings;
mod query;
mod ranking;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

use block::Posting;
use language::Analysis;
use postings::Postings;
pub use query::{InvalidTextQuery, TextQuery};
pub(crate) use ranking::QueryPostings;
use vectorizer_log::Language;
use words::{Purpose, Words};

use crate::memory::{allocated, table};

/// The full-text index of one collection. Documents are numbered, and numbers only grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextIndex {
    terms: HashMap<Box<str>, Postings>,
    analysis: Analysis,
    /// About the heap bytes of terms and postings, without the table.
    bytes: usize,
    documents: u64,
    /// The length of all documents together, in words.
    length: u64,
}

impl TextIndex {
    /// An empty index for texts in this language.
    pub(crate) fn new(language: Option<Language>) -> Self {
        Self { analysis: Analysis(language), ..Self::default() }
    }

    /// The language of the texts.
    pub(crate) fn language(&self) -> Option<Language> {
        self.analysis.0
    }

    /// Adds a document, whose number is higher than all before.
    pub(crate) fn add(&mut self, document: u32, text: &str) {
        let mut words = Words::of(text, self.analysis, Purpose::Document);
        let length = words.len();
        for (term, count) in words.counted() {
            let posting = Posting { document, count, length };
            if let Some(postings) = self.terms.get_mut(term) {
                let before = postings.bytes();
                postings.push(posting);
                self.bytes = self.bytes + postings.bytes() - before;
            } else {
                self.bytes += allocated(term.len());
                self.terms.insert(term.into(), Postings::One(posting));
            }
        }
        self.documents += 1;
        self.length += u64::from(length);
    }

    /// Removes a document that was added with this text.
    pub(crate) fn remove(&mut self, document: u32, text: &str) {
        let mut words = Words::of(text, self.analysis, Purpose::Document);
        let length = words.len();
        for (term, _) in words.counted() {
            let Some(postings) = self.terms.get_mut(term) else { continue };
            let before = postings.bytes();
            if postings.remove(document) {
                self.bytes -= allocated(term.len()) + before;
                self.terms.remove(term);
            } else {
                self.bytes = self.bytes + postings.bytes() - before;
            }
        }
        self.documents -= 1;
        self.length -= u64::from(length);
        // Free the table of a vocabulary that has mostly gone.
        if self.terms.len() < self.terms.capacity() / 8 {
            self.terms.shrink_to(2 * self.terms.len());
        }
    }

    /// The same documents under new numbers, in the same order, without those that have none.
    pub(crate) fn renumbered(&self, renumber: impl Fn(u32) -> Option<u32>) -> Self {
        let renumbered = |postings: &Postings| postings.renumbered(&renumber);
        let terms =
            self.terms.iter().filter_map(|(term, postings)| Some((term.clone(), renumbered(postings)?)));
        let terms: HashMap<Box<str>, Postings> = terms.collect();
        let bytes = terms.iter().map(|(term, postings)| allocated(term.len()) + postings.bytes()).sum();
        Self { terms, bytes, ..*self }
    }

    /// The postings of the query's terms, as of now: of at most [`TextQuery::TERMS_SEARCHED_MAX`] terms, the rarest.
    pub(crate) fn look_up(&self, query: &TextQuery) -> QueryPostings {
        let other = query.by(self.analysis);
        let query = other.as_ref().unwrap_or(query);
        let mut found: Vec<&Postings> = query.terms().filter_map(|term| self.terms.get(term)).collect();
        if found.len() > TextQuery::TERMS_SEARCHED_MAX {
            // Their order stays, as scores are summed up in it. Of equally rare terms, the first are kept.
            let mut rarest: Vec<usize> = (0..found.len()).collect();
            rarest.sort_by_key(|place| found[*place].len());
            rarest.truncate(TextQuery::TERMS_SEARCHED_MAX);
            rarest.sort_unstable();
            found = rarest.into_iter().map(|place| found[place]).collect();
        }
        QueryPostings::new(found.into_iter().cloned().collect(), self.documents, self.length)
    }

    /// The heap bytes, estimated in constant time.
    pub(crate) fn bytes(&self) -> usize {
        table::<Box<str>, Postings>(self.terms.capacity()) + self.bytes
    }

    /// How large the index is.
    pub(crate) fn size(&self) -> TextIndexSize {
        let postings = self.terms.values().map(Postings::len).sum();
        TextIndexSize { terms: self.terms.len(), postings, bytes: self.bytes() }
    }
}

/// How large a full-text index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextIndexSize {
    /// How many distinct terms there are.
    pub terms: usize,
    /// How many terms all documents have together.
    pub postings: usize,
    /// About how many bytes of memory the index takes.
    pub bytes: usize,
}
