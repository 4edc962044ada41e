//! Every key that leads somewhere in a payload: what [`fields`](super::fields) finds, the other way round.

use serde_json::value::RawValue;
use vectorizer_log::Payload;

use super::fields::{Object, elements};
use super::key::{Key, write_name};

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
}

/// Visits every place that a key can lead to, always in the same order, with its path (see [`Key::path`]); a path that
/// leads to several of them is visited for each.
pub(in super::super) fn each_place(payload: &Payload, visit: &mut dyn FnMut(&str, &Place<'_>)) {
    descend(&Object::read(payload), &mut String::new(), 1, visit);
}

/// Recurses once for each step.
fn descend(object: &Object<'_>, path: &mut String, steps: usize, visit: &mut dyn FnMut(&str, &Place<'_>)) {
    let above = path.len();
    for (name, value) in object.members() {
        write_name(path, name);
        // No key is longer.
        if path.len() <= Key::BYTES_MAX {
            let place = Place::of(value);
            visit(path, &place);
            if steps < Key::STEPS_MAX {
                for value in place.values().iter().filter(|value| value.get().starts_with('{')) {
                    descend(&Object::of(value.get()), path, steps + 1, visit);
                }
            }
        }
        path.truncate(above);
    }
}
