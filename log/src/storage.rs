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

/// What is the matter with a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFailure {
    /// It cannot be reached or does not work.
    Broken,
    /// There is no room left for what it was given.
    Full,
    /// What is stored is wrong.
    Corrupt,
}

impl StorageFailure {
    /// What the system's answer stands for.
    pub(crate) fn of(error: &io::Error) -> Self {
        let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if is_full { Self::Full } else { Self::Broken }
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
