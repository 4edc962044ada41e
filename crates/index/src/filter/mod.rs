//! Filters: conditions on ids and payloads.
//!
//! - `parse`: from JSON to conditions, with limits; `key`: the syntax of keys.
//! - `condition`: evaluation.
//! - `fields`: the values at a key in a payload's text, without parsing the rest.
//! - `members`: all keys of a payload.
//! - `number`: numbers that compare exactly.
//! - `unconditional`: unconditional filters.

mod condition;
mod fields;
mod key;
mod members;
mod number;
mod parse;
#[cfg(test)]
pub(super) mod tests;
mod unconditional;

use vectorizer_log::Payload;

pub(super) use condition::{Condition, Range, Values};
use fields::Fields;
pub(super) use fields::Value;
pub use key::{InvalidIndexPath, InvalidKey, Key};
pub(super) use members::{MemberValue, each_member};
pub(super) use number::Number;
pub use parse::InvalidFilter;
pub use unconditional::Unconditional;

/// Conditions that a point matches or not, in Qdrant's grammar:
///
/// ```json
/// {
///   "must":     [{"key": "year", "range": {"gte": 1990, "lt": 2000}}],
///   "should":   [{"key": "genre.name", "match": {"any": ["rock", "pop"]}},
///                {"has_id": ["a", "b"]}],
///   "must_not": {"is_empty": {"key": "title"}}
/// }
/// ```
///
/// A point matches if it matches all of `must`, none of `must_not`, and at least one of `should` if there are any. Each
/// takes a list or a single condition, and a filter is a condition itself. An empty filter matches every point.
///
/// - `{"key", "match": {"value": v}}`: a value at the key equals `v`, a string, a number or a boolean. Numbers are compared
///   as decimals: `1`, `1.0` and `10e-1` are equal, and no two other numbers are.
/// - `{"key", "match": {"any": [v, …]}}`: a value at the key equals one of these.
/// - `{"key", "match": {"except": [v, …]}}`: a value at the key, other than null, equals none of these.
/// - `{"key", "range": {"gt", "gte", "lt", "lte"}}`: a number at the key is within these bounds.
/// - `{"is_empty": {"key"}}`: the key has no value but null or `[]`.
/// - `{"is_null": {"key"}}`: a value at the key is null.
/// - `{"has_id": ["id", …]}`: the point has one of these ids.
///
/// A dot in a key leads into an object; a name with a dot in it is quoted (see [`Key`]). An array counts as its elements,
/// on the way and at the end; an array within an array does not. A value that cannot be represented (a string with half a
/// surrogate pair, for example) equals nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub(super) must: Vec<Condition>,
    pub(super) should: Vec<Condition>,
    pub(super) must_not: Vec<Condition>,
}

impl Filter {
    /// The deepest nesting of filters, the outermost included.
    pub const DEPTH_MAX: usize = 16;
    /// The most conditions of a filter, all levels together.
    pub const CONDITIONS_MAX: usize = 1024;
    /// The most values in all lists of `any`, `except` and `has_id` together.
    pub const VALUES_MAX: usize = 16_384;
    /// The most steps of a key.
    pub const KEY_STEPS_MAX: usize = 32;

    /// Whether a point with this id and payload matches the filter.
    pub fn matches(&self, id: &str, payload: Option<&Payload>) -> bool {
        self.matches_fields(id, &Fields::new(payload))
    }

    fn matches_fields(&self, id: &str, fields: &Fields<'_>) -> bool {
        self.must.iter().all(|condition| condition.matches_fields(id, fields))
            && !self.must_not.iter().any(|condition| condition.matches_fields(id, fields))
            && (self.should.is_empty()
                || self.should.iter().any(|condition| condition.matches_fields(id, fields)))
    }
}
