//! The errors of a migration.

use vectorizer_log::{Damage, MigrationError, Seq};
use vectorizer_node_store::NodeStoreError;
use vectorizer_replay::{ApplyError, BaseError, StateDigest};

use crate::cli::exit::Exit;

/// Why a migration failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum MigrateFailure {
    /// The source or the destination folder cannot be used.
    #[error(transparent)]
    Folders(#[from] MigrationError),
    /// The copy cannot be opened, read or written.
    #[error("the copied log")]
    Log(#[source] vectorizer_log::Error),
    /// The node's store cannot be written.
    #[error(transparent)]
    NodeStore(NodeStoreError),
    /// The log has billing records.
    #[error(
        "record {0} belongs to a bill: this folder was a tenant of a cluster, and the migration would lose its bill; move the \
         folder itself instead, while no server has it open"
    )]
    BilledBefore(Seq),
}

impl MigrateFailure {
    /// The exit code of a command with this failure.
    pub(in crate::cli) fn exit(&self) -> Exit {
        match self {
            Self::Folders(error) if error.is_finding() => Exit::CheckFailed,
            Self::Folders(_) | Self::Log(_) | Self::NodeStore(_) | Self::BilledBefore(_) => Exit::Error,
        }
    }
}

/// Why the copy failed verification.
#[derive(Debug, thiserror::Error)]
pub(super) enum Finding {
    /// Records are missing or damaged.
    #[error(transparent)]
    Damage(Damage),
    /// A record does not apply.
    #[error(transparent)]
    Apply(ApplyError),
    /// The base cannot be folded.
    #[error(transparent)]
    Base(BaseError),
    /// The copy does not have the records that the source has acknowledged.
    #[error("the history up to record {seq} differs from the source's")]
    OtherHistory {
        /// The last record of the source.
        seq: Seq,
    },
    /// A second read gave another result.
    #[error("a second read gives another state: digest {first} became {second}")]
    Digest {
        /// The digest of the first read.
        first: StateDigest,
        /// The digest of the second read.
        second: StateDigest,
    },
}
