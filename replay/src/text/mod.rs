//! Texts that are found by their words: an inverted index, and BM25 over it.
//!
//! - `words`: from a text to its terms; `query`: from a question to its terms.
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
//! records. So nothing on disk depends on how words are told apart.

mod block;
mod postings;
mod query;
mod ranking;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

use block::Posting;
use postings::Postings;
pub use query::{InvalidTextQuery, TextQuery};
pub(crate) use ranking::Found;
use words::Words;

/// The words of one collection's texts. Documents are numbers, which only grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextIndex {
    terms: HashMap<Box<str>, Postings>,
    documents: u64,
    /// Of all documents, in words.
    length: u64,
}

impl TextIndex {
    /// Takes in a document whose number is higher than all before.
    pub(crate) fn add(&mut self, document: u32, text: &str) {
        let mut words = Words::of(text);
        let length = words.len();
        for (term, count) in words.counted() {
            let posting = Posting { document, count, length };
            match self.terms.get_mut(term) {
                Some(postings) => postings.push(posting),
                None => drop(self.terms.insert(term.into(), Postings::One(posting))),
            }
        }
        self.documents += 1;
        self.length += u64::from(length);
    }

    /// Forgets a document that was taken in with this text.
    pub(crate) fn remove(&mut self, document: u32, text: &str) {
        let mut words = Words::of(text);
        let length = words.len();
        for (term, _) in words.counted() {
            if self.terms.get_mut(term).is_some_and(|postings| postings.remove(document)) {
                self.terms.remove(term);
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
        Self { terms: terms.collect(), ..*self }
    }

    /// What the question's terms have, as of now.
    pub(crate) fn look_up(&self, query: &TextQuery) -> Found {
        let postings = query.terms().filter_map(|term| self.terms.get(term).cloned());
        Found::new(postings.collect(), self.documents, self.length)
    }

    /// How many different terms there are, how many postings, and about how many bytes they take.
    pub(crate) fn size(&self) -> TextIndexSize {
        let mut size = TextIndexSize { terms: self.terms.len(), ..TextIndexSize::default() };
        // A table has an eighth of its places free, and a byte more for each.
        size.bytes = self.terms.capacity() * 8 / 7 * (size_of::<(Box<str>, Postings)>() + 1);
        for (term, postings) in &self.terms {
            size.postings += postings.len();
            size.bytes += allocated(term.len()) + postings.bytes();
        }
        size
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

/// About how much of the heap an allocation of so many bytes takes.
fn allocated(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}
