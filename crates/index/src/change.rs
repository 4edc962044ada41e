//! What an event changes in the index, and why an event is invalid.

use vectorizer_log::{CollectionId, CollectionName, PayloadPath, PointId};

/// What one event has changed, as numbers for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Collections created.
    pub collections_created: u64,
    /// Collections deleted.
    pub collections_deleted: u64,
    /// Vectors written under a new id.
    pub vectors_added: u64,
    /// Vectors written in place of one with the same id.
    pub vectors_replaced: u64,
    /// Vectors deleted, by id or with their collection.
    pub vectors_removed: u64,
    /// Logical bytes written, replacements included.
    pub bytes_added: u64,
    /// Logical bytes deleted or replaced.
    pub bytes_removed: u64,
    /// Paths declared that were not declared before.
    pub indexes_declared: u64,
}

/// Why an event cannot be applied to the current state.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEvent {
    /// A collection of this name exists.
    #[error("a collection named \"{name}\" exists")]
    NameExists {
        /// The name.
        name: CollectionName,
    },
    /// The collection does not exist, or no longer.
    #[error("collection {collection} does not exist")]
    UnknownCollection {
        /// Its id.
        collection: CollectionId,
    },
    /// The vector has another dimension than the collection.
    #[error("vector \"{id}\" has dimension {found}, its collection has {expected}")]
    WrongDimension {
        /// The vector's id.
        id: PointId,
        /// The collection's dimension.
        expected: usize,
        /// The vector's.
        found: usize,
    },
    /// The point has no vector, but the collection has a dimension.
    #[error("\"{id}\" has no vector, its collection has dimension {expected}")]
    NoVector {
        /// The point's id.
        id: PointId,
        /// The collection's dimension.
        expected: usize,
    },
    /// The point has a vector, but the collection has no dimension.
    #[error("\"{id}\" has a vector, its collection has none")]
    UnexpectedVector {
        /// The point's id.
        id: PointId,
    },
    /// The point has a text, but the collection has no texts.
    #[error("\"{id}\" has a text, its collection has none")]
    UnexpectedText {
        /// The point's id.
        id: PointId,
    },
    /// The point has neither a vector nor a text.
    #[error("\"{id}\" has no text, and its collection has nothing else")]
    NoText {
        /// The point's id.
        id: PointId,
    },
    /// One event names a point twice.
    #[error("vector \"{id}\" occurs more than once")]
    RepeatedPoint {
        /// Its id.
        id: PointId,
    },
    /// The point to change or delete does not exist.
    #[error("vector \"{id}\" does not exist")]
    UnknownPoint {
        /// Its id.
        id: PointId,
    },
    /// The path to drop is not declared.
    #[error("no index on \"{path}\" was declared")]
    UndeclaredIndex {
        /// The path.
        path: PayloadPath,
    },
}
