//! Enumerations that a later version of the contract may extend.

use serde::{Deserialize, Serialize};

/// A word of an enumeration that a later version of the contract may have extended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Extensible<T> {
    /// A word this server knows.
    Known(T),
    /// A word that this server does not know.
    Unknown(String),
}

impl<T> Extensible<T> {
    /// The word, if this server knows it.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(word) => Some(word),
            Self::Unknown(_) => None,
        }
    }
}
