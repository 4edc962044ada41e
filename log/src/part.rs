//! Parts: a record of any size is split into parts that fit the small values of a storage.

use crate::damage::DamageKind;
use crate::position::Seq;

/// The key of a part: `(seq, part)`, big-endian, so that keys sort in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartKey {
    /// The record.
    pub seq: Seq,
    /// The number of the part, from zero.
    pub part: u32,
}

impl PartKey {
    /// The length of a key in bytes.
    pub const BYTES: usize = 12;

    /// The key of a record's first part.
    pub const fn first(seq: Seq) -> Self {
        Self { seq, part: 0 }
    }

    /// The stored key.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.seq.get().to_be_bytes());
        bytes[8..].copy_from_slice(&self.part.to_be_bytes());
        bytes
    }

    /// Parses a stored key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (seq, part) = bytes.split_at(8);
        Some(Self {
            seq: Seq::new(u64::from_be_bytes(seq.try_into().ok()?)),
            part: u32::from_be_bytes(part.try_into().ok()?),
        })
    }
}

/// The first stored byte of a part. Tells what follows the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    /// Another part of the same record.
    Continues = 1,
    /// The next record of the same commit.
    EndsRecord = 2,
    /// The next commit.
    EndsCommit = 3,
}

impl TryFrom<u8> for Mark {
    type Error = DamageKind;

    fn try_from(tag: u8) -> Result<Self, DamageKind> {
        match tag {
            1 => Ok(Self::Continues),
            2 => Ok(Self::EndsRecord),
            3 => Ok(Self::EndsCommit),
            found => Err(DamageKind::Mark { found }),
        }
    }
}

/// The first byte of a reference: the only part of a record whose envelope is in the file of bodies. Readers of the log
/// see the envelope in its place, never this mark. The second byte is the mark of the record's end.
pub(crate) const REFERENCE: u8 = 4;

/// Whether a commit ends with this stored part, which may be a reference. Reads no body.
pub(crate) fn ends_commit(stored: &[u8]) -> bool {
    let mark = match stored {
        [REFERENCE, mark, ..] | [mark, ..] => *mark,
        [] => return false,
    };
    Mark::try_from(mark) == Ok(Mark::EndsCommit)
}

/// Splits the stored bytes of a record into the values of its parts. The last part has the mark `last`.
pub(crate) fn split(stored: &[u8], part_bytes_max: usize, last: Mark) -> impl Iterator<Item = Vec<u8>> {
    let chunk_bytes_max = part_bytes_max - 1;
    let parts = stored.len().div_ceil(chunk_bytes_max);
    stored.chunks(chunk_bytes_max).enumerate().map(move |(part, chunk)| {
        let mark = if part + 1 == parts { last } else { Mark::Continues };
        let mut value = Vec::with_capacity(1 + chunk.len());
        value.push(mark as u8);
        value.extend_from_slice(chunk);
        value
    })
}

/// Joins parts into records. Expects all parts in order, starting with the first part of a record.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// The record being assembled.
    seq: Seq,
    /// The number of its next part.
    part: u32,
    /// Its bytes so far.
    stored: Vec<u8>,
}

impl Assembler {
    pub(crate) fn starting_at(seq: Seq) -> Self {
        Self { seq, part: 0, stored: Vec::new() }
    }

    /// The incomplete record. If none is incomplete, the next record.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// Adds a part, or the damage in its place. After the last part of a record, calls `whole` with the record's number, mark and bytes.
    pub(crate) fn push<T>(
        &mut self,
        key: PartKey,
        value: Result<&[u8], DamageKind>,
        whole: impl FnOnce(Seq, Mark, &[u8]) -> Result<T, DamageKind>,
    ) -> Result<Option<T>, DamageKind> {
        if key.seq != self.seq {
            return Err(match self.part {
                0 => DamageKind::Missing { found: Some(key.seq) },
                expected => DamageKind::Unfinished { expected },
            });
        }
        if key.part != self.part {
            return Err(DamageKind::Part { expected: self.part, found: key.part });
        }
        // After the key: damage of a later record is not damage of this one.
        let (mark, chunk) = value?.split_first().ok_or(DamageKind::Length { stored: 0, stated: 1 })?;
        let mark = Mark::try_from(*mark)?;
        if mark == Mark::Continues {
            self.part = self.part.checked_add(1).ok_or(DamageKind::Part { expected: 0, found: key.part })?;
            self.stored.extend_from_slice(chunk);
            return Ok(None);
        }
        // A record of one part is not copied.
        let result = if self.part == 0 {
            whole(self.seq, mark, chunk)
        } else {
            self.stored.extend_from_slice(chunk);
            whole(self.seq, mark, &self.stored)
        };
        self.seq = self.seq.next();
        self.part = 0;
        self.stored.clear();
        result.map(Some)
    }

    /// The damage if no further part exists. `None` if no record is incomplete.
    pub(crate) fn end(&self) -> Option<DamageKind> {
        (self.part > 0).then_some(DamageKind::Unfinished { expected: self.part })
    }
}
