//! Why a folder does not become a tenant.

use vectorizer_log::{Damage, MigrationError, Seq};
use vectorizer_replay::{ApplyError, StateDigest};

use crate::cli::exit::Exit;
use crate::node_store::NodeStoreError;

/// What keeps it from becoming one.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum MigrateFailure {
    /// The folders.
    #[error(transparent)]
    Folders(#[from] MigrationError),
    /// The copy cannot be opened, read or written.
    #[error("the copied log")]
    Log(#[source] vectorizer_log::Error),
    /// The node's notes.
    #[error(transparent)]
    NodeStore(NodeStoreError),
    /// Somebody has paid for it.
    #[error(
        "record {0} belongs to a bill: this folder was a tenant of a cluster, and its bill would be lost; move the \
         folder itself instead, while no server has it open"
    )]
    BilledBefore(Seq),
}

impl MigrateFailure {
    /// How a command that fails like this ends.
    pub(in crate::cli) fn exit(&self) -> Exit {
        match self {
            Self::Folders(error) if error.is_finding() => Exit::DoesNotHold,
            Self::Folders(_) | Self::Log(_) | Self::NodeStore(_) | Self::BilledBefore(_) => Exit::CouldNotAsk,
        }
    }
}

/// What does not hold of the copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum Finding {
    /// Records are missing or wrong.
    #[error(transparent)]
    Damage(Damage),
    /// A record does not follow from those in front of it.
    #[error(transparent)]
    Apply(ApplyError),
    /// Not what the source has acknowledged.
    #[error("the history through record {seq} is not the source's")]
    OtherHistory {
        /// Where the source ends.
        seq: Seq,
    },
    /// Read twice, and not the same.
    #[error("a second reading gives another state: digest {first} became {second}")]
    Digest {
        /// Before.
        first: StateDigest,
        /// Afterwards.
        second: StateDigest,
    },
}
