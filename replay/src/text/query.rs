//! A question in words.

use super::words::Words;

/// The words that a search looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextQuery {
    /// Different ones, in order.
    terms: Vec<Box<str>>,
}

/// Why words cannot be searched for.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTextQuery {
    /// There are none.
    #[error("the text has no word to look for")]
    NoWord,
    /// It is too long.
    #[error("the text has {bytes} bytes, a search takes at most {max}", max = TextQuery::BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are too many different ones.
    #[error("the text has {words} different words, a search takes at most {max}", max = TextQuery::WORDS_MAX)]
    TooManyWords {
        /// How many.
        words: usize,
    },
}

impl TextQuery {
    /// The longest question, in bytes.
    pub const BYTES_MAX: usize = 8 * 1024;
    /// How many different words it may have.
    pub const WORDS_MAX: usize = 256;

    /// The question for the words of `text`. One that occurs twice counts once.
    pub fn new(text: &str) -> Result<Self, InvalidTextQuery> {
        if text.len() > Self::BYTES_MAX {
            return Err(InvalidTextQuery::TooLong { bytes: text.len() });
        }
        let terms: Vec<Box<str>> = Words::of(text).counted().map(|(term, _)| term.into()).collect();
        match terms.len() {
            0 => Err(InvalidTextQuery::NoWord),
            1..=Self::WORDS_MAX => Ok(Self { terms }),
            words => Err(InvalidTextQuery::TooManyWords { words }),
        }
    }

    pub(super) fn terms(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| &**term)
    }
}
