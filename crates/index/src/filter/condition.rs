//! The conditions of a filter, and their evaluation.

use std::collections::HashSet;
use std::ops::Bound;

use super::Filter;
use super::fields::{Fields, Value};
use super::key::Key;
use super::number::Number;

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
