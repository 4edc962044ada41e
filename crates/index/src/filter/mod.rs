//! Conditions on ids and payloads.
//!
//! - `parse`: from JSON to conditions, with limits; `key`: how the way to a value is written.
//! - `condition`: what a condition asks.
//! - `fields`: what lies at a key in a payload's text, without parsing the rest of it.
//! - `places`: every key that leads somewhere in a payload.
//! - `number`: numbers that compare exactly.
//! - `emptiness`: whether a filter says anything.

mod condition;
mod emptiness;
mod fields;
mod key;
mod number;
mod parse;
mod places;
#[cfg(test)]
pub(super) mod tests;

use vectorizer_log::Payload;

pub(super) use condition::{Condition, Range, Values};
pub use emptiness::Unconditional;
use fields::Fields;
pub(super) use fields::Value;
pub use key::{InvalidIndexPath, InvalidKey, Key};
pub(super) use number::Number;
pub use parse::InvalidFilter;
pub(super) use places::{Place, each_place};

/// Conditions that a point fulfils or not, in Qdrant's grammar:
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
/// All of `must`, none of `must_not`, and at least one of `should` if it has any; each takes a
/// list or a single condition, and a filter is a condition itself. An empty filter matches every
/// point.
///
/// - `{"key", "match": {"value": v}}`: a value at the key is `v`, a text, a number or a boolean. Numbers are compared
///   as the decimals that they are: `1`, `1.0` and `10e-1` are equal, and no two others are.
/// - `{"key", "match": {"any": [v, …]}}`: a value at the key is one of these.
/// - `{"key", "match": {"except": [v, …]}}`: a value at the key, not null, is none of these.
/// - `{"key", "range": {"gt", "gte", "lt", "lte"}}`: a number at the key is within these bounds.
/// - `{"is_empty": {"key"}}`: there is nothing at the key but null or `[]`, or not even that.
/// - `{"is_null": {"key"}}`: a value at the key is null.
/// - `{"has_id": ["id", …]}`: the point has one of these ids.
///
/// A dot in a key leads into an object; a name with a dot in it is quoted (see [`Key`]). An array stands for its
/// elements, on the way and at the end; an array within an array does not. What of a payload cannot be read (a text
/// with half a surrogate pair, say) equals nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub(super) must: Vec<Condition>,
    pub(super) should: Vec<Condition>,
    pub(super) must_not: Vec<Condition>,
}

impl Filter {
    /// How deep filters may be nested, the outermost included.
    pub const DEPTH_MAX: usize = 16;
    /// How many conditions a filter may have, all levels together.
    pub const CONDITIONS_MAX: usize = 1024;
    /// How many values all its `any`, `except` and `has_id` may list together.
    pub const VALUES_MAX: usize = 16_384;
    /// How many steps a key may have.
    pub const KEY_STEPS_MAX: usize = 32;

    /// Whether a point with this id and payload fulfils the filter.
    pub fn matches(&self, id: &str, payload: Option<&Payload>) -> bool {
        self.holds(id, &Fields::new(payload))
    }

    fn holds(&self, id: &str, fields: &Fields<'_>) -> bool {
        self.must.iter().all(|condition| condition.holds(id, fields))
            && !self.must_not.iter().any(|condition| condition.holds(id, fields))
            && (self.should.is_empty() || self.should.iter().any(|condition| condition.holds(id, fields)))
    }
}
