//! Incarnations of a tenant id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One life of a tenant id, from creation to deletion. The owner of the ids assigns it at creation, so a tenant that
/// is deleted and created again is a different one, even if the deletion was missed. Of two incarnations of an id,
/// the later one is greater, byte by byte: it is a UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// The incarnation with this id.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The incarnation that began this many milliseconds after 1970-01-01 UTC, with random bits that distinguish it
    /// from others of that moment.
    pub fn at_millis(milliseconds: u64, random: &[u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(milliseconds, random).into_uuid())
    }

    /// When it began, by its id: milliseconds after 1970-01-01 UTC.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_u128() >> 80).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Incarnation {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_incarnation_is_greater_and_has_its_time() {
        let (first, second) = (Incarnation::at_millis(7, &[0xff; 10]), Incarnation::at_millis(8, &[0; 10]));
        assert!(first < second && first.to_string() < second.to_string());
        assert_eq!((first.millis(), second.millis()), (7, 8));
        assert_eq!(second.to_string().parse::<Incarnation>().unwrap(), second);
    }
}
