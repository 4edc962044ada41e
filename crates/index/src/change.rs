//! What an event did to the index, and why one cannot happen.

use vectorizer_log::{CollectionId, CollectionName, PayloadPath, PointId};

/// What one event did, in numbers: all that counters need to know of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Collections that are new.
    pub collections_created: u64,
    /// Collections that are gone.
    pub collections_deleted: u64,
    /// Vectors whose id is new.
    pub vectors_added: u64,
    /// Vectors that took the place of one with their id.
    pub vectors_replaced: u64,
    /// Vectors that are gone, by id or with their collection.
    pub vectors_removed: u64,
    /// Logical bytes of what was written, replacements included.
    pub bytes_added: u64,
    /// Logical bytes of what was deleted or replaced.
    pub bytes_removed: u64,
    /// Paths that are declared and were not.
    pub indexes_declared: u64,
}

/// Why an event cannot happen in the state it meets.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Misfit {
    /// A collection of that name exists.
    #[error("a collection named \"{name}\" exists")]
    NameExists {
        /// The name.
        name: CollectionName,
    },
    /// No such collection exists, or no longer.
    #[error("collection {collection} does not exist")]
    UnknownCollection {
        /// Its id.
        collection: CollectionId,
    },
    /// A vector is not of its collection's dimension.
    #[error("vector \"{id}\" has dimension {found}, its collection has {expected}")]
    WrongDimension {
        /// The vector's id.
        id: PointId,
        /// The collection's dimension.
        expected: usize,
        /// The vector's.
        found: usize,
    },
    /// A point without a vector in a collection with a dimension.
    #[error("\"{id}\" has no vector, its collection has dimension {expected}")]
    NoVector {
        /// The point's id.
        id: PointId,
        /// The collection's dimension.
        expected: usize,
    },
    /// A point with a vector in a collection without a dimension.
    #[error("\"{id}\" has a vector, its collection has none")]
    UnexpectedVector {
        /// The point's id.
        id: PointId,
    },
    /// A point with a text in a collection without texts.
    #[error("\"{id}\" has a text, its collection has none")]
    UnexpectedText {
        /// The point's id.
        id: PointId,
    },
    /// A point with neither.
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
    /// A point to change or delete does not exist.
    #[error("vector \"{id}\" does not exist")]
    UnknownPoint {
        /// Its id.
        id: PointId,
    },
    /// A path to drop was not declared.
    #[error("no index on \"{path}\" was declared")]
    UndeclaredIndex {
        /// The path.
        path: PayloadPath,
    },
}
