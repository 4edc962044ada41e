//! Texts that are found by their words: an inverted index, and BM25 over it.
//!
//! - `words`: from a text to its terms, by `fold` (letters), `parts` (of a word) and `language` (stems, stop words).
//! - `query`: from a question to its terms.
//! - `block`, `postings`: which documents have a term, how often, and how long they are.
//! - `ranking`: the best documents by BM25, in one pass over what the question's terms have.
//!
//! **Exact.** A search finds the best of all documents, not of some: what a bound rules out could not have
//! entered. Statistics are those of the documents there are: one that is deleted or replaced is taken out of its
//! terms' postings at once, by its text, which is kept.
//!
//! **Shared.** A question takes hold of its own terms' postings in a moment, and is answered without a lock;
//! a writer copies the blocks it touches while somebody holds them, and nothing else.
//!
//! **Compact.** A posting takes three bytes while its numbers are small and at most fifteen, beside 48 for each
//! block of up to 128. A term that a single document has takes no block.
//!
//! All of it is derived from the texts: no digest covers it, and recovery makes it anew in its one pass over the
//! records. So nothing on disk depends on how words are told apart: a version that does it better finds more in
//! collections that are there already. All that a record says is the language of a collection's texts, if it has one.
//!
//! **Our own analysis** of words, over the tables of Unicode (`unicode-segmentation`, `unicode-normalization`) and Snowball's
//! stems. `charabia` and the tokenizers of `tantivy` were looked at: they give each word one form, so that `report.pdf` is
//! found either whole or in parts, cut `don't` into `don` and `t`, which `can't` has too, and guess the language of a text,
//! which a short question does not show; dictionaries for Chinese and Japanese would be some 40 MB, and find `北京` in
//! `北京市` only where they cut there.

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
pub(crate) use ranking::Found;
use vectorizer_log::Language;
use words::{Purpose, Words};

use crate::memory::{allocated, table};

/// The words of one collection's texts. Documents are numbers, which only grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextIndex {
    terms: HashMap<Box<str>, Postings>,
    analysis: Analysis,
    /// Of terms and postings beside the table, about.
    bytes: usize,
    documents: u64,
    /// Of all documents, in words.
    length: u64,
}

impl TextIndex {
    /// One of texts in this language.
    pub(crate) fn new(language: Option<Language>) -> Self {
        Self { analysis: Analysis(language), ..Self::default() }
    }

    /// The language of its texts.
    pub(crate) fn language(&self) -> Option<Language> {
        self.analysis.0
    }

    /// Takes in a document whose number is higher than all before.
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

    /// Forgets a document that was taken in with this text.
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
        // A vocabulary that has come and gone leaves no room behind.
        if self.terms.len() < self.terms.capacity() / 8 {
            self.terms.shrink_to(2 * self.terms.len());
        }
    }

    /// The same documents under other numbers, in the same order.
    pub(crate) fn renumbered(&self, renumber: impl Fn(u32) -> Option<u32>) -> Self {
        let renumbered = |postings: &Postings| postings.renumbered(&renumber);
        let terms =
            self.terms.iter().filter_map(|(term, postings)| Some((term.clone(), renumbered(postings)?)));
        let terms: HashMap<Box<str>, Postings> = terms.collect();
        let bytes = terms.iter().map(|(term, postings)| allocated(term.len()) + postings.bytes()).sum();
        Self { terms, bytes, ..*self }
    }

    /// What the question's terms have, as of now: of more than [`TextQuery::TERMS_SOUGHT_MAX`] the rarest.
    pub(crate) fn look_up(&self, query: &TextQuery) -> Found {
        let other = query.by(self.analysis);
        let query = other.as_ref().unwrap_or(query);
        let mut found: Vec<&Postings> = query.terms().filter_map(|term| self.terms.get(term)).collect();
        if found.len() > TextQuery::TERMS_SOUGHT_MAX {
            // Their order stays, as scores are summed up in it; of equally rare ones the first count.
            let mut rarest: Vec<usize> = (0..found.len()).collect();
            rarest.sort_by_key(|place| found[*place].len());
            rarest.truncate(TextQuery::TERMS_SOUGHT_MAX);
            rarest.sort_unstable();
            found = rarest.into_iter().map(|place| found[place]).collect();
        }
        Found::new(found.into_iter().cloned().collect(), self.documents, self.length)
    }

    /// About how much memory it takes, in bytes. Costs nothing to ask.
    pub(crate) fn bytes(&self) -> usize {
        table::<Box<str>, Postings>(self.terms.capacity()) + self.bytes
    }

    /// How many different terms there are, how many postings, and about how many bytes they take.
    pub(crate) fn size(&self) -> TextIndexSize {
        let postings = self.terms.values().map(Postings::len).sum();
        TextIndexSize { terms: self.terms.len(), postings, bytes: self.bytes() }
    }
}

/// What an index of texts takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextIndexSize {
    /// Different terms.
    pub terms: usize,
    /// Terms of each document, summed up.
    pub postings: usize,
    /// About how much memory all of it takes, in bytes.
    pub bytes: usize,
}
