//! Canonical JSON: without white space, and with the fields of objects sorted by name. Numbers stay as they were
//! written.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::answer::Json;
use super::failure::Failure;

/// JSON that is nested deeper stays as it was written. Operations reject it anyway.
const DEPTH_MAX: usize = 64;

/// Returns the canonical form.
pub(super) fn canonicalize(json: &RawValue) -> Result<Json, Failure> {
    let mut out = Vec::with_capacity(json.get().len());
    write(json, 0, &mut out);
    let text = String::from_utf8(out).map_err(|error| Failure::internal(&error))?;
    RawValue::from_string(text).map_err(|error| Failure::internal(&error))
}

/// Returns the canonical form of an object with these fields, which are sorted by name.
pub(super) fn canonical_object<'a>(
    fields: impl Iterator<Item = (&'a str, &'a RawValue)>,
) -> Result<Vec<u8>, Failure> {
    // Usually there are few and small ones beside a vector, or none.
    let mut out = Vec::with_capacity(64);
    out.push(b'{');
    for (number, (name, value)) in fields.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, name).map_err(|error| Failure::internal(&error))?;
        out.push(b':');
        write(value, 1, &mut out);
    }
    out.push(b'}');
    Ok(out)
}

fn write(json: &RawValue, depth: usize, out: &mut Vec<u8>) {
    let text = json.get();
    let known = match text.as_bytes().first() {
        Some(b'{') if depth < DEPTH_MAX => write_object(text, depth, out),
        Some(b'[') if depth < DEPTH_MAX => write_array(text, depth, out),
        Some(b'"') => write_text(text, out),
        _ => None,
    };
    if known.is_none() {
        out.extend_from_slice(text.as_bytes());
    }
}

fn write_object(text: &str, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let Fields(mut fields) = serde_json::from_str(text).ok()?;
    // Fields with the same name keep their order.
    fields.sort_by(|(left, _), (right, _)| left.cmp(right));
    out.push(b'{');
    for (number, (name, value)) in fields.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name).ok()?;
        out.push(b':');
        write(value, depth + 1, out);
    }
    out.push(b'}');
    Some(())
}

fn write_array(text: &str, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    // The numbers of a vector are many, and need no parsing.
    let is_of_a_number =
        |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' | b',' | b']');
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    if text.as_bytes().iter().skip(1).all(|byte| is_of_a_number(byte) || is_space(byte)) {
        out.extend(text.bytes().filter(|byte| !is_space(byte)));
        return Some(());
    }
    let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    out.push(b'[');
    for (number, value) in values.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write(value, depth + 1, out);
    }
    out.push(b']');
    Some(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let text: String = serde_json::from_str(text).ok()?;
    serde_json::to_writer(out, &text).ok()
}

/// The fields of an object in their order. Names may repeat.
pub(super) struct Fields<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(InOrder).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_json_has_one_canonical_form_and_numbers_stay_as_written() {
        let canonical = |text: &str| {
            canonicalize(&RawValue::from_string(text.to_owned()).unwrap()).unwrap().get().to_owned()
        };
        let expected = r#"{"a":[1.10,{"x":null,"y":"é\n"}],"b":9007199254740993,"b":1e400}"#;
        assert_eq!(
            canonical(r#"{ "b" : 9007199254740993, "a":[ 1.10 , {"y":"\u00e9\n","x":null}], "b":1e400 }"#),
            expected
        );
        assert_eq!(canonical(expected), expected);
        assert_eq!(canonical("[ 1.10,\n-2E+5 ,3 ]"), "[1.10,-2E+5,3]");
        assert_eq!(canonical("[ ]"), "[]");
        let fields: std::collections::BTreeMap<&str, Box<RawValue>> =
            serde_json::from_str(r#"{ "b" : 9007199254740993, "a":[ 1.10 , {"y":"\u00e9\n","x":null}] }"#)
                .unwrap();
        let object = canonical_object(fields.iter().map(|(name, value)| (*name, &**value))).unwrap();
        assert_eq!(object, canonical(&serde_json::to_string(&fields).unwrap()).as_bytes());
        let deep = format!("{}{}", "[ ".repeat(1_000), "]".repeat(1_000));
        assert!(canonical(&deep).starts_with(&"[".repeat(64)));
        assert_eq!(canonical(r#""\ud800""#), r#""\ud800""#);
    }
}
