//! The values at a key in a payload.
//!
//! A payload stays text. Its top level is split into members once for each point, and only members that a filter
//! names are parsed further. No function here recurses by the depth of the payload, so deeply nested payloads cost no
//! stack.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use vectorizer_log::Payload;

use super::key::{Key, Step};
use super::number::Number;

/// The top level of a payload, split on first use.
pub(super) struct Fields<'a> {
    payload: Option<&'a Payload>,
    top: OnceCell<Object<'a>>,
}

/// A value at a key.
#[derive(Clone, Debug)]
pub(in super::super) enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number),
    Text(Cow<'a, str>),
    /// An object or an array.
    Composite,
    /// Valid JSON, but not representable: a string with half a surrogate pair, for example.
    Unreadable,
}

impl<'a> Fields<'a> {
    pub(super) fn new(payload: Option<&'a Payload>) -> Self {
        Self { payload, top: OnceCell::new() }
    }

    /// Whether `matches` is true of any value at `key`; an array counts as its elements.
    pub(super) fn any(&self, key: &Key, matches: &mut dyn FnMut(Value<'a>) -> bool) -> bool {
        self.any_found(key, &mut |found| match found {
            Found::Member(raw) => match elements(raw) {
                Some(elements) => elements.into_iter().any(|element| matches(Value::read(element))),
                None => matches(Value::read(raw)),
            },
            Found::Element(raw) => matches(Value::read(raw)),
        })
    }

    /// Whether there is a value at `key` other than null and empty arrays.
    pub(super) fn any_content(&self, key: &Key) -> bool {
        self.any_found(key, &mut |found| {
            let (Found::Member(raw) | Found::Element(raw)) = found;
            match elements(raw) {
                Some(elements) => !elements.is_empty(),
                None => is_content(raw),
            }
        })
    }

    fn any_found(&self, key: &Key, matches: &mut dyn FnMut(Found<'a>) -> bool) -> bool {
        let top = self.top.get_or_init(|| self.payload.map_or_else(Object::default, Object::read));
        walk(top, key.steps(), matches)
    }
}

/// The value at the last step of a key.
enum Found<'a> {
    /// A member's value. An array counts as its elements.
    Member(&'a RawValue),
    /// One element of an array. If it is an array itself, it is not expanded.
    Element(&'a RawValue),
}

/// Follows `steps` from `object`. Recurses once for each step.
fn walk<'a>(object: &Object<'a>, steps: &[Step], matches: &mut dyn FnMut(Found<'a>) -> bool) -> bool {
    let Some((step, further)) = steps.split_first() else { return false };
    let Some(value) = object.member(&step.name) else { return false };
    let found = match step.element {
        None => Found::Member(value),
        Some(element) => match elements(value).and_then(|elements| elements.get(element).copied()) {
            Some(value) => Found::Element(value),
            None => return false,
        },
    };
    if further.is_empty() {
        return matches(found);
    }
    let mut descend = |value: &'a RawValue| {
        value.get().starts_with('{') && walk(&Object::of(value.get()), further, matches)
    };
    match found {
        Found::Member(value) => match elements(value) {
            Some(elements) => elements.into_iter().any(descend),
            None => descend(value),
        },
        Found::Element(value) => descend(value),
    }
}

/// The elements of an array; `None` for any other value.
pub(super) fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    value.get().starts_with('[').then(|| serde_json::from_str(value.get()).unwrap_or_default())
}

/// Whether a value other than an array is not null.
fn is_content(value: &RawValue) -> bool {
    value.get() != "null"
}

impl<'a> Value<'a> {
    pub(in super::super) fn read(raw: &'a RawValue) -> Self {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'{' | b'[') => Self::Composite,
            Some(b'"') => serde_json::from_str(text).map_or(Self::Unreadable, |Text(text)| Self::Text(text)),
            Some(_) | None => Number::from_json(text).map_or(Self::Unreadable, Self::Number),
        }
    }
}

/// A JSON string, copied only if it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object, in order. Of members with the same name, the last counts.
#[derive(Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(super) fn read(payload: &'a Payload) -> Self {
        Self::of(payload.as_str())
    }

    /// Parses an object. One that cannot be parsed has no members.
    pub(super) fn of(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The members that count, by name.
    pub(super) fn members(&self) -> BTreeMap<&str, &'a RawValue> {
        self.0.iter().map(|(name, value)| (&**name, *value)).collect()
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(found, _)| found == name).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
