//! Positions in a log and in time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number of a record in its log. The first record is [`Seq::OLDEST`], and there are no gaps; [`Seq::NONE`] is
/// the head of an empty log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// Before the first record.
    pub const NONE: Self = Self(0);
    /// The first record of every log.
    pub const OLDEST: Self = Self(1);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one. Does not overflow in practice: no machine lives long enough to write 2^64 records.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; [`Seq::NONE`] has none.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a log, random since its creation: a tenant that is deleted and created again has a new one, while a
/// tenant that is renamed or moved keeps its own, so no history has to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(Uuid);

impl LogId {
    /// The log with this id.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id's sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the erasures of a log. Every file that is derived from records names the generation that it was made at, and
/// one of an older generation may contain erased content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment: microseconds since 1970-01-01 UTC. Within a log, times never run backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many microseconds after 1970-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The time of the machine's clock. Not to be used in a fold, which takes its time from records.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }
}

/// RFC 3339 in UTC with microseconds, such as `2026-01-02T03:04:05.678901Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            // Beyond the year 9999, which only damaged data has. It must still be printable.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// The string is not a valid [`Timestamp`].
#[derive(Debug, thiserror::Error)]
#[error("it should be a moment of RFC 3339, such as 2026-01-02T03:04:05Z")]
pub struct InvalidTimestamp(#[source] jiff::Error);

/// Parses RFC 3339 with any offset. Digits beyond microseconds are ignored.
impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment: jiff::Timestamp = text.parse().map_err(InvalidTimestamp)?;
        Ok(Self(moment.as_microsecond()))
    }
}

/// The hash of a history: `chain(n) = BLAKE3(chain(n-1) ‖ covered bytes of n)`. Version 1 of the envelope covers the
/// record, version 2 its header.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The hash of the empty history of `log_id`. It differs between logs, so not even the first record of one log
    /// continues another.
    pub fn genesis(log_id: LogId) -> Self {
        Self(
            *blake3::Hasher::new_derive_key("vectorizer log genesis v1")
                .update(log_id.as_bytes())
                .finalize()
                .as_bytes(),
        )
    }

    /// The hash from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of the history that continues this one with a record of whose stored bytes the `pieces` are covered.
    #[must_use]
    pub fn continued_by(&self, pieces: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        for piece in pieces {
            hasher.update(piece);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// Lower-case hexadecimal.
impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChainHash {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes()))
    }
}

/// The end of a log: the number of its last record and the hash of its history. Two logs with equal heads have equal
/// histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last record, [`Seq::NONE`] in an empty log.
    pub seq: Seq,
    /// The chain hash of that record.
    pub chain: ChainHash,
}

impl Head {
    /// The head of an empty log.
    pub fn genesis(log_id: LogId) -> Self {
        Self { seq: Seq::NONE, chain: ChainHash::genesis(log_id) }
    }
}
