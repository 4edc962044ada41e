//! Points: an id, a vector and optionally a payload.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Why a value is not valid in a point.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPoint {
    /// The id is empty.
    #[error("an id must not be empty")]
    IdEmpty,
    /// The id is longer than [`TextId::BYTES_MAX`].
    #[error("an id has {bytes} bytes, at most {max} are allowed", max = TextId::BYTES_MAX)]
    IdTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The id has a control character, which would corrupt logs and terminals.
    #[error("id {id:?} has a control character")]
    IdControlCharacter {
        /// The id.
        id: String,
    },
    /// A component is NaN or infinite, which no metric is defined for.
    #[error("component {position} of the vector is {value}, only finite numbers are allowed")]
    NotFinite {
        /// The position of the component, from zero.
        position: usize,
        /// `NaN`, `inf` or `-inf`.
        value: String,
    },
    /// The length in bytes is not a multiple of four.
    #[error("a vector of {bytes} bytes is not a whole number of f32")]
    RaggedVector {
        /// The length.
        bytes: usize,
    },
    /// The payload is JSON, but not an object.
    #[error("a payload must be a JSON object")]
    PayloadNotAnObject,
    /// The payload is longer than [`Payload::BYTES_MAX`].
    #[error("a payload has {bytes} bytes, at most {max} are allowed", max = Payload::BYTES_MAX)]
    PayloadTooLarge {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The payload is not JSON.
    #[error("a payload is not valid JSON")]
    PayloadNotJson,
    /// The text is empty.
    #[error("a text must not be empty")]
    TextEmpty,
    /// The text is longer than [`Text::BYTES_MAX`].
    #[error("a text has {bytes} bytes, at most {max} are allowed", max = Text::BYTES_MAX)]
    TextTooLarge {
        /// Its length in bytes.
        bytes: usize,
    },
}

/// The id of a point within its collection. An enum, so that other kinds of ids can be added to the format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PointId {
    /// A string chosen by the tenant.
    Text(TextId),
}

impl PointId {
    /// A string id.
    pub fn text(text: impl Into<Box<str>>) -> Result<Self, InvalidPoint> {
        TextId::new(text).map(Self::Text)
    }

    /// The id as the string that the tenant knows.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(id) => &id.0,
        }
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A string id: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct TextId(Box<str>);

impl TextId {
    /// The longest id, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// Checks that `text` is a valid id.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidPoint> {
        let text = text.into();
        if text.is_empty() {
            Err(InvalidPoint::IdEmpty)
        } else if text.len() > Self::BYTES_MAX {
            Err(InvalidPoint::IdTooLong { bytes: text.len() })
        } else if text.chars().any(char::is_control) {
            Err(InvalidPoint::IdControlCharacter { id: text.into() })
        } else {
            Ok(Self(text))
        }
    }
}

impl TryFrom<Box<str>> for TextId {
    type Error = InvalidPoint;

    fn try_from(text: Box<str>) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

/// A vector, exactly as it was sent. An enum, so that sparse or quantized vectors can be added to the format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Vector {
    /// A number for every dimension.
    Dense(DenseVector),
}

impl Vector {
    /// A dense vector.
    pub fn dense(values: impl Into<Box<[f32]>>) -> Result<Self, InvalidPoint> {
        DenseVector::new(values).map(Self::Dense)
    }

    /// The number of dimensions.
    pub fn dimension(&self) -> usize {
        self.as_dense().len()
    }

    /// The numbers of a dense vector.
    pub fn as_dense(&self) -> &[f32] {
        match self {
            Self::Dense(vector) => &vector.0,
        }
    }
}

/// Finite `f32` numbers. On disk they are their little-endian bytes, so that decoding is a copy and preserves every
/// bit.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseVector(Box<[f32]>);

impl DenseVector {
    /// Checks that every number is finite.
    pub fn new(values: impl Into<Box<[f32]>>) -> Result<Self, InvalidPoint> {
        let values = values.into();
        // Without an end at the first one, so that many numbers are checked at once.
        if values.iter().fold(true, |all, value| all & value.is_finite()) {
            return Ok(Self(values));
        }
        let position = values.iter().position(|value| !value.is_finite()).unwrap_or_default();
        Err(InvalidPoint::NotFinite { position, value: values[position].to_string() })
    }

    /// Decodes little-endian `f32` bytes.
    pub fn from_le_bytes(bytes: &[u8]) -> Result<Self, InvalidPoint> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(InvalidPoint::RaggedVector { bytes: bytes.len() });
        }
        Self::new(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect::<Box<[f32]>>())
    }
}

/// The little-endian bytes of `values`: the encoding of a vector on disk and, as base64, in JSON.
pub fn vector_le_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 4);
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

impl Serialize for DenseVector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&vector_le_bytes(&self.0))
    }
}

impl<'de> Deserialize<'de> for DenseVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = DenseVector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the little-endian bytes of finite f32 numbers")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<DenseVector, E> {
                DenseVector::from_le_bytes(bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A JSON object, kept as the text that was sent: numbers of any size and the order of keys are preserved. A clone
/// shares the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Arc<str>);

impl Payload {
    /// The largest payload, in bytes of JSON.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// Checks that `json` is one JSON object of at most [`Payload::BYTES_MAX`].
    pub fn new(json: impl Into<Box<str>>) -> Result<Self, InvalidPoint> {
        let json: Box<RawValue> =
            RawValue::from_string(json.into().into()).map_err(|_| InvalidPoint::PayloadNotJson)?;
        Self::from_raw(json)
    }

    /// Like [`new`](Self::new), for text that is known to be JSON.
    pub fn from_raw(json: Box<RawValue>) -> Result<Self, InvalidPoint> {
        let bytes = json.get().len();
        if !json.get().starts_with('{') {
            Err(InvalidPoint::PayloadNotAnObject)
        } else if bytes > Self::BYTES_MAX {
            Err(InvalidPoint::PayloadTooLarge { bytes })
        } else {
            Ok(Self(Box::<str>::from(json).into()))
        }
    }

    /// A payload from the text of [`as_str`](Self::as_str); `None` if it cannot be one.
    pub fn restored(json: &str) -> Option<Self> {
        (json.starts_with('{') && json.len() <= Self::BYTES_MAX).then(|| Self(json.into()))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The logical size of the payload in bytes.
    pub fn logical_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Not validated again: it was when it was written.
impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<str>::deserialize(deserializer).map(|json| Self(json.into()))
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The text of a point, as it was written: non-empty Unicode. A clone shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Arc<str>);

impl Text {
    /// The largest text, in bytes of UTF-8.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// Checks that `text` has 1 to [`Text::BYTES_MAX`] bytes.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidPoint> {
        let text = text.into();
        match text.len() {
            0 => Err(InvalidPoint::TextEmpty),
            1..=Self::BYTES_MAX => Ok(Self(text)),
            bytes => Err(InvalidPoint::TextTooLarge { bytes }),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The logical size of the text in bytes.
    pub fn logical_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Not validated again: it was when it was written.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<str>::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A point of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The id, unique within the collection.
    pub id: PointId,
    /// The vector.
    pub vector: Vector,
    /// The payload.
    pub payload: Option<Payload>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_numbers_become_a_vector() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let refused = DenseVector::new(vec![0.0, bad]).unwrap_err();
            assert_eq!(refused, InvalidPoint::NotFinite { position: 1, value: bad.to_string() });
        }
        assert_eq!(DenseVector::from_le_bytes(&[0; 5]).unwrap_err(), InvalidPoint::RaggedVector { bytes: 5 });
    }

    #[test]
    fn a_payload_is_one_object_and_keeps_its_text() {
        assert_eq!(Payload::new("[1]").unwrap_err(), InvalidPoint::PayloadNotAnObject);
        assert_eq!(Payload::new("{} {}").unwrap_err(), InvalidPoint::PayloadNotJson);
        assert_eq!(Payload::new("{\"a\":").unwrap_err(), InvalidPoint::PayloadNotJson);
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(Payload::BYTES_MAX));
        assert!(matches!(Payload::new(large).unwrap_err(), InvalidPoint::PayloadTooLarge { .. }));
        let text = "{\"z\":123456789012345678901234567890, \"a\":1.10}";
        assert_eq!(Payload::new(text).unwrap().as_str(), text);
    }

    #[test]
    fn a_text_has_one_byte_to_64_kib_of_any_characters() {
        assert_eq!(Text::new("").unwrap_err(), InvalidPoint::TextEmpty);
        let large = "ä".repeat(Text::BYTES_MAX / 2);
        assert_eq!(Text::new(large.as_str()).unwrap().logical_bytes(), Text::BYTES_MAX as u64);
        let bytes = Text::BYTES_MAX + 1;
        assert_eq!(Text::new(large + "a").unwrap_err(), InvalidPoint::TextTooLarge { bytes });
        assert_eq!(Text::new("\0\u{1b}[31m\n\u{fffd}").unwrap().as_str(), "\0\u{1b}[31m\n\u{fffd}");
    }
}
