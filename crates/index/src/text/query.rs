//! Queries in words.

use std::cmp::Reverse;

use vectorizer_log::{Language, Text};

use super::language::Analysis;
use super::words::{Purpose, Words};

/// The words of a text search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextQuery {
    /// The part of the query that is analyzed.
    text: Box<str>,
    analysis: Analysis,
    /// Distinct terms, in ascending order.
    pub(super) terms: Vec<Box<str>>,
}

/// The query has no words.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the text has no word to look for")]
pub struct InvalidTextQuery;

impl TextQuery {
    /// How many bytes of a query are analyzed: as many as a text may have.
    pub const BYTES_MAX: usize = Text::BYTES_MAX;
    /// How many of its terms are looked up: the longest, which are the rarest in every language.
    pub const TERMS_MAX: usize = 16_384;
    /// How many terms of the collection are searched for: the rarest, which have the most weight.
    pub const TERMS_SEARCHED_MAX: usize = 256;

    /// A query for the words of `text`, for a collection without a language. A word that occurs twice counts once.
    ///
    /// # Errors
    ///
    /// [`InvalidTextQuery`] if the text has no words.
    pub fn new(text: &str) -> Result<Self, InvalidTextQuery> {
        let query = Self::for_language(text, None);
        if query.is_empty() { Err(InvalidTextQuery) } else { Ok(query) }
    }

    /// A query for the words of `text`, if it has any, for a collection with texts of this language.
    pub fn for_language(text: &str, language: Option<Language>) -> Self {
        Self::analysed(text[..text.floor_char_boundary(Self::BYTES_MAX)].into(), Analysis(language))
    }

    fn analysed(text: Box<str>, analysis: Analysis) -> Self {
        let mut words = Words::of(&text, analysis, Purpose::Query);
        let mut terms: Vec<Box<str>> = words.counted().map(|(term, _)| term.into()).collect();
        if terms.len() > Self::TERMS_MAX {
            terms.sort_by_key(|term| Reverse(term.chars().count()));
            terms.truncate(Self::TERMS_MAX);
            terms.sort_unstable();
        }
        Self { text, analysis, terms }
    }

    /// Whether it has no words.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The same query by another analysis; `None` if it is the same one.
    pub(super) fn by(&self, analysis: Analysis) -> Option<Self> {
        (self.analysis != analysis).then(|| Self::analysed(self.text.clone(), analysis))
    }

    pub(super) fn terms(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| &**term)
    }
}
