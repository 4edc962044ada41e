//! A moment as RFC 3339.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use vectorizer_log::Timestamp;

// The signature is serde's.
#[expect(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<E: Error>(text: &str) -> Result<Timestamp, E> {
    text.parse().map_err(E::custom)
}

/// A moment as RFC 3339, or null.
pub(crate) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use vectorizer_log::Timestamp;

    // The signature is serde's.
    #[expect(clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(|at| at.to_string()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| super::parse(&text)).transpose()
    }
}
