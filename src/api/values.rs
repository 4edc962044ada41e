//! The values that requests are made of, checked on their way in.

use std::fmt;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use vectorizer_index::{Filter, Key};
use vectorizer_log::{
    CollectionName, DenseVector, Dimension, InvalidPoint, Payload, PayloadPath, PointId, TenantId, Vector,
};

use super::App;
use super::problem::Problem;
use crate::json::{self, Plain, Unreadable};
use crate::scheduling::pause;

/// The most results or vectors one answer holds.
const LIMIT_MAX: u64 = 1_000;

/// A `limit`, 1 to 1,000.
pub(super) fn limit(limit: Option<u64>, default: usize) -> Result<usize, Problem> {
    match limit {
        None => Ok(default),
        Some(limit @ 1..=LIMIT_MAX) => Ok(usize::try_from(limit).unwrap_or(default)),
        Some(other) => {
            Err(Problem::invalid("invalid-limit", format!("limit is {other}, it must be 1 to {LIMIT_MAX}")))
        }
    }
}

/// The collection that a path names.
pub(super) struct InCollection(pub CollectionName);

impl FromRequestParts<App> for InCollection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(name) = path::<String>(parts, app).await?;
        Ok(Self(name.parse()?))
    }
}

/// The path of payloads that a path names, and its collection.
pub(super) struct OfIndex(pub CollectionName, pub PayloadPath);

impl FromRequestParts<App> for OfIndex {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path((name, path)) = path::<(String, String)>(parts, app).await?;
        Ok(Self(name.parse()?, Key::index_path(&path)?))
    }
}

/// The tenant that a path names.
pub(super) struct OfTenant(pub TenantId);

impl FromRequestParts<App> for OfTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = path::<String>(parts, app).await?;
        Ok(Self(tenant(&id, "the tenant in the path")?))
    }
}

/// A tenant's id, found in `place`.
pub(super) fn tenant(text: &str, place: &str) -> Result<TenantId, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("invalid-tenant", format!("{place} is {text:?}, which is no tenant id"))
    })
}

/// The vector that a path names, and its collection.
pub(super) struct OfVector(pub CollectionName, pub PointId);

impl FromRequestParts<App> for OfVector {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(VectorPath { name, id }) = path(parts, app).await?;
        let implied = parts.extensions.get::<ImpliedId>().map(|implied| implied.0.to_owned());
        let id = id.or(implied).ok_or_else(Problem::internal)?;
        Ok(Self(name.parse()?, PointId::text(id)?))
    }
}

#[derive(Deserialize)]
struct VectorPath {
    name: String,
    /// Missing where the route implies it.
    id: Option<String>,
}

/// The id of the vector that a path leads to without naming it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImpliedId(pub &'static str);

async fn path<T: de::DeserializeOwned + Send>(parts: &mut Parts, app: &App) -> Result<Path<T>, Problem> {
    Path::from_request_parts(parts, app)
        .await
        .map_err(|_| Problem::malformed("invalid-path", "the path is not UTF-8 once it is percent-decoded"))
}

/// A vector as it is sent: an array of numbers, or base64 of little-endian f32.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum VectorInput {
    /// Numbers.
    Numbers(Vec<f32>),
    /// The bytes that base64 stood for.
    Bytes(Vec<u8>),
}

impl VectorInput {
    /// The vector, if all its numbers are finite and there are not more than any collection takes.
    pub(super) fn into_vector(self) -> Result<Vector, Problem> {
        let vector = match self {
            Self::Numbers(numbers) => DenseVector::new(numbers),
            Self::Bytes(bytes) => DenseVector::from_le_bytes(&bytes),
        };
        Ok(Vector::Dense(vector.map_err(Problem::from)?))
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
        // Between two vectors of many.
        pause();
        Ok(VectorInput::Numbers(values))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<VectorInput, E> {
        let bytes = BASE64.decode(text);
        bytes.map(VectorInput::Bytes).map_err(|_| E::custom("not base64 (standard alphabet, padded)"))
    }
}

/// A field that may be left out, and is none of those that are null then: half of what was meant to be there is
/// nothing to guess about.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A payload, or `None` for null.
pub(super) fn payload(json: Option<Box<RawValue>>, depth_max: usize) -> Result<Option<Payload>, Problem> {
    let Some(json) = json.filter(|json| json.get() != "null") else { return Ok(None) };
    expect_plain(&json, depth_max)?;
    Ok(Some(Payload::from_raw(json)?))
}

/// A filter, or `None` for null.
pub(super) fn filter(json: Option<&RawValue>, depth_max: usize) -> Result<Option<Filter>, Problem> {
    let Some(json) = json.filter(|json| json.get() != "null") else { return Ok(None) };
    Ok(Some(Filter::parse(json.get(), depth_max)?))
}

/// Refuses JSON that is nested too deep, or that strict readers refuse: lone surrogates, and numbers
/// beyond f64.
pub(super) fn expect_plain(json: &RawValue, depth_max: usize) -> Result<(), Problem> {
    if json.get().len() > Payload::BYTES_MAX {
        return Err(InvalidPoint::PayloadTooLarge { bytes: json.get().len() }.into());
    }
    expect_depth(json.get(), depth_max)?;
    let Plain = json::read(json.get().as_bytes()).map_err(|unreadable| match unreadable {
        Unreadable::NotJson(why) => Problem::invalid("invalid-payload", format!("payload: not JSON: {why}")),
        Unreadable::Wrong(wrong) => Problem::invalid("invalid-payload", wrong.of("payload").to_string()),
    })?;
    Ok(())
}

/// Refuses JSON that is nested deeper than `depth_max`.
fn expect_depth(json: &str, depth_max: usize) -> Result<(), Problem> {
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
    Err(Problem::invalid("nested-too-deep", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_and_not_what_strings_hold() {
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
