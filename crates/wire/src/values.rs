//! Vectors, payloads and filters in requests, checked while they are parsed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use vectorizer_index::Filter;
use vectorizer_json::{Plain, Unreadable};
use vectorizer_log::{DenseVector, Dimension, InvalidPoint, Payload, Vector};
use vectorizer_scheduling::yield_point;
use vectorizer_service::Error;

/// A vector in a request: an array of numbers, or base64 of little-endian f32.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorInput {
    /// Numbers.
    Numbers(Vec<f32>),
    /// The decoded bytes of base64.
    Bytes(Vec<u8>),
}

impl VectorInput {
    /// Checks that all numbers are finite, and that there are not more than the largest dimension.
    pub fn into_vector(self) -> Result<Vector, Error> {
        let vector = match self {
            Self::Numbers(numbers) => DenseVector::new(numbers),
            Self::Bytes(bytes) => DenseVector::from_le_bytes(&bytes),
        };
        Ok(Vector::Dense(vector.map_err(Error::from)?))
    }
}

impl<'de> Deserialize<'de> for VectorInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumbersOrBase64)
    }
}

struct NumbersOrBase64;

impl<'de> Visitor<'de> for NumbersOrBase64 {
    type Value = VectorInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers or base64 of little-endian f32")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<VectorInput, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = numbers.next_element()? {
            values.push(value);
            if values.len() > Dimension::MAX as usize {
                return Err(de::Error::custom(format_args!("more than {} numbers", Dimension::MAX)));
            }
        }
        // Yield between two vectors.
        yield_point();
        Ok(VectorInput::Numbers(values))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<VectorInput, E> {
        let bytes = BASE64.decode(text);
        bytes.map(VectorInput::Bytes).map_err(|_| E::custom("not base64 (standard alphabet, padded)"))
    }
}

/// Deserializes an optional field that must not be null. A client that sends null probably meant to send a value, so it
/// gets an error.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Parses a payload; `None` for null.
pub fn payload(json: Option<Box<RawValue>>, depth_max: usize) -> Result<Option<Payload>, Error> {
    let Some(json) = json.filter(|json| json.get() != "null") else { return Ok(None) };
    expect_plain(&json, depth_max)?;
    Ok(Some(Payload::from_raw(json)?))
}

/// Parses a filter; `None` for null.
pub fn filter(json: Option<&RawValue>, depth_max: usize) -> Result<Option<Filter>, Error> {
    let Some(json) = json.filter(|json| json.get() != "null") else { return Ok(None) };
    Ok(Some(Filter::parse(json.get(), depth_max)?))
}

/// Rejects JSON that is nested too deep, and JSON that strict parsers reject: lone surrogates, and numbers that do not
/// fit in f64.
pub fn expect_plain(json: &RawValue, depth_max: usize) -> Result<(), Error> {
    if json.get().len() > Payload::BYTES_MAX {
        return Err(InvalidPoint::PayloadTooLarge { bytes: json.get().len() }.into());
    }
    expect_depth(json.get(), depth_max)?;
    let Plain = vectorizer_json::read(json.get().as_bytes()).map_err(|unreadable| match unreadable {
        Unreadable::NotJson(why) => Error::invalid("invalid-payload", format!("payload: not JSON: {why}")),
        Unreadable::Wrong(wrong) => Error::invalid("invalid-payload", wrong.of("payload").to_string()),
    })?;
    Ok(())
}

/// Rejects JSON that is nested deeper than `depth_max`.
fn expect_depth(json: &str, depth_max: usize) -> Result<(), Error> {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if deepest <= depth_max {
        return Ok(());
    }
    let detail = format!("nesting is {deepest} deep, at most {depth_max} is allowed");
    Err(Error::invalid("nested-too-deep", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(expect_depth(r#"{"a":[1,{"b":"]]]}}}[[[[{{\"[[["}]}"#, 3).is_ok());
        assert!(expect_depth(r#"{"a":[1,{"b":2}]}"#, 2).is_err());
        assert!(expect_depth(&format!("{}{}", "[".repeat(100), "]".repeat(100)), 99).is_err());
    }

    #[test]
    fn a_vector_is_the_same_as_numbers_and_as_base64() {
        let numbers: VectorInput = serde_json::from_str("[1, -2.5, 1e-40]").unwrap();
        let text = BASE64.encode(vectorizer_log::vector_le_bytes(&[1.0, -2.5, 1e-40]));
        let bytes: VectorInput = serde_json::from_str(&format!("\"{text}\"")).unwrap();
        assert_eq!(numbers.into_vector().unwrap(), bytes.into_vector().unwrap());
        for bad in ["[1, null]", "[\"1\"]", "\"?\"", "5", "{}", "true"] {
            assert!(serde_json::from_str::<VectorInput>(bad).is_err(), "{bad}");
        }
        for bad in ["[1e39]", "[-1e300]"] {
            assert!(serde_json::from_str::<VectorInput>(bad).unwrap().into_vector().is_err(), "{bad}");
        }
    }
}
