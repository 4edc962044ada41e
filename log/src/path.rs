//! Paths of payload values.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A path in payloads, of 1 to [`PayloadPath::BYTES_MAX`] bytes.
///
/// Paths are canonical: the names of the members, separated by dots, each in double quotes only if it has to be. So two
/// paths are equal if and only if they lead to the same values. The log does not parse them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct PayloadPath(Box<str>);

/// The string is not a valid [`PayloadPath`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the path has {bytes} bytes, it must have 1 to {max}", max = PayloadPath::BYTES_MAX)]
pub struct InvalidPayloadPath {
    /// The length of the string in bytes.
    pub bytes: usize,
}

impl PayloadPath {
    /// The longest path, in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// The path as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<str>> for PayloadPath {
    type Error = InvalidPayloadPath;

    fn try_from(text: Box<str>) -> Result<Self, Self::Error> {
        if (1..=Self::BYTES_MAX).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(InvalidPayloadPath { bytes: text.len() })
        }
    }
}

/// Paths are ordered as their strings are.
impl Borrow<str> for PayloadPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PayloadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_length_wherever_it_comes_from() {
        let path = |bytes: usize| PayloadPath::try_from(Box::from("p".repeat(bytes)));
        assert_eq!(path(0), Err(InvalidPayloadPath { bytes: 0 }));
        assert_eq!(path(1025), Err(InvalidPayloadPath { bytes: 1025 }));
        for bytes in [1, 1024] {
            let stored = postcard::to_stdvec(&path(bytes).unwrap()).unwrap();
            assert_eq!(
                postcard::from_bytes(&stored),
                path(bytes).map_err(|_| postcard::Error::SerdeDeCustom)
            );
        }
        for bytes in [0, 1025] {
            let stored = postcard::to_stdvec(&"p".repeat(bytes)).unwrap();
            assert!(postcard::from_bytes::<PayloadPath>(&stored).is_err());
        }
    }
}
