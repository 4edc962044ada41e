//! Bodies: the envelopes of large commits, in a file of their own.
//!
//! sled writes four to six times its input and needs a sync for each tenth of a segment. So the envelopes of a large
//! commit are appended to the file `bodies` in sled's folder, and sled holds a *reference* to each: its place, its
//! length and its hash. sled stays the index of all records.
//!
//! # Invariants
//!
//! - The order is bodies, their sync, references, their sync, head. So the body of every reference that survives a
//!   crash was durable before the reference was written, and a body that is missing or wrong is damage, wherever the
//!   head is.
//! - A commit appends its bodies behind the end of the file, from the start of a block on. So no write touches a block
//!   that holds the body of an earlier commit, and a torn write cannot damage one.
//! - A body is found by its reference only, and its bytes must have the hash that the reference states. The bodies of an
//!   interrupted commit have no reference. They stay in the file, are never read, and take space until the folder is
//!   replaced or removed.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use vectorizer_durable::sync_folder_of;

use super::{Storage, StorageError, Visit};
use crate::damage::DamageKind;
use crate::envelope::ENVELOPE_BYTES_MAX;
use crate::part::{Mark, PartKey, REFERENCE, split};
use crate::position::Seq;

/// The name of the file in sled's folder.
pub(super) const FILE: &str = "bodies";

/// The size of a block: no smaller unit of a file is written to a disk.
const BLOCK_BYTES: u64 = 4096;

/// Where a storage puts the envelopes of a commit. Readers find them in both places, so this may differ from commit to
/// commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPlacement {
    /// Envelopes are split into parts.
    Parts,
    /// If the envelopes of a commit have more than so many bytes together, they go to the file of bodies.
    FileAbove {
        /// The largest commit that is split into parts, in bytes.
        bytes: usize,
    },
}

impl BodyPlacement {
    /// The placement of new logs. Measured: below 64 KiB the second sync costs more than the writes of sled that it
    /// saves.
    pub const STANDARD: Self = Self::FileAbove { bytes: 64 << 10 };

    fn is_file(self, commit_bytes: usize) -> bool {
        match self {
            Self::Parts => false,
            Self::FileAbove { bytes } => commit_bytes > bytes,
        }
    }
}

/// Stores the envelopes of consecutive records. See [`Storage::put_records`].
pub(super) fn put_records<S: Storage + ?Sized>(
    storage: &S,
    records: &[(Seq, &[u8])],
    ends_commit: bool,
) -> Result<(), StorageError> {
    let with_marks = || {
        records.iter().enumerate().map(|(at, (seq, envelope))| {
            let is_last = at + 1 == records.len();
            (*seq, *envelope, if is_last && ends_commit { Mark::EndsCommit } else { Mark::EndsRecord })
        })
    };
    let envelopes: Vec<&[u8]> = records.iter().map(|(_, envelope)| *envelope).collect();
    if !storage.placement().is_file(envelopes.iter().map(|envelope| envelope.len()).sum()) {
        for (seq, envelope, mark) in with_marks() {
            for (part, value) in (0..).zip(split(envelope, storage.part_bytes_max(), mark)) {
                storage.put(PartKey { seq, part }, &value)?;
            }
        }
        return Ok(());
    }
    let mut offset = storage.append_bodies(&envelopes)?;
    // IMPORTANT: before the references. Later writes may become durable at any time.
    storage.sync_bodies()?;
    for (seq, envelope, mark) in with_marks() {
        let reference = Reference { mark, offset, bytes: stored_length(envelope), hash: hash(envelope) };
        storage.put(PartKey::first(seq), &reference.encode())?;
        offset += envelope.len() as u64;
    }
    Ok(())
}

/// Calls `visit` with the parts of a storage, and with whole envelopes in place of references. See [`Storage::scan`].
pub(super) fn scan<S: Storage + ?Sized>(
    storage: &S,
    from: PartKey,
    visit: &mut Visit<'_>,
) -> Result<(), StorageError> {
    // One body at a time is in memory.
    let mut body = Vec::new();
    let mut outcome = Ok(());
    storage.scan_parts(from, &mut |key, value| {
        if value.first() != Some(&REFERENCE) {
            return visit(key, Ok(value));
        }
        match read(storage, value, &mut body) {
            Ok(Ok(())) => visit(key, Ok(&body)),
            Ok(Err(damage)) => visit(key, Err(damage)),
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    outcome
}

/// Reads the body of the reference `value` into `body`: the mark of the record's last part, and the envelope.
fn read<S: Storage + ?Sized>(
    storage: &S,
    value: &[u8],
    body: &mut Vec<u8>,
) -> Result<Result<(), DamageKind>, StorageError> {
    let Reference { mark, offset, bytes, hash: expected } = match Reference::decode(value) {
        Ok(reference) => reference,
        Err(damage) => return Ok(Err(damage)),
    };
    let end = storage.bodies_end()?;
    let stated = bytes as usize;
    // Before memory is allocated: a damaged length can be anything.
    if offset.checked_add(u64::from(bytes)).is_none_or(|stated_end| stated_end > end) {
        return Ok(Err(DamageKind::BodyMissing { offset, bytes: stated, end }));
    }
    if stated > ENVELOPE_BYTES_MAX {
        return Ok(Err(DamageKind::Body { offset }));
    }
    body.clear();
    body.push(mark as u8);
    body.resize(1 + stated, 0);
    storage.read_body(offset, &mut body[1..])?;
    let is_whole = hash(&body[1..]) == expected;
    Ok(if is_whole { Ok(()) } else { Err(DamageKind::Body { offset }) })
}

fn hash(envelope: &[u8]) -> [u8; 32] {
    *blake3::hash(envelope).as_bytes()
}

fn stored_length(envelope: &[u8]) -> u32 {
    envelope.len().try_into().expect("ENVELOPE_BYTES_MAX fits in u32")
}

const MARK_AT: usize = 1;
const OFFSET_AT: usize = MARK_AT + 1;
const LENGTH_AT: usize = OFFSET_AT + 8;
const HASH_AT: usize = LENGTH_AT + 4;
const REFERENCE_BYTES: usize = HASH_AT + 32;

/// The value of the only part of a record whose envelope is in the file of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reference {
    /// The mark that the last part of the record would have.
    mark: Mark,
    offset: u64,
    bytes: u32,
    hash: [u8; 32],
}

impl Reference {
    fn encode(self) -> [u8; REFERENCE_BYTES] {
        let Self { mark, offset, bytes, hash } = self;
        let mut value = [0; REFERENCE_BYTES];
        value[0] = REFERENCE;
        value[MARK_AT] = mark as u8;
        value[OFFSET_AT..LENGTH_AT].copy_from_slice(&offset.to_le_bytes());
        value[LENGTH_AT..HASH_AT].copy_from_slice(&bytes.to_le_bytes());
        value[HASH_AT..].copy_from_slice(&hash);
        value
    }

    fn decode(value: &[u8]) -> Result<Self, DamageKind> {
        let value: &[u8; REFERENCE_BYTES] = value
            .try_into()
            .map_err(|_| DamageKind::Length { stored: value.len(), stated: REFERENCE_BYTES })?;
        let mark = match Mark::try_from(value[MARK_AT])? {
            // A reference is to a whole envelope.
            Mark::Continues => return Err(DamageKind::Mark { found: value[MARK_AT] }),
            mark @ (Mark::EndsRecord | Mark::EndsCommit) => mark,
        };
        let (mut offset, mut bytes, mut hash) = ([0; 8], [0; 4], [0; 32]);
        offset.copy_from_slice(&value[OFFSET_AT..LENGTH_AT]);
        bytes.copy_from_slice(&value[LENGTH_AT..HASH_AT]);
        hash.copy_from_slice(&value[HASH_AT..]);
        Ok(Self { mark, offset: u64::from_le_bytes(offset), bytes: u32::from_le_bytes(bytes), hash })
    }
}

/// The file of bodies. It is created by the first large commit, so that a small log has one file less.
#[derive(Debug)]
pub(super) struct BodyFile {
    path: PathBuf,
    /// Empty while the file does not exist.
    file: OnceLock<File>,
}

impl BodyFile {
    /// Opens the file in sled's folder, if it exists, and makes it durable: a folder that was copied by hand may not be.
    pub(super) fn open(folder: &Path) -> Result<Self, StorageError> {
        let path = folder.join(FILE);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => {
                file.sync_data().map_err(|error| StorageError::of_file("open the bodies", &error))?;
                OnceLock::from(file)
            }
            // If references exist, each of them is reported as damage.
            Err(error) if error.kind() == io::ErrorKind::NotFound => OnceLock::new(),
            Err(error) => return Err(StorageError::of_file("open the bodies", &error)),
        };
        Ok(Self { path, file })
    }

    /// See [`Storage::append_bodies`].
    pub(super) fn append(&self, bodies: &[&[u8]]) -> Result<u64, StorageError> {
        let write = || {
            let file = self.created()?;
            let end = file.metadata()?.len();
            let start = end.next_multiple_of(BLOCK_BYTES);
            let mut at = start;
            for body in bodies {
                file.write_all_at(body, at).inspect_err(|_| {
                    // The part that was written takes space, perhaps on the full disk that is the cause.
                    let _ = file.set_len(end);
                })?;
                at += body.len() as u64;
            }
            Ok(start)
        };
        write().map_err(|error| StorageError::of_file("write bodies", &error))
    }

    /// See [`Storage::sync_bodies`].
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        self.file
            .get()
            .map_or(Ok(()), File::sync_data)
            .map_err(|error| StorageError::of_file("sync the bodies", &error))
    }

    /// See [`Storage::bodies_end`].
    pub(super) fn end(&self) -> Result<u64, StorageError> {
        let Some(file) = self.file.get() else { return Ok(0) };
        file.metadata()
            .map(|file| file.len())
            .map_err(|error| StorageError::of_file("read the bodies", &error))
    }

    /// See [`Storage::read_body`].
    pub(super) fn read(&self, offset: u64, body: &mut [u8]) -> Result<(), StorageError> {
        let read = match self.file.get() {
            Some(file) => file.read_exact_at(body, offset),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        read.map_err(|error| StorageError::of_file("read a body", &error))
    }

    /// The file, which is created if it does not exist. Its name is durable before it has content.
    fn created(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        sync_folder_of(&self.path)?;
        Ok(self.file.get_or_init(|| file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// References are on disk: their bytes never change.
    #[test]
    fn the_bytes_of_a_reference_never_change() {
        let reference =
            Reference { mark: Mark::EndsCommit, offset: 0x0102_0304, bytes: 0x0a0b, hash: [7; 32] };
        let value = reference.encode();
        let golden = [&[4, 3, 4, 3, 2, 1, 0, 0, 0, 0, 0x0b, 0x0a, 0, 0][..], &[7; 32]].concat();
        assert_eq!(value[..], golden);
        assert_eq!(Reference::decode(&value), Ok(reference));
    }

    #[test]
    fn a_malformed_reference_is_damage() {
        let whole =
            Reference { mark: Mark::EndsRecord, offset: 1, bytes: 2, hash: [7; 32] }.encode().to_vec();
        for length in 1..REFERENCE_BYTES {
            let cut = Reference::decode(&whole[..length]);
            assert_eq!(cut, Err(DamageKind::Length { stored: length, stated: REFERENCE_BYTES }));
        }
        for mark in (0..=u8::MAX).filter(|mark| ![2, 3].contains(mark)) {
            let mut value = whole.clone();
            value[MARK_AT] = mark;
            assert_eq!(Reference::decode(&value), Err(DamageKind::Mark { found: mark }));
        }
    }
}
