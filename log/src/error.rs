//! What can go wrong with a log, and what the caller can do about it.

use std::path::PathBuf;

use crate::damage::Damage;
use crate::storage::{StorageError, StorageFailure};
use crate::tenant_id::TenantId;

/// An operation on a log failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The storage failed. If it was a write, the log is closed for writing.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A write or sync failed earlier. Reading goes on; writing needs the log to be opened again.
    #[error("the log takes no more writes since it could not {}: {}", .0.doing, .0.reason)]
    Poisoned(StorageError),
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
    /// Acknowledged records are missing or wrong. An operator has to look; nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// There is no log in this folder.
    #[error("there is no log in {0:?}")]
    NotFound(PathBuf),
    /// There is a log in this folder already.
    #[error("there is a log in {0:?} already")]
    AlreadyExists(PathBuf),
    /// Another process has the log open.
    #[error("{0:?} is open in another process")]
    Locked(PathBuf),
    /// The manifest cannot be read: it is no manifest, or of a newer version.
    #[error("the manifest {path:?} cannot be read: {reason}")]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest is that of another tenant: a folder or a file of it was copied here.
    #[error("the folder {path:?} is tenant \"{expected}\"'s, and its manifest is that of tenant \"{found}\"")]
    OtherTenant {
        /// The folder.
        path: PathBuf,
        /// The tenant by the folder's name.
        expected: TenantId,
        /// The tenant by the manifest.
        found: TenantId,
    },
    /// A tombstone cannot be read or says what the folder does not.
    #[error("the tombstone {path:?} is not believed: {reason}")]
    Tombstone {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record is larger than any reader would take. Nothing was written.
    #[error("a record of more than {bytes_max} bytes cannot be stored")]
    RecordTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The log would hold more than it was allowed to. Nothing was written.
    #[error("the log holds {bytes} bytes, with {more} more it would exceed {bytes_max}")]
    LogFull {
        /// What it holds, with what was staged before.
        bytes: u64,
        /// What the record would add.
        more: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A file or folder could not be read or written.
    #[error("could not {doing} {path:?}: {source}")]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Error {
    /// What the failure says about the stored data; `None` if it is about something else.
    pub fn failure(&self) -> Option<StorageFailure> {
        match self {
            Self::Storage(error) | Self::Poisoned(error) => Some(error.kind),
            Self::File { source, .. } => Some(StorageFailure::of(source)),
            Self::Damaged(_) | Self::Manifest { .. } | Self::OtherTenant { .. } | Self::Tombstone { .. } => {
                Some(StorageFailure::Corrupt)
            }
            Self::Closed
            | Self::NotFound(_)
            | Self::AlreadyExists(_)
            | Self::Locked(_)
            | Self::RecordTooLarge { .. }
            | Self::LogFull { .. } => None,
        }
    }

    /// Whether there was no room left for what was to be stored: less has to be kept, or more given, before it helps
    /// to come again.
    pub fn is_storage_full(&self) -> bool {
        self.failure() == Some(StorageFailure::Full)
    }

    /// Whether the process lacks something, and nothing is known about the stored data.
    pub fn is_want(&self) -> bool {
        self.failure().is_some_and(StorageFailure::is_want)
    }

    /// Whether the stored data is wrong or missing, however often it is read.
    pub fn is_damage(&self) -> bool {
        self.failure().is_some_and(|failure| !failure.is_want())
    }
}
