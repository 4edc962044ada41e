//! Parts: how a record of any size lies in a storage that wants small values.

use crate::damage::DamageKind;
use crate::position::Seq;

/// The place of one part: `(seq, part)`, big-endian, so that keys sort as the log reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartKey {
    /// The record.
    pub seq: Seq,
    /// Which of its parts, from zero.
    pub part: u32,
}

impl PartKey {
    /// A key's length in bytes.
    pub const BYTES: usize = 12;

    /// The first part of a record.
    pub const fn first(seq: Seq) -> Self {
        Self { seq, part: 0 }
    }

    /// The key as it is stored.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.seq.get().to_be_bytes());
        bytes[8..].copy_from_slice(&self.part.to_be_bytes());
        bytes
    }

    /// The key that was stored as `bytes`, if any key is.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (seq, part) = bytes.split_at(8);
        Some(Self {
            seq: Seq::new(u64::from_be_bytes(seq.try_into().ok()?)),
            part: u32::from_be_bytes(part.try_into().ok()?),
        })
    }
}

/// What follows a part; its first stored byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    /// More parts of the same record.
    Continues = 1,
    /// The next record of the same commit.
    EndsRecord = 2,
    /// The next commit: up to here everything is whole.
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

/// Cuts the stored bytes of a record into the values of its parts; `last` marks the last of them.
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

/// Puts parts together again. Feed it every part from the first part of some record on.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// The record being assembled.
    seq: Seq,
    /// Its next part.
    part: u32,
    /// Its bytes so far.
    stored: Vec<u8>,
}

impl Assembler {
    pub(crate) fn starting_at(seq: Seq) -> Self {
        Self { seq, part: 0, stored: Vec::new() }
    }

    /// The record that comes next or is half assembled.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// Takes one part; `whole` is called with the record's mark and bytes when it was its last.
    pub(crate) fn push<T>(
        &mut self,
        key: PartKey,
        value: &[u8],
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
        let (mark, chunk) = value.split_first().ok_or(DamageKind::Length { stored: 0, stated: 1 })?;
        let mark = Mark::try_from(*mark)?;
        if mark == Mark::Continues {
            self.part = self.part.checked_add(1).ok_or(DamageKind::Part { expected: 0, found: key.part })?;
            self.stored.extend_from_slice(chunk);
            return Ok(None);
        }
        // A record of one part is read where it lies.
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

    /// What is wrong if no further part exists: `None` between two records.
    pub(crate) fn end(&self) -> Option<DamageKind> {
        (self.part > 0).then_some(DamageKind::Unfinished { expected: self.part })
    }
}
