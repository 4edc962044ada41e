//! Which of the tenants that have had an id, one after the other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One life of a tenant's id. Whoever owns the ids chooses it when the tenant is created, so a tenant that is
/// deleted and created again is another one, whatever was heard of that in between. Of two lives of one id the
/// later one is the greater, byte by byte: a UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// The life with this id.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The one that began so many milliseconds after 1970-01-01 UTC, told from others of that moment by
    /// `random`.
    pub fn at_millis(milliseconds: u64, random: &[u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(milliseconds, random).into_uuid())
    }

    /// When it began, as it says itself: milliseconds after 1970-01-01 UTC.
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
    fn the_later_of_two_lives_is_the_greater_and_says_when_it_began() {
        let (first, second) = (Incarnation::at_millis(7, &[0xff; 10]), Incarnation::at_millis(8, &[0; 10]));
        assert!(first < second && first.to_string() < second.to_string());
        assert_eq!((first.millis(), second.millis()), (7, 8));
        assert_eq!(second.to_string().parse::<Incarnation>().unwrap(), second);
    }
}
