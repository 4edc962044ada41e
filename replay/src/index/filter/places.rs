//! Every key that leads somewhere in a payload: what [`fields`](super::fields) finds, the other way round.

use serde_json::value::RawValue;
use vectorizer_log::Payload;

use super::Filter;
use super::fields::{Object, elements, is_content};

/// Where a longer path leads is not said.
pub(in super::super) const PATH_BYTES_MAX: usize = 256;

/// What one member of one object holds.
pub(in super::super) enum Place<'a> {
    Value(&'a RawValue),
    /// Of an array, for which they stand.
    Elements(Vec<&'a RawValue>),
}

impl<'a> Place<'a> {
    fn of(value: &'a RawValue) -> Self {
        elements(value).map_or(Self::Value(value), Self::Elements)
    }

    pub(in super::super) fn values(&self) -> &[&'a RawValue] {
        match self {
            Self::Value(value) => std::slice::from_ref(value),
            Self::Elements(elements) => elements,
        }
    }

    /// Whether there is anything but null and an empty array.
    pub(in super::super) fn has_content(&self) -> bool {
        match self {
            Self::Value(value) => is_content(value),
            Self::Elements(elements) => !elements.is_empty(),
        }
    }
}

/// Visits every place that a key of at most [`Filter::KEY_STEPS_MAX`] steps and [`PATH_BYTES_MAX`] bytes
/// leads to, always in the same order; a path that leads to several of them is visited for each.
pub(in super::super) fn each_place(payload: &Payload, visit: &mut dyn FnMut(&str, &Place<'_>)) {
    descend(&Object::read(payload), &mut String::new(), 1, visit);
}

/// Recurses once for each step.
fn descend(object: &Object<'_>, path: &mut String, steps: usize, visit: &mut dyn FnMut(&str, &Place<'_>)) {
    let above = path.len();
    for (name, value) in object.members() {
        if name.is_empty() || name.contains('.') {
            // No key leads there.
            continue;
        }
        if above > 0 {
            path.push('.');
        }
        path.push_str(name);
        if path.len() <= PATH_BYTES_MAX {
            let place = Place::of(value);
            visit(path, &place);
            if steps < Filter::KEY_STEPS_MAX {
                for value in place.values().iter().filter(|value| value.get().starts_with('{')) {
                    descend(&Object::of(value.get()), path, steps + 1, visit);
                }
            }
        }
        path.truncate(above);
    }
}
