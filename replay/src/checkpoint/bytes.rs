//! A checkpoint's bytes: sections one behind the other, each with its length, and a hash over all of them.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::UnusableCheckpoint;

const MAGIC: &[u8; 8] = b"VZCHECK1";
const HASH_BYTES: usize = 32;
/// Tag, version, and the length of what follows.
const HEADER_BYTES: usize = 4 + 4 + 8;
/// The section that ends a checkpoint.
const END: Kind = Kind { tag: *b"END ", version: 1 };

/// What a section holds, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) tag: [u8; 4],
    pub(crate) version: u32,
}

impl Kind {
    fn header(self, length: u64) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&self.tag);
        header[4..8].copy_from_slice(&self.version.to_le_bytes());
        header[8..].copy_from_slice(&length.to_le_bytes());
        header
    }
}

/// Where sections are written.
pub(crate) struct Sections<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Sections<W> {
    pub(crate) fn begin(out: W) -> io::Result<Self> {
        let mut sections = Self { out, hasher: blake3::Hasher::new() };
        sections.put(MAGIC)?;
        Ok(sections)
    }

    /// Writes a section that is made of these `pieces`.
    pub(crate) fn write(&mut self, kind: Kind, pieces: &[&[u8]]) -> io::Result<()> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.put(&kind.header(length as u64))?;
        pieces.iter().try_for_each(|piece| self.put(piece))
    }

    /// Writes a section that is one value.
    pub(crate) fn write_value(&mut self, kind: Kind, value: &impl Serialize) -> io::Result<()> {
        let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
        self.write(kind, &[&bytes])
    }

    pub(crate) fn end(mut self) -> io::Result<()> {
        self.put(&END.header(HASH_BYTES as u64))?;
        self.out.write_all(self.hasher.finalize().as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Where sections are read from. Nothing that is said of a length is believed beyond what is there, so
/// whatever the bytes are, no more memory is taken than some times their number.
pub(crate) struct StoredSections<R> {
    input: R,
    hasher: blake3::Hasher,
    left: u64,
    /// The header of the section that comes next.
    next: [u8; HEADER_BYTES],
}

impl<R: Read> StoredSections<R> {
    /// Of `length` bytes.
    pub(crate) fn begin(input: R, length: u64) -> Result<Self, UnusableCheckpoint> {
        let mut sections =
            Self { input, hasher: blake3::Hasher::new(), left: length, next: [0; HEADER_BYTES] };
        let mut magic = [0; MAGIC.len()];
        sections.get(&mut magic)?;
        if magic != *MAGIC {
            return Err(UnusableCheckpoint::Other);
        }
        sections.advance()?;
        Ok(sections)
    }

    /// The section that comes next, which is to be of this kind.
    pub(crate) fn expect(&mut self, kind: Kind) -> Result<Body<'_, R>, UnusableCheckpoint> {
        let left = self.length();
        if self.next != kind.header(left) {
            return Err(UnusableCheckpoint::Other);
        }
        if left > self.left {
            return Err(UnusableCheckpoint::Damaged);
        }
        Ok(Body { sections: self, left })
    }

    /// A section that is one value.
    pub(crate) fn expect_value<T: DeserializeOwned>(&mut self, kind: Kind) -> Result<T, UnusableCheckpoint> {
        let mut body = self.expect(kind)?;
        let bytes = body.rest()?;
        body.end()?;
        match postcard::take_from_bytes(&bytes) {
            Ok((value, [])) => Ok(value),
            Ok(_) | Err(_) => Err(UnusableCheckpoint::Damaged),
        }
    }

    /// The same, if it is the section that comes next; there may be none of its kind.
    pub(crate) fn optional_value<T: DeserializeOwned>(
        &mut self,
        kind: Kind,
    ) -> Result<Option<T>, UnusableCheckpoint> {
        if !self.next.starts_with(&kind.tag) {
            return Ok(None);
        }
        self.expect_value(kind).map(Some)
    }

    /// Nothing may follow, and everything has to be as it was written.
    pub(crate) fn end(mut self) -> Result<(), UnusableCheckpoint> {
        let written = self.hasher.finalize();
        if self.next != END.header(HASH_BYTES as u64) {
            return Err(UnusableCheckpoint::Other);
        }
        let mut hash = [0; HASH_BYTES];
        self.get(&mut hash)?;
        if self.left > 0 || written != hash { Err(UnusableCheckpoint::Damaged) } else { Ok(()) }
    }

    fn length(&self) -> u64 {
        self.next.last_chunk().map_or(0, |length| u64::from_le_bytes(*length))
    }

    fn advance(&mut self) -> Result<(), UnusableCheckpoint> {
        let mut next = [0; HEADER_BYTES];
        self.get(&mut next)?;
        self.next = next;
        Ok(())
    }

    fn get(&mut self, bytes: &mut [u8]) -> Result<(), UnusableCheckpoint> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(UnusableCheckpoint::Damaged)?;
        self.input.read_exact(bytes).map_err(|error| {
            let ended = error.kind() == io::ErrorKind::UnexpectedEof;
            if ended { UnusableCheckpoint::Damaged } else { UnusableCheckpoint::Unreadable(error) }
        })?;
        self.hasher.update(bytes);
        Ok(())
    }
}

/// What a section holds.
pub(crate) struct Body<'a, R> {
    sections: &'a mut StoredSections<R>,
    left: u64,
}

impl<R: Read> Body<'_, R> {
    pub(crate) fn number(&mut self) -> Result<usize, UnusableCheckpoint> {
        let mut bytes = [0; 4];
        self.get(&mut bytes)?;
        usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| UnusableCheckpoint::Damaged)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, UnusableCheckpoint> {
        self.room(count as u64)?;
        let mut bytes = vec![0; count];
        self.get(&mut bytes)?;
        Ok(bytes)
    }

    /// As many numbers, without a copy on the way.
    pub(crate) fn numbers<T: Number>(&mut self, count: usize) -> Result<Vec<T>, UnusableCheckpoint> {
        self.room((count as u64).saturating_mul(size_of::<T>() as u64))?;
        let mut numbers = vec![T::zeroed(); count];
        self.get(bytemuck::cast_slice_mut(&mut numbers))?;
        if cfg!(target_endian = "big") {
            for number in &mut numbers {
                *number = number.swapped();
            }
        }
        Ok(numbers)
    }

    pub(crate) fn rest(&mut self) -> Result<Vec<u8>, UnusableCheckpoint> {
        let left = usize::try_from(self.left).map_err(|_| UnusableCheckpoint::Damaged)?;
        self.bytes(left)
    }

    pub(crate) fn end(self) -> Result<(), UnusableCheckpoint> {
        if self.left > 0 {
            return Err(UnusableCheckpoint::Damaged);
        }
        self.sections.advance()
    }

    fn room(&self, bytes: u64) -> Result<(), UnusableCheckpoint> {
        if bytes > self.left { Err(UnusableCheckpoint::Damaged) } else { Ok(()) }
    }

    fn get(&mut self, bytes: &mut [u8]) -> Result<(), UnusableCheckpoint> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(UnusableCheckpoint::Damaged)?;
        self.sections.get(bytes)
    }
}

/// A number of four bytes.
pub(crate) trait Number: bytemuck::Pod {
    fn swapped(self) -> Self;
}

impl Number for f32 {
    fn swapped(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
}

impl Number for u32 {
    fn swapped(self) -> Self {
        self.swap_bytes()
    }
}

/// The little-endian bytes of these numbers: their own, where that is the order they have in memory.
pub(crate) fn le_bytes<T: Number>(numbers: &[T]) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return bytemuck::cast_slice(numbers).into();
    }
    let swapped: Vec<T> = numbers.iter().map(|number| number.swapped()).collect();
    bytemuck::cast_slice(&swapped).to_vec().into()
}
