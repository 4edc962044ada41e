//! The interface between a log and its storage. It is narrow, so that tests can fail, tear or delay any write, and so
//! that a replicated log can replace sled.

mod bodies;
#[cfg(any(test, feature = "memory-storage"))]
mod memory;
mod sled;
#[cfg(test)]
mod sled_tests;

use std::ops::ControlFlow;
use std::{fmt, io};

pub use self::bodies::BodyPlacement;
#[cfg(any(test, feature = "memory-storage"))]
pub use self::memory::{Fault, MemoryStorage, UnsyncedBodies};
pub(crate) use self::sled::{SledCopy, SledPaths};
pub use self::sled::{SledStorage, open_when_free};
use crate::damage::DamageKind;
use crate::head::{SLOT_BYTES, Slot};
use crate::part::PartKey;
use crate::position::Seq;

/// Called with a raw key, and its value or why its body cannot be read; breaking ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], Result<&[u8], DamageKind>) -> ControlFlow<()> + 'a;

/// Called with a raw key and its value as it is stored; breaking ends the scan.
pub type VisitPart<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A store of parts, in the order of their keys, of bodies that parts refer to, and of a head.
///
/// One writer calls the methods that change it. Any number of readers scan at the same time.
///
/// Durability: once `sync` has returned `Ok`, every earlier `put` and `remove` survives a loss of power. Before that,
/// the end of the process or a loss of power may undo the latest calls. The remaining state is that after a prefix of
/// the calls. After an error, only calls before the last successful `sync` are certain to be stored, and the caller
/// must not write any more.
///
/// Bodies have an order of their own: once `sync_bodies` has returned `Ok`, every earlier `append_bodies` survives a
/// loss of power. Before that, any of their bytes may be lost. A reader of the log uses [`scan`](Self::scan) and sees
/// whole envelopes, wherever they are stored.
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// The longest value that [`put`](Self::put) takes, in bytes; at least 64.
    fn part_bytes_max(&self) -> usize;

    /// Stores `value` at `key`, replacing the previous value.
    fn put(&self, key: PartKey, value: &[u8]) -> Result<(), StorageError>;

    /// Removes the value at this raw key, if there is one.
    fn remove(&self, key: &[u8]) -> Result<(), StorageError>;

    /// Makes all earlier calls durable.
    fn sync(&self) -> Result<(), StorageError>;

    /// Calls `visit` with every raw key and stored value from `from` on, in ascending order, until `visit` breaks. This
    /// includes keys that are not part keys. The value of a record in the file of bodies is its reference.
    fn scan_parts(&self, from: PartKey, visit: &mut VisitPart<'_>) -> Result<(), StorageError>;

    /// Where [`put_records`](Self::put_records) puts envelopes.
    fn placement(&self) -> BodyPlacement;

    /// Appends bodies one after the other. Returns the offset of the first one. They do not share a block with those of
    /// an earlier call.
    fn append_bodies(&self, bodies: &[&[u8]]) -> Result<u64, StorageError>;

    /// Makes all bodies durable.
    fn sync_bodies(&self) -> Result<(), StorageError>;

    /// The offset after the last body; zero if there are no bodies.
    fn bodies_end(&self) -> Result<u64, StorageError>;

    /// Reads the bytes at `offset` into the whole of `body`. They must exist.
    fn read_body(&self, offset: u64, body: &mut [u8]) -> Result<(), StorageError>;

    /// Stores the envelopes of consecutive records of one commit, which ends with them if `ends_commit`: as parts, or as
    /// bodies and references to them. Bodies are durable when it returns; everything else is after [`sync`](Self::sync).
    fn put_records(&self, records: &[(Seq, &[u8])], ends_commit: bool) -> Result<(), StorageError> {
        bodies::put_records(self, records, ends_commit)
    }

    /// Like [`scan_parts`](Self::scan_parts), but in place of a reference `visit` gets one part with the whole envelope.
    /// If the body of a reference is missing or wrong, `visit` gets that damage, and may continue.
    fn scan(&self, from: PartKey, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        bodies::scan(self, from, visit)
    }

    /// Writes one slot of the head. A written slot survives the end of the process at once. It survives a loss of power
    /// after the next [`sync_head`](Self::sync_head).
    fn write_head(&self, slot: Slot, bytes: &[u8; SLOT_BYTES]) -> Result<(), StorageError>;

    /// The content of the head file.
    fn read_head(&self) -> Result<Vec<u8>, StorageError>;

    /// Makes the head durable.
    fn sync_head(&self) -> Result<(), StorageError>;

    /// Stores a mark that a write or sync has failed, for the next opening. Data after the head may then be readable
    /// without being durable. Best effort: storing the mark may fail too.
    fn mark_poisoned(&self);
}

/// A call to the storage failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {doing}: {reason}")]
pub struct StorageError {
    /// The operation.
    pub doing: &'static str,
    /// The error of the storage.
    pub reason: String,
    /// The kind of failure.
    pub kind: StorageFailure,
}

/// The kinds of storage failures. This is the only place that classifies them.
///
/// With `Broken` and `Full` the storage is unavailable: the process lacks space, descriptors, a permission or a
/// working disk, and the data may be intact. The same call may succeed a moment later, so these failures never lead
/// to a repair or a new start, and are never reported as damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFailure {
    /// The storage cannot be reached or does not work.
    Broken,
    /// The storage is full.
    Full,
    /// The stored data is invalid.
    Corrupt,
    /// The file does not exist.
    Absent,
}

impl StorageFailure {
    /// Classifies an I/O error.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind;
        let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
        if is(&[ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) {
            Self::Full
        } else if is(&[ErrorKind::NotFound]) {
            Self::Absent
        } else if is(&[ErrorKind::InvalidData, ErrorKind::UnexpectedEof, ErrorKind::IsADirectory]) {
            Self::Corrupt
        } else {
            // EMFILE and ENFILE, EACCES and EPERM, EROFS, EINTR, ENOMEM, EIO, ENOTDIR (a file is where a folder above
            // should be, which says nothing about the data), and all errors without a kind of their own.
            Self::Broken
        }
    }

    /// Classifies a panic by its message: sled unwraps the results of some system calls, and panics on unexpected data.
    pub fn of_panic(message: &str) -> Self {
        match message.split_once("Os { code: ") {
            Some((_, system)) if system.contains("kind: StorageFull") => Self::Full,
            Some((_, system)) if system.contains("kind: QuotaExceeded") => Self::Full,
            Some(_) => Self::Broken,
            None => Self::Corrupt,
        }
    }

    /// Classifies an error of sled.
    pub fn of_sled(error: &::sled::Error) -> Self {
        match error {
            // `Unsupported` means that sled did not write the file in this form.
            ::sled::Error::Corruption { .. }
            | ::sled::Error::CollectionNotFound(_)
            | ::sled::Error::Unsupported(_) => Self::Corrupt,
            ::sled::Error::Io(source) => Self::of(source),
            ::sled::Error::ReportableBug(_) => Self::Broken,
        }
    }

    /// Whether the storage is unavailable. This says nothing about the stored data.
    pub fn is_unavailable(self) -> bool {
        match self {
            Self::Broken | Self::Full => true,
            Self::Corrupt | Self::Absent => false,
        }
    }
}

impl StorageError {
    pub(crate) fn of_file(doing: &'static str, error: &io::Error) -> Self {
        Self { doing, reason: error.to_string(), kind: StorageFailure::of(error) }
    }

    #[cfg(any(test, feature = "memory-storage"))]
    pub(crate) fn arranged(doing: &'static str) -> Self {
        Self { doing, reason: "arranged to fail".to_owned(), kind: StorageFailure::Broken }
    }
}
