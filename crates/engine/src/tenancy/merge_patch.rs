//! JSON merge patch (RFC 7396) on payload texts.
//!
//! Values are moved as the text they were sent as, so numbers of any size survive a patch to their
//! neighbours.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use vectorizer_log::{InvalidPoint, Payload};

type Object = BTreeMap<String, Box<RawValue>>;

/// A change to a payload: an object whose members replace, and whose nulls remove.
#[derive(Clone, Debug)]
pub struct MergePatch(Object);

impl MergePatch {
    /// The patch in `json`, which must be an object: any other patch would make the payload something
    /// else than one.
    pub fn new(json: &RawValue) -> Result<Self, InvalidPoint> {
        parse(json).map(Self).ok_or(InvalidPoint::PayloadNotAnObject)
    }

    /// The payload after the patch.
    pub fn apply(&self, payload: Option<&Payload>) -> Result<Payload, InvalidPoint> {
        let mut object = match payload {
            Some(payload) => {
                serde_json::from_str(payload.as_str()).map_err(|_| InvalidPoint::PayloadNotJson)?
            }
            None => Object::new(),
        };
        merge(&mut object, &self.0);
        Payload::from_raw(raw(&object))
    }
}

fn merge(target: &mut Object, patch: &Object) {
    for (name, value) in patch {
        if value.get() == "null" {
            target.remove(name);
        } else if let Some(patch) = parse(value) {
            let mut inner = target.get(name).and_then(|value| parse(value)).unwrap_or_default();
            merge(&mut inner, &patch);
            target.insert(name.clone(), raw(&inner));
        } else {
            target.insert(name.clone(), value.clone());
        }
    }
}

fn parse(value: &RawValue) -> Option<Object> {
    value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten()
}

fn raw(object: &Object) -> Box<RawValue> {
    serde_json::value::to_raw_value(object).expect("a map of texts to JSON is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(payload: Option<&str>, patch: &str) -> String {
        let patch = MergePatch::new(&RawValue::from_string(patch.to_owned()).unwrap()).unwrap();
        let payload = payload.map(|payload| Payload::new(payload).unwrap());
        patch.apply(payload.as_ref()).unwrap().as_str().to_owned()
    }

    /// The cases of RFC 7396, appendix A, whose results are objects.
    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (payload, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(patched(Some(payload), patch), result, "{payload} {patch}");
        }
        assert_eq!(patched(None, r#"{"a":1,"b":null}"#), r#"{"a":1}"#);
    }

    #[test]
    fn what_a_patch_does_not_name_keeps_its_text() {
        let payload = r#"{"n": 123456789012345678901234567890, "f": 1.10}"#;
        assert_eq!(
            patched(Some(payload), r#"{"x":1}"#),
            r#"{"f":1.10,"n":123456789012345678901234567890,"x":1}"#
        );
    }

    #[test]
    fn only_an_object_patches_a_payload() {
        for patch in ["[1]", "null", "1", "\"a\""] {
            let patch = RawValue::from_string(patch.to_owned()).unwrap();
            assert_eq!(MergePatch::new(&patch).unwrap_err(), InvalidPoint::PayloadNotAnObject);
        }
    }
}
