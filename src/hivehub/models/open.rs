//! Words that may have grown.

use serde::{Deserialize, Serialize};

/// A word of an enumeration that may have grown since this server was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Open<T> {
    /// A word this server knows.
    Known(T),
    /// One it does not.
    Unknown(String),
}

impl<T> Open<T> {
    /// The word, if this server knows it.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(word) => Some(word),
            Self::Unknown(_) => None,
        }
    }
}
