//! Parses a filter from JSON in one pass. Limits apply while parsing, so a text costs no more than its part within the
//! limits. Every error names the place and what was expected there.

mod condition;
mod json;
mod parser;

use serde::de::{DeserializeSeed as _, MapAccess};

use self::condition::Clauses;
use self::json::{Members, Object};
pub use self::parser::InvalidFilter;
use self::parser::{Parser, Problem};
use super::expression::Filter;

impl Filter {
    /// Parses a filter whose objects and arrays are nested at most `depth_max` deep. Parsing and evaluating a filter
    /// takes stack proportional to its depth.
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
