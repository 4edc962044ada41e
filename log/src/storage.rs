//! The narrow ground a log stands on, so that a test can fail, tear or freeze any write, and so that
//! a replicated log can take sled's place later.

#[cfg(any(test, feature = "memory-storage"))]
mod memory;
mod sled;
#[cfg(test)]
mod sled_tests;

use std::ops::ControlFlow;
use std::{fmt, io};

#[cfg(any(test, feature = "memory-storage"))]
pub use self::memory::{Fault, MemoryStorage};
pub(crate) use self::sled::{SledCopy, SledPaths, sync_folder};
pub use self::sled::{SledStorage, open_when_free};
use crate::head::{SLOT_BYTES, Slot};
use crate::part::PartKey;

/// Sees a raw key and value; breaking ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Ordered parts, and a head beside them.
///
/// One writer calls [`put`](Self::put), [`remove`](Self::remove), [`sync`](Self::sync) and the head's
/// writes; any number of readers scan at the same time.
///
/// What survives: after `sync` has returned `Ok`, every earlier `put` and `remove` survives power
/// loss. Before that, the end of a process or of power may undo any of them, but only from the end:
/// what survives is what a prefix of the calls would have left. After an error nothing more is
/// promised than what the last successful `sync` promised, and the caller must not go on writing.
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// The longest value [`put`](Self::put) takes, in bytes; at least 64.
    fn part_bytes_max(&self) -> usize;

    /// Stores `value` at `key`, in place of what was there.
    fn put(&self, key: PartKey, value: &[u8]) -> Result<(), StorageError>;

    /// Removes what is at this raw key, if anything is.
    fn remove(&self, key: &[u8]) -> Result<(), StorageError>;

    /// Makes everything so far durable.
    fn sync(&self) -> Result<(), StorageError>;

    /// Calls `visit` with every raw key and value from `from` on, in the order of keys, until it
    /// breaks. Keys that are no [`PartKey`] are shown too: whoever reads must know of them.
    fn scan(&self, from: PartKey, visit: &mut Visit<'_>) -> Result<(), StorageError>;

    /// Writes one slot of the head. It survives the end of the process from here on, and that of
    /// power from the next [`sync_head`](Self::sync_head) on.
    fn write_head(&self, slot: Slot, bytes: &[u8; SLOT_BYTES]) -> Result<(), StorageError>;

    /// The head file as it is.
    fn read_head(&self) -> Result<Vec<u8>, StorageError>;

    /// Makes the head durable.
    fn sync_head(&self) -> Result<(), StorageError>;

    /// Leaves word for the next opening that a write or sync has failed: what lies beyond the head
    /// may be readable without being durable. Best effort, as storage that fails may fail at this.
    fn condemn(&self);
}

/// A call to the storage failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {doing}: {reason}")]
pub struct StorageError {
    /// What was attempted.
    pub doing: &'static str,
    /// What the storage says.
    pub reason: String,
    /// What kind of failure that is.
    pub kind: StorageFailure,
}

/// What a failure of a storage says about the stored data. This is the one place that decides it.
///
/// `Broken` and `Full` are want: the process lacks something (room, descriptors, a permission, a disk that works), and
/// the data may be whole. Want is never answered by repair, by a fresh start or as damage, since the same call may
/// succeed a moment later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFailure {
    /// It cannot be reached or does not work.
    Broken,
    /// There is no room left for what it was given.
    Full,
    /// What is stored is wrong.
    Corrupt,
    /// The file does not exist.
    Absent,
}

impl StorageFailure {
    /// What the system's answer stands for.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind;
        let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
        if is(&[ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) {
            Self::Full
        } else if is(&[ErrorKind::NotFound, ErrorKind::NotADirectory]) {
            Self::Absent
        } else if is(&[ErrorKind::InvalidData, ErrorKind::UnexpectedEof, ErrorKind::IsADirectory]) {
            Self::Corrupt
        } else {
            // EMFILE and ENFILE, EACCES and EPERM, EROFS, EINTR, ENOMEM, EIO, and all that has no kind of its own.
            Self::Broken
        }
    }

    /// What a panic with this message stands for: sled unwraps what the system says of some calls, and panics at much
    /// that it does not expect of its data.
    pub fn of_panic(message: &str) -> Self {
        match message.split_once("Os { code: ") {
            Some((_, system)) if system.contains("kind: StorageFull") => Self::Full,
            Some((_, system)) if system.contains("kind: QuotaExceeded") => Self::Full,
            Some(_) => Self::Broken,
            None => Self::Corrupt,
        }
    }

    /// What an error of sled's stands for.
    pub fn of_sled(error: &::sled::Error) -> Self {
        match error {
            // What it does not support is a file that it would not have written so.
            ::sled::Error::Corruption { .. }
            | ::sled::Error::CollectionNotFound(_)
            | ::sled::Error::Unsupported(_) => Self::Corrupt,
            ::sled::Error::Io(source) => Self::of(source),
            ::sled::Error::ReportableBug(_) => Self::Broken,
        }
    }

    /// Whether the process lacks something, and nothing is known about the data.
    pub fn is_want(self) -> bool {
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
