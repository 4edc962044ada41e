//! What can be wrong with a stored log.

use std::fmt;

use crate::position::{ChainHash, LogId, Seq};

/// A record at or below the acknowledged head that is missing or wrong. It is never skipped and
/// never repaired in silence.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// The first record concerned.
    pub seq: Seq,
    /// What is wrong with it.
    pub kind: DamageKind,
}

impl std::error::Error for Damage {}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage at seq {}: {}", self.seq, self.kind)
    }
}

/// The ways a record can be wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DamageKind {
    /// No part of the record is there.
    #[error("the record is missing (the next one found is {found})", found = found.map_or_else(|| "none".to_owned(), |seq| seq.to_string()))]
    Missing {
        /// The next record that is there.
        found: Option<Seq>,
    },
    /// A part of the record is missing or in another's place.
    #[error("part {expected} of the record is missing (found part {found})")]
    Part {
        /// The part that should have come.
        expected: u32,
        /// The part that came.
        found: u32,
    },
    /// The record breaks off before its last part.
    #[error("the record breaks off before part {expected}")]
    Unfinished {
        /// The part that should have come.
        expected: u32,
    },
    /// The record is whole, but the commit it belongs to is not.
    #[error("the commit it belongs to is unfinished")]
    CommitUnfinished,
    /// A key that no part of this record has.
    #[error("a key of {bytes} bytes stands where a part should")]
    Key {
        /// Its length.
        bytes: usize,
    },
    /// A part's mark is none of the known ones.
    #[error("part mark {found} is unknown")]
    Mark {
        /// What stands there; `None` in an empty value.
        found: u8,
    },
    /// The envelope has another length than it states.
    #[error("{stored} bytes are stored, {stated} are stated")]
    Length {
        /// What is there.
        stored: usize,
        /// What should be.
        stated: usize,
    },
    /// A format this version does not know.
    #[error("format version {found} is unknown")]
    Version {
        /// What stands there.
        found: u8,
    },
    /// A codec this version does not know.
    #[error("codec {found} is unknown")]
    Codec {
        /// What stands there.
        found: u8,
    },
    /// The bytes are not those that were written.
    #[error("the checksum does not match")]
    Checksum,
    /// The body is no record.
    #[error("the record cannot be decoded: {source}")]
    Undecodable {
        /// What postcard says.
        source: postcard::Error,
    },
    /// The body is a record and something more.
    #[error("{bytes} bytes follow the record")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A record of another log.
    #[error("the record belongs to log {found}")]
    ForeignLog {
        /// The log it was written to.
        found: LogId,
    },
    /// A record of this log in another's place.
    #[error("the record is number {found}")]
    Displaced {
        /// The place it was written to.
        found: Seq,
    },
    /// The record does not continue the one in front of it.
    #[error("the chain hash does not continue the record in front")]
    Chain,
    /// The history is whole, but is not the one that was acknowledged.
    #[error("the history ends in {found}, acknowledged was {acknowledged}")]
    OtherHistory {
        /// What the records say.
        found: ChainHash,
        /// What the head says.
        acknowledged: ChainHash,
    },
    /// The storage below could not be read at all.
    #[error("the storage cannot be opened: {reason}")]
    Storage {
        /// What it says.
        reason: String,
    },
    /// Neither of the head's two slots can be read.
    #[error("neither slot of the head file can be read")]
    Head,
}
