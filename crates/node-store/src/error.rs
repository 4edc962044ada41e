//! Why the node store cannot be read or written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use vectorizer_log::storage::StorageFailure;

/// The node store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NodeStoreError {
    /// The database has failed.
    #[error("the node store has failed: {0}")]
    Database(#[from] sled::Error),
    /// The folder cannot be used.
    #[error("cannot use {path:?}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The records about tenants could not be opened.
    #[error("the node store could not be opened")]
    Unopened(#[source] Arc<NodeStoreError>),
    /// The database cannot be used for now.
    #[error("the node store cannot be used for now: {0}")]
    Wanting(String),
    /// The database is damaged.
    #[error("the node store is damaged: {0}")]
    Damaged(String),
    /// There is no tree of this name in the database.
    #[error("the node store has no such tree")]
    NoSuchTree,
    /// A record cannot be read.
    #[error("a record in the node store cannot be read")]
    Note(#[from] serde_json::Error),
}

impl NodeStoreError {
    /// Whether resources are missing, so that nothing is known about the data.
    pub fn is_want(&self) -> bool {
        match self {
            Self::Database(error) => StorageFailure::of_sled(error).is_unavailable(),
            Self::Folder { source, .. } => StorageFailure::of(source).is_unavailable(),
            Self::Unopened(error) => error.is_want(),
            Self::Wanting(_) => true,
            Self::Damaged(_) | Self::NoSuchTree | Self::Note(_) => false,
        }
    }
}
