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
    /// Bytes of the envelope that are zero in this format version are not.
    #[error("the reserved bytes are {found:?}")]
    Reserved {
        /// The bytes.
        found: [u8; 2],
    },
    /// The form of the body is unknown.
    #[error("body form {found} is unknown")]
    BodyForm {
        /// The form.
        found: u8,
    },
    /// The body ends within an item.
    #[error("the body ends within item {item}")]
    ItemTorn {
        /// The number of the item, from zero.
        item: usize,
    },
    /// The items are not those that the header was made for.
    #[error("the items do not have the Merkle root of the header")]
    Root,
    /// An item is not valid.
    #[error("item {item} is not valid: {reason}")]
    Item {
        /// The number of the item, from zero.
        item: usize,
        /// What is wrong with it.
        reason: InvalidItem,
    },
    /// The header states something else than the items.
    #[error("the header does not match its items")]
    Facts,
    /// Items of the record were erased, so its event is not whole. The header and the other items can be read.
    #[error("{items} items of the record were erased")]
    Erased {
        /// How many items were erased.
        items: usize,
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
    /// Records of a segment, or a base, cannot be read.
    #[error("the file {file} cannot be read: {reason}")]
    Segment {
        /// The file in the folder of segments.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither slot of the head file is valid.
    #[error("neither slot of the head file can be read")]
    Head,
}

/// What is wrong with an item of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidItem {
    /// A section is longer than the item, or its length is not in the one valid form.
    #[error("a section is torn")]
    Torn,
    /// The kind of a section is unknown.
    #[error("section kind {found} is unknown")]
    UnknownSection {
        /// The number of the kind.
        found: u8,
    },
    /// A section does not belong to the item, or belongs to it only once or without a name.
    #[error("a section of kind {found} does not belong there")]
    UnexpectedSection {
        /// The number of the kind.
        found: u8,
    },
    /// A section is missing.
    #[error("a section of kind {expected} is missing")]
    MissingSection {
        /// The number of the kind.
        expected: u8,
    },
    /// The content of a section is not valid.
    #[error("the content of a section of kind {section} is not valid")]
    Content {
        /// The number of the kind.
        section: u8,
    },
}
