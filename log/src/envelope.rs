//! The envelope of a record: the stored bytes with their checksum and chain hash.
//!
//! The layouts are stated in [the crate's documentation](crate#the-format-on-disk).
//!
//! - `version1`, `version2`: the layouts.
//! - `facts`: what the header of version 2 says of a record; `handle`: the names of points there.
//! - `item`, `section`: the content of version 2; `body`: its stored form; `merkle`, `secrets`: what ties it to the
//!   header.
//! - `erasure`: the removal of content.

mod body;
mod erasure;
mod facts;
mod handle;
mod item;
mod merkle;
mod secrets;
mod section;
mod version1;
mod version2;

use self::version1::Version1;
use self::version2::Version2;
use crate::damage::DamageKind;
use crate::position::{ChainHash, LogId, Seq, Timestamp};
use crate::record::Record;

pub use self::body::StoredItem;
pub use self::erasure::{EraseError, erase};
pub use self::facts::{KnownEvent, PointFacts, PointSize, RecordFacts, RejectedFacts};
pub use self::handle::{HandleKey, PointHandle};
pub use self::merkle::MerkleRoot;
pub use self::secrets::RecordSecrets;
pub use self::section::{Section, SectionKind};
pub use self::version2::Header;

/// The largest body, and the largest header. Requests, and so records, have a smaller limit; this one keeps a damaged
/// length from allocating all memory.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 30;

/// The largest envelope: a fixed part, a header and a body.
pub(crate) const ENVELOPE_BYTES_MAX: usize = 64 + 2 * BODY_BYTES_MAX;

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Codec {
    /// Version 1: plain postcard. Version 2: plain items.
    Plain = 0,
}

impl TryFrom<u8> for Codec {
    type Error = DamageKind;

    fn try_from(tag: u8) -> Result<Self, DamageKind> {
        match tag {
            0 => Ok(Self::Plain),
            unknown => Err(DamageKind::Codec { found: unknown }),
        }
    }
}

/// The version of the envelopes that a log writes, with what it needs. Both versions can be read, in one log too.
#[derive(Debug)]
pub enum EnvelopeFormat {
    /// Version 1.
    Version1,
    /// Version 2.
    Version2 {
        /// The log's key. It is always the same for one log.
        handle_key: HandleKey,
        /// The secrets of the records to come.
        secrets: RecordSecrets,
    },
}

impl EnvelopeFormat {
    /// Encodes `record` into an envelope that continues `previous`. `None` if the envelope is too large to be read
    /// back.
    pub(crate) fn seal(&mut self, record: &Record, previous: &ChainHash) -> Option<(Vec<u8>, ChainHash)> {
        match self {
            Self::Version1 => version1::seal(record, previous),
            Self::Version2 { handle_key, secrets } => {
                version2::seal(record, previous, handle_key, &secrets.next())
            }
        }
    }
}

/// A verified envelope: its checksum is valid, and of version 2 the items are those of the header. Its place in the
/// chain is verified by a [`Verifier`](crate::Verifier).
#[derive(Debug)]
pub struct Envelope<'a>(Layout<'a>);

#[derive(Debug)]
enum Layout<'a> {
    /// The whole record: nothing else says which one it is.
    Version1(Version1<'a>, Record),
    Version2(Version2<'a>),
}

impl<'a> Envelope<'a> {
    /// Checks everything about `stored` that does not depend on other records.
    pub fn verify(stored: &'a [u8]) -> Result<Self, DamageKind> {
        Ok(Self(match stored.first() {
            Some(&version1::VERSION) => {
                let envelope = Version1::verify(stored)?;
                let record = envelope.record()?;
                Layout::Version1(envelope, record)
            }
            Some(&version2::VERSION) => Layout::Version2(Version2::verify(stored)?),
            Some(&found) => return Err(DamageKind::Version { found }),
            None => return Err(DamageKind::Length { stored: 0, stated: 1 }),
        }))
    }

    /// The log that the record belongs to.
    pub fn log_id(&self) -> LogId {
        match &self.0 {
            Layout::Version1(_, record) => record.log_id,
            Layout::Version2(envelope) => envelope.header.facts.log_id,
        }
    }

    /// The number of the record.
    pub fn seq(&self) -> Seq {
        match &self.0 {
            Layout::Version1(_, record) => record.seq,
            Layout::Version2(envelope) => envelope.header.facts.seq,
        }
    }

    /// When the record was appended.
    pub fn at(&self) -> Timestamp {
        match &self.0 {
            Layout::Version1(_, record) => record.at,
            Layout::Version2(envelope) => envelope.header.facts.at,
        }
    }

    /// The chain hash in the envelope.
    pub fn chain(&self) -> ChainHash {
        match &self.0 {
            Layout::Version1(envelope, _) => envelope.chain(),
            Layout::Version2(envelope) => envelope.chain(),
        }
    }

    /// Whether the chain hash continues `previous`.
    pub fn continues(&self, previous: &ChainHash) -> bool {
        match &self.0 {
            Layout::Version1(envelope, _) => envelope.continues(previous),
            Layout::Version2(envelope) => envelope.continues(previous),
        }
    }

    /// The header. Version 1 has none.
    pub fn header(&self) -> Option<&Header> {
        match &self.0 {
            Layout::Version1(..) => None,
            Layout::Version2(envelope) => Some(&envelope.header),
        }
    }

    /// The facts of the record. They are in the header; of version 1 they are computed with the log's key.
    pub fn facts(&self, key: &HandleKey) -> RecordFacts {
        match &self.0 {
            Layout::Version1(_, record) => RecordFacts::of(record, key),
            Layout::Version2(envelope) => envelope.header.facts.clone(),
        }
    }

    /// The items, in the order of the format: the request, and the content of the event. Version 1 has none.
    pub fn items(&self) -> Vec<StoredItem<'a>> {
        match &self.0 {
            Layout::Version1(..) => Vec::new(),
            Layout::Version2(envelope) => envelope.body.items(),
        }
    }

    /// The record.
    ///
    /// # Errors
    ///
    /// [`DamageKind::Erased`] if items were erased, and other kinds if the items are not those of the header's event.
    pub fn into_record(self) -> Result<Record, DamageKind> {
        match self.0 {
            Layout::Version1(_, record) => Ok(record),
            Layout::Version2(envelope) => envelope.record(),
        }
    }
}

/// The bytes at `at`, of which there are enough.
fn bytes_at<const BYTES: usize>(stored: &[u8], at: usize) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes.copy_from_slice(&stored[at..at + BYTES]);
    bytes
}

fn u32_at(stored: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(stored, at))
}
