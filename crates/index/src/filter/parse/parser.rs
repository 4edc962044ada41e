//! The state of the parser: its position, its limits, and its first error.

use std::fmt;

use serde::de::Error;
use vectorizer_log::InvalidPoint;

use crate::filter::key::InvalidKey;

/// How many characters of an unknown name an error shows.
const SHOWN_CHARACTERS: usize = 64;

/// Why a JSON text is not a filter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{at}: {problem}")]
pub struct InvalidFilter {
    pub(super) at: String,
    pub(super) problem: Problem,
}

impl InvalidFilter {
    /// The place of the error, for example `filter.must[0].match`.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Whether objects and arrays are nested deeper than allowed.
    pub fn is_nested_too_deep(&self) -> bool {
        matches!(self.problem, Problem::NestedTooDeep { .. })
    }
}

/// An error without its place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Problem {
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: &'static str, found: &'static str },
    #[error("unknown field {field:?}, expected {expected}")]
    UnknownField { field: String, expected: &'static str },
    #[error("field {field:?} occurs more than once")]
    RepeatedField { field: &'static str },
    #[error("expected exactly one of {expected}")]
    NotOneOf { expected: &'static str },
    #[error("missing field \"key\"")]
    NoKey,
    #[error("nesting is more than {max} deep, at most {max} is allowed")]
    NestedTooDeep { max: usize },
    #[error("filters are nested more than {max} deep")]
    TooDeep { max: usize },
    #[error("the filter has more than {max} conditions")]
    TooManyConditions { max: usize },
    #[error("the filter has more than {max} values in its lists, all together")]
    TooManyValues { max: usize },
    #[error("{0}")]
    InvalidKey(InvalidKey),
    #[error("no lower or upper bound")]
    NoBound,
    #[error("{0}")]
    InvalidId(InvalidPoint),
    #[error("not plain JSON: {reason}")]
    NotJson { reason: String },
}

/// The position and the limits of the parser.
pub(super) struct Parser {
    /// For example `filter.must[0].match`. After an error, the place of the error.
    pub(super) path: String,
    /// How many objects and arrays are open.
    pub(super) depth: usize,
    pub(super) depth_max: usize,
    /// How many conditions and values were read so far, all levels together.
    pub(super) conditions: usize,
    pub(super) values: usize,
    /// The error that ended parsing.
    pub(super) error: Option<Problem>,
}

impl Parser {
    /// Records the error and ends parsing.
    pub(super) fn fail<E: Error>(&mut self, problem: Problem) -> E {
        self.error.get_or_insert(problem);
        E::custom("refused")
    }

    pub(super) fn unexpected<E: Error>(&mut self, expected: &'static str, found: &'static str) -> E {
        self.fail(Problem::Unexpected { expected, found })
    }

    pub(super) fn unknown<E: Error>(&mut self, field: &str, expected: &'static str) -> E {
        let mut shown: String = field.chars().take(SHOWN_CHARACTERS).collect();
        if shown.len() < field.len() {
            shown.push('…');
        }
        self.fail(Problem::UnknownField { field: shown, expected })
    }

    /// Reads the value at `step`, which is appended to the path meanwhile.
    pub(super) fn within<T, E>(
        &mut self,
        step: fmt::Arguments<'_>,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let here = self.path.len();
        // Writing to a `String` does not fail.
        let _ = fmt::write(&mut self.path, step);
        let read = read(self)?;
        self.path.truncate(here);
        Ok(read)
    }

    /// Reads the content of an object or array.
    pub(super) fn inside<T, E: Error>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.depth == self.depth_max {
            return Err(self.fail(Problem::NestedTooDeep { max: self.depth_max }));
        }
        self.depth += 1;
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    /// Reads the value of a member that may occur once.
    pub(super) fn once<T, E: Error>(
        &mut self,
        field: &'static str,
        taken: &mut Option<T>,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<(), E> {
        if taken.is_some() {
            return Err(self.fail(Problem::RepeatedField { field }));
        }
        *taken = Some(self.within(format_args!(".{field}"), read)?);
        Ok(())
    }
}
