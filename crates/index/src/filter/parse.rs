//! Parses a filter from JSON in one pass. Limits apply while parsing, so a text costs no more than its part within the
//! limits. Every error names the place and what was expected there.

mod condition;
mod json;

use serde::de::{DeserializeSeed as _, MapAccess};

use self::condition::Clauses;
use self::json::{Members, Object};
use super::{Filter, InvalidKey};
use vectorizer_log::InvalidPoint;

/// Why a JSON text is not a filter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{at}: {problem}")]
pub struct InvalidFilter {
    at: String,
    problem: Problem,
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

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Problem {
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

impl Filter {
    /// Parses a filter whose objects and arrays are nested at most `depth_max` deep. Parsing and evaluating a filter takes
    /// stack proportional to its depth.
    pub fn parse(text: &str, depth_max: usize) -> Result<Self, InvalidFilter> {
        let mut parser =
            Parser { path: "filter".to_owned(), depth: 0, depth_max, conditions: 0, values: 0, error: None };
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Object { parser: &mut parser, members: Top(Clauses::at(1)) }.deserialize(&mut json);
        let read = read.and_then(|Top(clauses)| json.end().map(|()| clauses));
        match read {
            Ok(clauses) => Ok(clauses.into_filter()),
            Err(error) => {
                let problem = parser.error.take();
                let problem = problem.unwrap_or_else(|| Problem::NotJson { reason: error.to_string() });
                Err(InvalidFilter { at: parser.path, problem })
            }
        }
    }
}

/// The position and the limits of the parser.
struct Parser {
    /// For example `filter.must[0].match`. After an error, the place of the error.
    path: String,
    /// How many objects and arrays are open.
    depth: usize,
    depth_max: usize,
    /// How many conditions and values were read so far, all levels together.
    conditions: usize,
    values: usize,
    /// The error that ended parsing.
    error: Option<Problem>,
}

/// The outermost filter.
struct Top(Clauses);

impl Members for Top {
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match self.0.member(parser, name, map)? {
            Some(()) => Ok(()),
            None => Err(parser.unknown(name, "must, should or must_not")),
        }
    }
}
