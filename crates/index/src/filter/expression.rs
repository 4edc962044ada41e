//! Filters, their conditions, and their evaluation.

use std::collections::HashSet;
use std::ops::Bound;

use vectorizer_log::Payload;

use super::fields::{Fields, Value};
use super::key::Key;
use super::number::Number;

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
/// - `{"key", "match": {"value": v}}`: a value at the key equals `v`, a string, a number or a boolean. Numbers are
///   compared as decimals: `1`, `1.0` and `10e-1` are equal, and no two other numbers are.
/// - `{"key", "match": {"any": [v, …]}}`: a value at the key equals one of these.
/// - `{"key", "match": {"except": [v, …]}}`: a value at the key, other than null, equals none of these.
/// - `{"key", "range": {"gt", "gte", "lt", "lte"}}`: a number at the key is within these bounds.
/// - `{"is_empty": {"key"}}`: the key has no value but null or `[]`.
/// - `{"is_null": {"key"}}`: a value at the key is null.
/// - `{"has_id": ["id", …]}`: the point has one of these ids.
///
/// A dot in a key leads into an object; a name with a dot in it is quoted (see [`Key`]). An array counts as its
/// elements, on the way and at the end; an array within an array does not. A value that cannot be represented (a
/// string with half a surrogate pair, for example) equals nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub(in super::super) must: Vec<Condition>,
    pub(in super::super) should: Vec<Condition>,
    pub(in super::super) must_not: Vec<Condition>,
}

impl Filter {
    /// The deepest nesting of filters, the outermost included.
    pub const DEPTH_MAX: usize = 16;
    /// The most conditions of a filter, all levels together.
    pub const CONDITIONS_MAX: usize = 1024;
    /// The most values in all lists of `any`, `except` and `has_id` together.
    pub const VALUES_MAX: usize = 16_384;
    /// The most steps of a key.
    pub const KEY_STEPS_MAX: usize = Key::STEPS_MAX;

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

/// One condition of a filter.
#[derive(Clone, Debug)]
pub(in super::super) enum Condition {
    /// A value at the key equals one of these.
    Any(Key, Values),
    /// A value at the key, other than null, equals none of these.
    Except(Key, Values),
    /// A number at the key is within these bounds.
    Range(Key, Range),
    /// The key has no value but null or `[]`.
    IsEmpty(Key),
    /// A value at the key is null.
    IsNull(Key),
    /// The point has one of these ids.
    HasId(HashSet<Box<str>>),
    /// The point matches this filter.
    Nested(Filter),
}

/// A set of strings, numbers and booleans.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Values {
    pub(in super::super) texts: HashSet<Box<str>>,
    pub(in super::super) numbers: HashSet<Number>,
    pub(in super::super) booleans: HashSet<bool>,
}

/// Bounds on a number, which must all hold.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Range {
    pub(super) gt: Option<Number>,
    pub(super) gte: Option<Number>,
    pub(super) lt: Option<Number>,
    pub(super) lte: Option<Number>,
}

impl Condition {
    /// The condition's key, if it has one.
    pub(in super::super) fn key(&self) -> Option<&Key> {
        match self {
            Self::Any(key, _)
            | Self::Except(key, _)
            | Self::Range(key, _)
            | Self::IsEmpty(key)
            | Self::IsNull(key) => Some(key),
            Self::HasId(_) | Self::Nested(_) => None,
        }
    }

    pub(super) fn matches_fields(&self, id: &str, fields: &Fields<'_>) -> bool {
        match self {
            Self::Any(key, values) => fields.any(key, &mut |value| values.contain(&value)),
            Self::Except(key, values) => {
                fields.any(key, &mut |value| !matches!(value, Value::Null) && !values.contain(&value))
            }
            Self::Range(key, range) => fields.any(key, &mut |value| match value {
                Value::Number(number) => range.contains(&number),
                Value::Null | Value::Boolean(_) | Value::Text(_) | Value::Composite | Value::Unreadable => {
                    false
                }
            }),
            Self::IsEmpty(key) => !fields.any_content(key),
            Self::IsNull(key) => fields.any(key, &mut |value| matches!(value, Value::Null)),
            Self::HasId(ids) => ids.contains(id),
            Self::Nested(filter) => filter.matches_fields(id, fields),
        }
    }
}

impl Values {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values there are.
    pub(in super::super) fn len(&self) -> usize {
        self.texts.len() + self.numbers.len() + self.booleans.len()
    }

    fn contain(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Text(text) => self.texts.contains(&**text),
            Value::Number(number) => self.numbers.contains(number),
            Value::Boolean(boolean) => self.booleans.contains(boolean),
            Value::Null | Value::Composite | Value::Unreadable => false,
        }
    }
}

impl Range {
    fn contains(&self, number: &Number) -> bool {
        self.is_above_lower(number) && self.is_below_upper(number)
    }

    pub(super) fn is_unbounded(&self) -> bool {
        let Self { gt, gte, lt, lte } = self;
        [gt, gte, lt, lte].into_iter().all(Option::is_none)
    }

    /// The tighter of its lower bounds.
    pub(in super::super) fn lower(&self) -> Bound<&Number> {
        match (&self.gt, &self.gte) {
            (Some(gt), Some(gte)) if gte > gt => Bound::Included(gte),
            (Some(gt), _) => Bound::Excluded(gt),
            (None, Some(gte)) => Bound::Included(gte),
            (None, None) => Bound::Unbounded,
        }
    }

    /// The tighter of its upper bounds.
    pub(in super::super) fn upper(&self) -> Bound<&Number> {
        match (&self.lt, &self.lte) {
            (Some(lt), Some(lte)) if lte < lt => Bound::Included(lte),
            (Some(lt), _) => Bound::Excluded(lt),
            (None, Some(lte)) => Bound::Included(lte),
            (None, None) => Bound::Unbounded,
        }
    }

    pub(in super::super) fn is_above_lower(&self, number: &Number) -> bool {
        self.gt.as_ref().is_none_or(|bound| number > bound)
            && self.gte.as_ref().is_none_or(|bound| number >= bound)
    }

    pub(in super::super) fn is_below_upper(&self, number: &Number) -> bool {
        self.lt.as_ref().is_none_or(|bound| number < bound)
            && self.lte.as_ref().is_none_or(|bound| number <= bound)
    }
}
