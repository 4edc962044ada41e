//! All keys of a payload: the reverse of what [`fields`](super::fields) looks up.

use serde_json::value::RawValue;
use vectorizer_log::Payload;

use super::fields::{Object, elements};
use super::key::{Key, write_name};

/// The value of one member of one object.
pub(in super::super) enum MemberValue<'a> {
    Value(&'a RawValue),
    /// The elements of an array, which counts as these.
    Elements(Vec<&'a RawValue>),
}

impl<'a> MemberValue<'a> {
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

/// Visits every value that a key can select, always in the same order, with its path (see [`Key::path`]). A path that
/// selects several values is visited for each.
pub(in super::super) fn each_member(payload: &Payload, visit: &mut dyn FnMut(&str, &MemberValue<'_>)) {
    descend(&Object::read(payload), &mut String::new(), 1, visit);
}

/// Recurses once for each step.
fn descend(
    object: &Object<'_>,
    path: &mut String,
    steps: usize,
    visit: &mut dyn FnMut(&str, &MemberValue<'_>),
) {
    let above = path.len();
    for (name, value) in object.members() {
        write_name(path, name);
        // No key is longer.
        if path.len() <= Key::BYTES_MAX {
            let place = MemberValue::of(value);
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
