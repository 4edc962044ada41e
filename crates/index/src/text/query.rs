//! A question in words.

use std::cmp::Reverse;

use vectorizer_log::{Language, Text};

use super::language::Analysis;
use super::words::{Purpose, Words};

/// The words that a search looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextQuery {
    /// As much of it as is looked at.
    text: Box<str>,
    analysis: Analysis,
    /// Different ones, in order.
    pub(super) terms: Vec<Box<str>>,
}

/// Why words cannot be searched for: there are none.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the text has no word to look for")]
pub struct InvalidTextQuery;

impl TextQuery {
    /// How many bytes of a question are looked at: as many as a text may have.
    pub const BYTES_MAX: usize = Text::BYTES_MAX;
    /// How many of its terms are looked up: the longest, which are rarer than others in every language.
    pub const TERMS_MAX: usize = 16_384;
    /// How many of those that the collection has are looked for: the rarest, as they say most.
    pub const TERMS_SOUGHT_MAX: usize = 256;

    /// The question for the words of `text`, in a collection without a language. One that occurs twice counts once.
    pub fn new(text: &str) -> Result<Self, InvalidTextQuery> {
        let query = Self::for_language(text, None);
        if query.is_empty() { Err(InvalidTextQuery) } else { Ok(query) }
    }

    /// The question for the words of `text`, if there are any, in a collection with texts of this language.
    pub fn for_language(text: &str, language: Option<Language>) -> Self {
        Self::analysed(text[..text.floor_char_boundary(Self::BYTES_MAX)].into(), Analysis(language))
    }

    fn analysed(text: Box<str>, analysis: Analysis) -> Self {
        let mut words = Words::of(&text, analysis, Purpose::Question);
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

    /// The same question by another analysis: the collection is another one than it was made for.
    pub(super) fn by(&self, analysis: Analysis) -> Option<Self> {
        (self.analysis != analysis).then(|| Self::analysed(self.text.clone(), analysis))
    }

    pub(super) fn terms(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| &**term)
    }
}
