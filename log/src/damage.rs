//! Damage of a stored log.

use std::fmt;

use crate::position::{ChainHash, Head, LogId, Seq};

/// A record at or below the acknowledged head that is missing or wrong. Damage is never skipped and never repaired
/// silently.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// The first affected record.
    pub seq: Seq,
    /// What is wrong with it.
    pub kind: DamageKind,
}

impl Damage {
    /// No record exists at `seq` or after it.
    pub(crate) fn missing(seq: Seq) -> Self {
        Self { seq, kind: DamageKind::Missing { found: None } }
    }

    /// The record at `found` is not the one that was acknowledged there.
    pub(crate) fn other_history(found: Head, acknowledged: Head) -> Self {
        let kind = DamageKind::OtherHistory { found: found.chain, acknowledged: acknowledged.chain };
        Self { seq: found.seq, kind }
    }
}

impl std::error::Error for Damage {}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage at seq {}: {}", self.seq, self.kind)
    }
}

/// The kinds of damage.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DamageKind {
    /// No part of the record exists.
    #[error("the record is missing (the next one found is {found})", found = found.map_or_else(|| "none".to_owned(), |seq| seq.to_string()))]
    Missing {
        /// The next record that exists.
        found: Option<Seq>,
    },
    /// A part of the record is missing, or another one is in its place.
    #[error("part {expected} of the record is missing (found part {found})")]
    Part {
        /// The expected part.
        expected: u32,
        /// The part that was found.
        found: u32,
    },
    /// The record ends before its last part.
    #[error("the record ends before part {expected}")]
    Unfinished {
        /// The next part.
        expected: u32,
    },
    /// The record is whole, but its commit is not.
    #[error("the commit it belongs to is unfinished")]
    CommitUnfinished,
    /// A key that is not that of a part of this record.
    #[error("a key of {bytes} bytes is not that of a part")]
    Key {
        /// The length of the key in bytes.
        bytes: usize,
    },
    /// The mark of a part is unknown.
    #[error("part mark {found} is unknown")]
    Mark {
        /// The mark.
        found: u8,
    },
    /// The file of bodies ends before the body of the record does, or does not exist.
    #[error("its body of {bytes} bytes at offset {offset} is missing: the file of bodies ends at {end}")]
    BodyMissing {
        /// The offset of the body.
        offset: u64,
        /// The length of the body in bytes.
        bytes: usize,
        /// The length of the file in bytes; zero if it does not exist.
        end: u64,
    },
    /// The bytes in the file of bodies are not those that were written.
    #[error("its body at offset {offset} of the file of bodies does not have the hash that was stored")]
    Body {
        /// The offset of the body.
        offset: u64,
    },
    /// The envelope has another length than its header states.
    #[error("{stored} bytes are stored, {stated} are stated")]
    Length {
        /// The stored length in bytes.
        stored: usize,
        /// The stated length in bytes.
        stated: usize,
    },
    /// The format version is unknown.
    #[error("format version {found} is unknown")]
    Version {
        /// The version.
        found: u8,
    },
    /// The codec is unknown.
    #[error("codec {found} is unknown")]
    Codec {
        /// The codec.
        found: u8,
    },
    /// The bytes are not those that were written.
    #[error("the checksum does not match")]
    Checksum,
    /// The body is not a record.
    #[error("the record cannot be decoded: {source}")]
    Undecodable {
        /// The error of the decoder.
        source: postcard::Error,
    },
    /// The body has more bytes than its record.
    #[error("{bytes} bytes follow the record")]
    TrailingBytes {
        /// How many bytes follow.
        bytes: usize,
    },
    /// The record belongs to another log.
    #[error("the record belongs to log {found}")]
    ForeignLog {
        /// The log it was written to.
        found: LogId,
    },
    /// The record belongs to another place in this log.
    #[error("the record is number {found}")]
    Displaced {
        /// The number it was written with.
        found: Seq,
    },
    /// The record does not continue the previous one.
    #[error("the chain hash does not continue the previous record")]
    Chain,
    /// The history is consistent, but is not the acknowledged one.
    #[error("the history ends in {found}, acknowledged was {acknowledged}")]
    OtherHistory {
        /// The chain hash of the records.
        found: ChainHash,
        /// The chain hash of the head file.
        acknowledged: ChainHash,
    },
    /// The storage cannot be opened.
    #[error("the storage cannot be opened: {reason}")]
    Storage {
        /// The error of the storage.
        reason: String,
    },
    /// Neither slot of the head file is valid.
    #[error("neither slot of the head file can be read")]
    Head,
}
