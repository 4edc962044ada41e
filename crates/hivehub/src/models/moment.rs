//! A moment as RFC 3339.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use vectorizer_log::Timestamp;

/// Writes the moment.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// Reads the moment.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<E: Error>(text: &str) -> Result<Timestamp, E> {
    text.parse().map_err(E::custom)
}

/// A moment as RFC 3339, or null.
pub mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use vectorizer_log::Timestamp;

    /// Writes the moment, or null.
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(|at| at.to_string()).serialize(serializer)
    }

    /// Reads the moment, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| super::parse(&text)).transpose()
    }
}
