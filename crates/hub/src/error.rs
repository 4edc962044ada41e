//! Errors of the hub's store.

use std::io;
use std::path::PathBuf;

use vectorizer_access::KeyId;
use vectorizer_journal::JournalError;
use vectorizer_log::TenantId;

use super::limits::PlanName;

/// Why the hub could not be opened, or a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum HubStoreError {
    /// The disk failed. The change may or may not be there after a restart; it was not acknowledged.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was written. Nothing is changed or reset.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process runs a hub on this folder.
    #[error("another hub is running on {}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A tenant of this id exists.
    #[error("tenant {0} exists")]
    TenantExists(TenantId),
    /// No tenant has this id.
    #[error("there is no tenant {0}")]
    NoSuchTenant(TenantId),
    /// The tenant is deleted. It can be created again, empty.
    #[error("tenant {0} was deleted")]
    TenantDeleted(TenantId),
    /// The tenant is not deleted, or was created again.
    #[error("tenant {0} is not deleted")]
    TenantNotDeleted(TenantId),
    /// Its deletion is final.
    #[error(
        "tenant {tenant} was deleted longer ago than {grace} s, or at a time that is not known: that is final"
    )]
    GraceOver {
        /// Which.
        tenant: TenantId,
        /// For how many seconds a deletion can be undone.
        grace: u64,
    },
    /// No plan has this name.
    #[error("there is no plan {0}")]
    NoSuchPlan(PlanName),
    /// No key has this id.
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
    /// This key, or another one with its id, exists.
    #[error("key {0} exists")]
    KeyExists(KeyId),
    /// The key is revoked or expired, and cannot be rotated.
    #[error("key {0} was revoked or has expired")]
    KeyEnded(KeyId),
    /// A key of cluster scope must be ADMIN.
    #[error("a key of cluster scope has to be ADMIN")]
    LesserClusterKey,
    /// The hub has keys already.
    #[error("the hub has keys: `vectorizer hub keys create` and `hub service-key rotate` make others")]
    Initialised,
    /// Too many rotations have an overlap that has not ended.
    #[error("{} service keys are accepted at the same time at most", super::service_key::SERVICE_KEYS_MAX)]
    TooManyServiceKeys,
    /// The last service key cannot be revoked.
    #[error("service key {0} is the only one that is accepted: rotate it, with an overlap of 0 if need be")]
    OnlyServiceKey(KeyId),
    /// The overlap is too long.
    #[error("two keys may overlap for {} s at most", super::change::OVERLAP_SECONDS_MAX)]
    OverlapTooLong,
    /// The system gave no random bytes.
    #[error("no random bytes for a new key")]
    NoEntropy(#[source] getrandom::Error),
}

impl From<JournalError> for HubStoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { path, source } => Self::Io { path, source },
            JournalError::Damaged { path, reason } => Self::Damaged { path, reason },
        }
    }
}
