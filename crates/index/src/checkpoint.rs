//! The bytes of a checkpoint: a sequence of sections, and a hash over all of them.
//!
//! ```text
//! "VZCHECK1"
//! sections: tag 4  version u32  length u64  body
//!   END   BLAKE3 of all in front
//! ```
//!
//! Numbers are little-endian. Which sections there are is up to those who write them.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::interrupted::Interrupted;

const MAGIC: &[u8; 8] = b"VZCHECK1";
const HASH_BYTES: usize = 32;
/// Tag, version, and the length of the body.
const HEADER_BYTES: usize = 4 + 4 + 8;
/// The last section of a checkpoint.
const END: SectionKind = SectionKind { tag: *b"END ", version: 1 };

/// Why a checkpoint is not used. It is not needed either: the log can be folded.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCheckpoint {
    /// Its bytes are not those that were written.
    #[error("it is damaged")]
    Damaged,
    /// It was written by another version, or for another log.
    #[error("it is of another kind or another log")]
    Other,
    /// It cannot be read, or reading it was stopped.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

impl From<Interrupted> for UnusableCheckpoint {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Unreadable(io::ErrorKind::Interrupted.into())
    }
}

/// What a section holds, and in which encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionKind {
    /// What the section holds, as four ASCII letters.
    pub tag: [u8; 4],
    /// The version of its encoding.
    pub version: u32,
}

impl SectionKind {
    fn header(self, length: u64) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&self.tag);
        header[4..8].copy_from_slice(&self.version.to_le_bytes());
        header[8..].copy_from_slice(&length.to_le_bytes());
        header
    }
}

/// Writes the sections of a checkpoint.
#[derive(Debug)]
pub struct SectionWriter<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> SectionWriter<W> {
    /// Begins a checkpoint.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut sections = Self { out, hasher: blake3::Hasher::new() };
        sections.put(MAGIC)?;
        Ok(sections)
    }

    /// Writes a section whose body is the concatenation of `pieces`.
    pub fn write(&mut self, kind: SectionKind, pieces: &[&[u8]]) -> io::Result<()> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.put(&kind.header(length as u64))?;
        pieces.iter().try_for_each(|piece| self.put(piece))
    }

    /// Writes a section whose body is one value, encoded with postcard.
    pub fn write_value(&mut self, kind: SectionKind, value: &impl Serialize) -> io::Result<()> {
        let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
        self.write(kind, &[&bytes])
    }

    /// Ends the checkpoint with its hash.
    pub fn end(mut self) -> io::Result<()> {
        self.put(&END.header(HASH_BYTES as u64))?;
        self.out.write_all(self.hasher.finalize().as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads the sections of a checkpoint, in the order in which they were written.
///
/// A length in the bytes is compared with how many bytes there are before memory is allocated for it. So reading
/// takes memory proportional to the number of bytes, whatever they are.
#[derive(Debug)]
pub struct SectionReader<R> {
    input: R,
    hasher: blake3::Hasher,
    left: u64,
    /// The header of the next section.
    next: [u8; HEADER_BYTES],
}

impl<R: Read> SectionReader<R> {
    /// Begins to read a checkpoint of `length` bytes.
    pub fn begin(input: R, length: u64) -> Result<Self, UnusableCheckpoint> {
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

    /// The next section, which must be of this kind.
    pub fn expect(&mut self, kind: SectionKind) -> Result<Section<'_, R>, UnusableCheckpoint> {
        let left = self.length();
        if self.next != kind.header(left) {
            return Err(UnusableCheckpoint::Other);
        }
        if left > self.left {
            return Err(UnusableCheckpoint::Damaged);
        }
        Ok(Section { sections: self, left })
    }

    /// The value that is the next section, which must be of this kind.
    pub fn expect_value<T: DeserializeOwned>(&mut self, kind: SectionKind) -> Result<T, UnusableCheckpoint> {
        let mut section = self.expect(kind)?;
        let bytes = section.rest()?;
        section.end()?;
        match postcard::take_from_bytes(&bytes) {
            Ok((value, [])) => Ok(value),
            Ok(_) | Err(_) => Err(UnusableCheckpoint::Damaged),
        }
    }

    /// The value that is the next section, or `None` if that has another tag.
    pub fn optional_value<T: DeserializeOwned>(
        &mut self,
        kind: SectionKind,
    ) -> Result<Option<T>, UnusableCheckpoint> {
        if !self.next.starts_with(&kind.tag) {
            return Ok(None);
        }
        self.expect_value(kind).map(Some)
    }

    /// Checks that the checkpoint ends here, and that its hash is right.
    pub fn end(mut self) -> Result<(), UnusableCheckpoint> {
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

/// The body of one section, read from front to back.
#[derive(Debug)]
pub struct Section<'a, R> {
    sections: &'a mut SectionReader<R>,
    left: u64,
}

impl<R: Read> Section<'_, R> {
    /// A `u32` that counts something.
    pub(crate) fn count(&mut self) -> Result<usize, UnusableCheckpoint> {
        let mut bytes = [0; 4];
        self.get(&mut bytes)?;
        usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| UnusableCheckpoint::Damaged)
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, UnusableCheckpoint> {
        self.check_left(count as u64)?;
        let mut bytes = vec![0; count];
        self.get(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `count` numbers, read into place without a copy.
    pub(crate) fn numbers<T: Number>(&mut self, count: usize) -> Result<Vec<T>, UnusableCheckpoint> {
        self.check_left((count as u64).saturating_mul(size_of::<T>() as u64))?;
        let mut numbers = vec![T::zeroed(); count];
        self.get(bytemuck::cast_slice_mut(&mut numbers))?;
        if cfg!(target_endian = "big") {
            for number in &mut numbers {
                *number = number.swapped();
            }
        }
        Ok(numbers)
    }

    fn rest(&mut self) -> Result<Vec<u8>, UnusableCheckpoint> {
        let left = usize::try_from(self.left).map_err(|_| UnusableCheckpoint::Damaged)?;
        self.bytes(left)
    }

    /// Checks that the whole body was read.
    pub(crate) fn end(self) -> Result<(), UnusableCheckpoint> {
        if self.left > 0 {
            return Err(UnusableCheckpoint::Damaged);
        }
        self.sections.advance()
    }

    fn check_left(&self, bytes: u64) -> Result<(), UnusableCheckpoint> {
        if bytes > self.left { Err(UnusableCheckpoint::Damaged) } else { Ok(()) }
    }

    fn get(&mut self, bytes: &mut [u8]) -> Result<(), UnusableCheckpoint> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(UnusableCheckpoint::Damaged)?;
        self.sections.get(bytes)
    }
}

/// A number of four bytes.
pub(crate) trait Number: bytemuck::Pod {
    /// The number with its bytes in reverse order.
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

/// The little-endian bytes of `numbers`: borrowed on a little-endian machine.
pub(crate) fn le_bytes<T: Number>(numbers: &[T]) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return bytemuck::cast_slice(numbers).into();
    }
    let swapped: Vec<T> = numbers.iter().map(|number| number.swapped()).collect();
    bytemuck::cast_slice(&swapped).to_vec().into()
}
