//! Errors of a log, and what the caller can do about them.

use std::path::PathBuf;

use crate::damage::{Damage, DamageKind};
use crate::position::Seq;
use crate::storage::{StorageError, StorageFailure};
use crate::tenant_id::TenantId;

/// An operation on a log failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The storage failed. If it was a write, the log refuses further writes.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An earlier write or sync failed. Reading goes on; writing needs the log to be opened again.
    #[error("the log takes no more writes since it could not {}: {}", .0.doing, .0.reason)]
    Poisoned(StorageError),
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
    /// Acknowledged records are missing or wrong. An operator has to act. Nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// There is no log in this folder.
    #[error("there is no log in {0:?}")]
    NotFound(PathBuf),
    /// There is already a log in this folder.
    #[error("there is a log in {0:?} already")]
    AlreadyExists(PathBuf),
    /// Another process has the log open.
    #[error("{0:?} is open in another process")]
    Locked(PathBuf),
    /// The manifest is invalid, or of a newer version.
    #[error("the manifest {path:?} cannot be read: {reason}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest is that of another tenant: a folder, or a file of one, was copied here.
    #[error(
        "the folder {path:?} is that of tenant \"{expected}\", but its manifest is that of tenant \"{found}\""
    )]
    OtherTenant {
        /// The folder.
        path: PathBuf,
        /// The tenant by the folder's name.
        expected: TenantId,
        /// The tenant by the manifest.
        found: TenantId,
    },
    /// A tombstone is invalid, or does not match the folder.
    #[error("the tombstone {path:?} is not valid: {reason}")]
    Tombstone {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The record is larger than any reader would take. Nothing was written.
    #[error("a record of more than {bytes_max} bytes cannot be stored")]
    RecordTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The log would hold more than its limit. Nothing was written.
    #[error("the log holds {bytes} bytes, with {more} more it would exceed {bytes_max}")]
    LogFull {
        /// What it holds, including staged records.
        bytes: u64,
        /// The size of the record.
        more: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The record was dropped by retention. Nothing is wrong.
    #[error("the records before {oldest} were dropped")]
    HistoryDropped {
        /// The oldest record that can be read.
        oldest: Seq,
    },
    /// A file or folder could not be read or written.
    #[error("could not {doing} {path:?}: {source}")]
    File {
        /// The operation.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
}

impl Error {
    /// The kind of storage failure; `None` if the error is of another kind.
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
            | Self::HistoryDropped { .. }
            | Self::LogFull { .. } => None,
        }
    }

    /// Whether the storage is full: retrying helps only after something was deleted or the disk was enlarged.
    pub fn is_storage_full(&self) -> bool {
        self.failure() == Some(StorageFailure::Full)
    }

    /// Whether the storage is unavailable, which says nothing about the stored data.
    pub fn is_unavailable(&self) -> bool {
        self.failure().is_some_and(StorageFailure::is_unavailable)
    }

    /// Whether the stored data is wrong or missing, however often it is read.
    pub fn is_damage(&self) -> bool {
        self.failure().is_some_and(|failure| !failure.is_unavailable())
    }
}

/// Treats a database that sled cannot open as damage of all its records.
pub(crate) fn damage_if_corrupt(error: StorageError) -> Error {
    match error {
        StorageError { reason, kind: StorageFailure::Corrupt, .. } => {
            Damage { seq: Seq::OLDEST, kind: DamageKind::Storage { reason } }.into()
        }
        error => error.into(),
    }
}
