//! Documents: the points of a collection with texts.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::point::{InvalidPoint, Payload, Point, PointId, Vector};

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

/// A point of a collection with texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The id, unique within the collection.
    pub id: PointId,
    /// The vector, exactly if the collection has a dimension.
    pub vector: Option<Vector>,
    /// The payload.
    pub payload: Option<Payload>,
    /// The text, always if the collection has no dimension.
    pub text: Option<Text>,
}

impl From<Point> for Document {
    fn from(Point { id, vector, payload }: Point) -> Self {
        Self { id, vector: Some(vector), payload, text: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
