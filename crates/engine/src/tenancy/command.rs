//! What a tenant can ask of its writer, and what it can be told.

use std::any::Any;

use vectorizer_index::{Filter, PayloadIndex};
use vectorizer_limits::QuotaExceeded;
use vectorizer_log::{
    Actor, CollectionName, Document, Idempotency, InvalidPoint, Payload, PayloadPath, PointId, Seq,
    TextParameters, VectorParameters,
};
use vectorizer_replay::Outcome;

use super::merge_patch::MergePatch;

/// One write, with its actor and conditions.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) actor: Actor,
    pub(super) request_id: String,
    pub(super) write: Write<Change>,
}

/// A change to one collection and its conditions, before anybody has signed it.
#[derive(Debug)]
pub struct Write<C> {
    /// The collection it is about.
    pub collection: CollectionName,
    /// What is to happen.
    pub change: C,
    /// Set if a repeated request is to be answered, not done again.
    pub idempotency: Option<Idempotency>,
    /// What must hold of the collection.
    pub precondition: Option<Precondition>,
    /// What it takes up of the node's memory.
    pub room: HeldPermits,
}

/// Permits, of the node's and of its tenant's share, that what came in takes up until it is done, even if its
/// caller has gone.
#[derive(Debug, Default)]
pub struct HeldPermits {
    _held: Option<Box<dyn Any + Send + Sync>>,
}

impl HeldPermits {
    /// Until this is dropped, `held` is.
    pub fn of(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Some(Box::new(held)) }
    }
}

/// What can happen to a collection as a whole.
#[derive(Clone, Debug)]
pub enum CollectionChange {
    /// Make it.
    Create {
        /// Of its vectors; `None` if its points have texts only.
        vectors: Option<VectorParameters>,
        /// How its texts are read; `None` if its points may have none. Without vectors they have them in any case.
        texts: Option<TextParameters>,
    },
    /// Delete it and everything in it.
    Delete,
    /// Have a path of its payloads indexed whatever other paths there are.
    DeclareIndex(PayloadPath),
    /// Make a declared path one like all others.
    DropIndex(PayloadPath),
}

/// What can happen to the vectors in a collection.
#[derive(Clone, Debug)]
pub enum VectorChange {
    /// Write points.
    Upsert(Vec<Document>),
    /// Delete one point, which must exist.
    DeleteOne(PointId),
    /// Delete those of these points that exist.
    DeleteMany(Vec<PointId>),
    /// Delete the points that fulfil a filter.
    DeleteMatching(Filter),
    /// Change the payload of one point.
    ChangePayload {
        /// Whose.
        id: PointId,
        /// How.
        patch: MergePatch,
    },
}

/// Either.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Collection(CollectionChange),
    Vectors(VectorChange),
}

impl Change {
    /// How many vectors it names.
    pub(super) fn vectors(&self) -> usize {
        match self {
            Self::Vectors(VectorChange::Upsert(points)) => points.len(),
            Self::Vectors(VectorChange::DeleteMany(ids)) => ids.len(),
            Self::Vectors(VectorChange::DeleteOne(_) | VectorChange::ChangePayload { .. }) => 1,
            Self::Vectors(VectorChange::DeleteMatching(_)) | Self::Collection(_) => 0,
        }
    }

    /// About how many bytes it carries.
    pub(super) fn bytes(&self) -> usize {
        let point = |point: &Document| {
            let vector = point.vector.as_ref().map_or(0, |vector| 4 * vector.dimension());
            let payload = point.payload.as_ref().map_or(0, |payload| payload.as_str().len());
            let text = point.text.as_ref().map_or(0, |text| text.as_str().len());
            vector + point.id.as_str().len() + payload + text
        };
        match self {
            Self::Vectors(VectorChange::Upsert(points)) => points.iter().map(point).sum(),
            Self::Vectors(VectorChange::DeleteMany(ids)) => ids.iter().map(|id| id.as_str().len()).sum(),
            Self::Vectors(VectorChange::ChangePayload { .. }) => Payload::BYTES_MAX,
            Self::Vectors(VectorChange::DeleteOne(_) | VectorChange::DeleteMatching(_))
            | Self::Collection(_) => 0,
        }
    }
}

impl From<CollectionChange> for Change {
    fn from(change: CollectionChange) -> Self {
        Self::Collection(change)
    }
}

impl From<VectorChange> for Change {
    fn from(change: VectorChange) -> Self {
        Self::Vectors(change)
    }
}

impl<C> Write<C> {
    pub(super) fn erase(self) -> Write<Change>
    where
        C: Into<Change>,
    {
        let Self { collection, change, idempotency, precondition, room } = self;
        Write { collection, change: change.into(), idempotency, precondition, room }
    }
}

/// The collection as the client believes it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// It exists.
    Exists,
    /// Its last change is one of these.
    LastChangeIn(Vec<Seq>),
}

/// A write that was done and is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The record that did it; the last record of the log if there was nothing to do.
    pub seq: Seq,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether an earlier request with the same idempotency key did it.
    pub repeated: bool,
}

/// Why a write was not done. Nothing was appended.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum WriteError {
    /// The name is taken.
    #[error("a collection named {name:?} exists already", name = .0.as_str())]
    CollectionExists(CollectionName),
    /// There is no such collection.
    #[error("there is no collection named {name:?}", name = .0.as_str())]
    NoSuchCollection(CollectionName),
    /// There is no such point.
    #[error("there is no vector with id {id:?} in collection {name:?}", name = .name.as_str(), id = .id.as_str())]
    NoSuchVector {
        /// The collection.
        name: CollectionName,
        /// The id.
        id: PointId,
    },
    /// The path is not declared.
    #[error("no index on {path:?} was declared in collection {name:?}", name = .name.as_str(), path = .path.as_str())]
    NoSuchIndex {
        /// The collection.
        name: CollectionName,
        /// The path.
        path: PayloadPath,
    },
    /// As many paths are declared as may be.
    #[error("collection {name:?} has {max} declared indexes, as many as it may; delete one that is not needed", name = .0.as_str(), max = PayloadIndex::DECLARED_MAX)]
    TooManyIndexes(CollectionName),
    /// A vector of another dimension than its collection's.
    #[error("vector {id:?} has dimension {found}, collection {name:?} has dimension {expected}", id = .id.as_str(), name = .name.as_str())]
    WrongDimension {
        /// The collection.
        name: CollectionName,
        /// The vector's id.
        id: PointId,
        /// The collection's dimension.
        expected: usize,
        /// The vector's.
        found: usize,
    },
    /// A point without a vector in a collection that has a dimension.
    #[error("vector: {id:?} has none, and collection {name:?} has dimension {expected}", id = .id.as_str(), name = .name.as_str())]
    NoVector {
        /// The collection.
        name: CollectionName,
        /// The point's id.
        id: PointId,
        /// The collection's dimension.
        expected: usize,
    },
    /// A vector for a collection without any.
    #[error("vector: {id:?} has one, and collection {name:?} has no dimension, it takes texts only", id = .id.as_str(), name = .name.as_str())]
    UnexpectedVector {
        /// The collection.
        name: CollectionName,
        /// The point's id.
        id: PointId,
    },
    /// A text for a collection without any.
    #[error("text: {id:?} has one, and collection {name:?} was not created with `text: true`", id = .id.as_str(), name = .name.as_str())]
    UnexpectedText {
        /// The collection.
        name: CollectionName,
        /// The point's id.
        id: PointId,
    },
    /// A search by words in a collection without any.
    #[error("text: collection {name:?} was not created with `text: true`, its vectors have no words to search", name = .0.as_str())]
    NoTexts(CollectionName),
    /// No text for a collection of nothing else.
    #[error("text: {id:?} has none, and collection {name:?} has no dimension, it takes texts only", id = .id.as_str(), name = .name.as_str())]
    NoText {
        /// The collection.
        name: CollectionName,
        /// The point's id.
        id: PointId,
    },
    /// A zero vector, which has no cosine.
    #[error("vector {id:?} is zero, which has no direction and so no cosine", id = .id.as_str())]
    ZeroVector {
        /// Its id.
        id: PointId,
    },
    /// An id twice in one request.
    #[error("id {id:?} occurs more than once", id = .id.as_str())]
    RepeatedId {
        /// The id.
        id: PointId,
    },
    /// The payload after the change would be none.
    #[error("after the change: {0}")]
    Payload(InvalidPoint),
    /// The collection is not as the client believes.
    #[error("the last change of collection {name:?} is {found}, not what If-Match names", name = .name.as_str(), found = .found.map_or_else(|| "none, it does not exist".to_owned(), |seq| seq.to_string()))]
    PreconditionFailed {
        /// The collection.
        name: CollectionName,
        /// Its last change.
        found: Option<Seq>,
    },
    /// The idempotency key stands for another request.
    #[error("idempotency key {key:?} was used for another request, at seq {seq}")]
    IdempotencyMismatch {
        /// The key.
        key: String,
        /// The record of that request.
        seq: Seq,
    },
    /// The tenant would use more than it may.
    #[error(transparent)]
    QuotaExceeded(QuotaExceeded),
    /// The write is larger than one record can be.
    #[error("the write is larger than one record can be")]
    TooLarge,
    /// The tenant's storage has failed. Whether the write was done is open.
    #[error("the tenant's storage has failed; whether the write was done is open")]
    StorageFailed,
    /// The tenant's storage had failed before the write could be handed over.
    #[error("the tenant's storage has failed; the write was not done")]
    StorageClosed,
    /// There is no room left where the tenant's log is kept. Whether the write was done is open, as it was begun.
    #[error("there is no room left on the server's disk; whether the write was done is open")]
    StorageFull,
    /// There was no room left before the write could be handed over.
    #[error("there is no room left on the server's disk; the write was not done")]
    StorageFullBefore,
    /// The tenant has more writes waiting than it may.
    #[error("too many writes are waiting")]
    Busy,
    /// The collection has as many unlinked vectors as it may, and they cannot be linked.
    #[error("vectors cannot be linked; this collection takes no more until the server starts again")]
    LinkingFailed,
    /// The tenant's writer is at a long step, and as many requests wait for it as may, or this one has for as long.
    #[error("too many requests wait for a write of this tenant to be applied")]
    ReadBusy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}
