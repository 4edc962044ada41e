//! Events: facts about a tenant's data, in the past tense.
//!
//! These types define the format on disk: the whole of an event in version 1 of the envelope, and parts of it in version
//! 2. postcard encodes variants and fields by position, so they are only added at the end; `tests/golden.rs` has the
//! bytes of every variant.
//!
//! [`Event::facts`] says everything else that is known of an event. `effect` has the effects, which everything else
//! matches on.

mod effect;
mod kind;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::billing::{JournalPosition, ObservedOperation, RejectedLine};
use crate::document::Document;
use crate::language::{Language, TextParameters};
use crate::meter::{Meter, MeterTotal};
use crate::path::PayloadPath;
use crate::point::{Payload, Point, PointId};
use crate::position::{Seq, Timestamp};

pub use effect::{
    BillClose, BillStep, CollectionContent, DataChange, DroppedHistory, Effect, EventFacts, ObservedUsage,
    RefusedRequests, WrittenPoint, WrittenPoints,
};
pub use kind::EventKind;

/// A fact about a tenant's data. Applying an event from the log always succeeds: it was validated against the state
/// before it was appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A collection was created. The number of this record is its id.
    CollectionCreated {
        /// The name, unique among the tenant's existing collections.
        name: CollectionName,
        /// The dimension of all its vectors.
        dimension: Dimension,
        /// The metric of its vectors.
        metric: Metric,
        /// The index parameters that the tenant has set.
        index: IndexParameters,
    },
    /// A collection and its points were deleted.
    CollectionDeleted {
        /// The collection.
        collection: CollectionId,
    },
    /// Points were written, replacing points with the same ids. Ids are distinct within the event.
    VectorsUpserted {
        /// The collection.
        collection: CollectionId,
        /// The points, whose vectors have the collection's dimension.
        points: Vec<Point>,
    },
    /// Points were deleted, all of which existed. Empty if a deletion with an idempotency key found none: the event
    /// records that it was answered.
    VectorsDeleted {
        /// The collection.
        collection: CollectionId,
        /// The ids, distinct.
        ids: Vec<PointId>,
    },
    /// The payload of a point was replaced.
    PayloadChanged {
        /// The collection.
        collection: CollectionId,
        /// The point, which existed.
        id: PointId,
        /// The whole new payload.
        payload: Payload,
    },
    /// Requests were refused for one reason. Similar requests within a minute are one event, so that refused clients
    /// cannot fill the log.
    AccessDenied {
        /// The key's id, if the key is known.
        key_id: Option<String>,
        /// The operation, or [`Event::OTHERS`] for requests that were too many to distinguish; then the key and the
        /// address are missing.
        what: String,
        /// The reason, as the code of the problem in the answer.
        why: String,
        /// The client's address.
        from: Option<String>,
        /// How many requests there were.
        count: u64,
        /// When the first one was made.
        since: Timestamp,
        /// When the last one was made.
        through: Timestamp,
    },
    /// Requests were made that are billed.
    UsageObserved {
        /// How many requests of each operation, ordered by name.
        operations: Vec<ObservedOperation>,
        /// When the first one was made.
        since: Timestamp,
        /// When the last one was made.
        through: Timestamp,
        /// The position in the node's request journal up to which this record includes all requests, so that they are
        /// not recorded twice.
        journal: JournalPosition,
    },
    /// A billing window ended. It contains the records after the previous close, or from the first record on, up to
    /// this one, and never changes again.
    ///
    /// The previous close is at `first_seq - 1`, so each close leads to all earlier ones.
    BillingClosed {
        /// The version of metering.
        metering: u16,
        /// When the window began: the end of the previous one.
        since: Timestamp,
        /// When the window ended, not after this record. Storage from then on belongs to the next window.
        through: Timestamp,
        /// The first record of the window.
        first_seq: Seq,
        /// The totals of all meters, including zeros, in the order of [`Meter::ALL`].
        totals: Vec<MeterTotal>,
    },
    /// A total of a closed window was corrected.
    BillingCorrected {
        /// The record of the close.
        corrects: Seq,
        /// The meter.
        meter: Meter,
        /// The amount to add to the total.
        by: i128,
        /// The reason, at most [`Event::REASON_BYTES_MAX`] bytes.
        reason: String,
    },
    /// `HiveHub` has received every line of all closes and corrections up to `through`, except for those it rejected.
    BillingAcknowledged {
        /// The last close or correction that it has received.
        through: Seq,
        /// The lines that it rejected since the previous acknowledgement.
        rejected: Vec<RejectedLine>,
    },
    /// A collection whose points may have texts was created. The number of this record is its id.
    TextCollectionCreated {
        /// The name, unique among the tenant's existing collections.
        name: CollectionName,
        /// The parameters of its vectors; `None` if points have texts only.
        vectors: Option<VectorParameters>,
    },
    /// Documents were written, replacing points with the same ids. Ids are distinct within the event.
    DocumentsUpserted {
        /// The collection.
        collection: CollectionId,
        /// The documents: each with a vector of the collection's dimension or, if it has none, with a text.
        documents: Vec<Document>,
    },
    /// A collection with texts in one language was created. The number of this record is its id.
    LanguageCollectionCreated {
        /// The name, unique among the tenant's existing collections.
        name: CollectionName,
        /// The parameters of its vectors; `None` if points have texts only.
        vectors: Option<VectorParameters>,
        /// The language of the texts, whose words are stemmed.
        language: Language,
    },
    /// A payload path was declared: it is always indexed. It may have been declared before, if a request with an
    /// idempotency key was answered so.
    IndexDeclared {
        /// The collection.
        collection: CollectionId,
        /// The path.
        path: PayloadPath,
    },
    /// The declaration of a payload path was removed.
    IndexDropped {
        /// The collection.
        collection: CollectionId,
        /// The path.
        path: PayloadPath,
    },
    /// Older records were dropped. The log begins with the state after them.
    HistoryDropped {
        /// The last dropped record.
        through: Seq,
        /// Its chain hash.
        chain: [u8; 32],
        /// The hash of the base, which has the state after it.
        base: [u8; 32],
    },
}

impl Event {
    /// The operation in an [`Event::AccessDenied`] for requests of many kinds.
    pub const OTHERS: &str = "others";

    /// The longest reason, in bytes. Event producers truncate reasons with [`Event::reason`].
    pub const REASON_BYTES_MAX: usize = 256;

    /// `text`, truncated to the length of a reason.
    pub fn reason(text: &str) -> String {
        text[..text.floor_char_boundary(Self::REASON_BYTES_MAX)].to_owned()
    }

    /// Everything that is known of the event: this is the one place that says it. Folds, limits, exports and the items
    /// of an envelope follow from the effect, so the views borrow and nothing is allocated.
    // Inlined into folds of other crates, which use one effect and drop the rest.
    #[inline]
    #[expect(clippy::too_many_lines, reason = "one match says everything of each event")]
    pub fn facts(&self) -> EventFacts<'_> {
        let (name, kind, effect) = match self {
            Self::CollectionCreated { name, dimension, metric, index } => {
                let vectors = VectorParameters { dimension: *dimension, metric: *metric, index: *index };
                let content = CollectionContent::Vectors(vectors);
                (
                    "collection_created",
                    EventKind::CollectionCreated,
                    Effect::Data(DataChange::CreateCollection { name, content }),
                )
            }
            Self::CollectionDeleted { collection } => {
                let collection = *collection;
                (
                    "collection_deleted",
                    EventKind::CollectionDeleted,
                    Effect::Data(DataChange::DeleteCollection { collection }),
                )
            }
            Self::VectorsUpserted { collection, points } => {
                let (collection, points) = (*collection, WrittenPoints::Points(points));
                (
                    "vectors_upserted",
                    EventKind::VectorsUpserted,
                    Effect::Data(DataChange::WritePoints { collection, points }),
                )
            }
            Self::VectorsDeleted { collection, ids } => (
                "vectors_deleted",
                EventKind::VectorsDeleted,
                Effect::Data(DataChange::DeletePoints { collection: *collection, ids }),
            ),
            Self::PayloadChanged { collection, id, payload } => {
                let collection = *collection;
                (
                    "payload_changed",
                    EventKind::PayloadChanged,
                    Effect::Data(DataChange::ChangePayload { collection, id, payload }),
                )
            }
            Self::AccessDenied { key_id, what, why, from, count, since, through } => {
                let refused = RefusedRequests {
                    key_id: key_id.as_deref(),
                    what,
                    why,
                    from: from.as_deref(),
                    count: *count,
                    since: *since,
                    through: *through,
                };
                ("access_denied", EventKind::AccessDenied, Effect::Refusals(refused))
            }
            Self::UsageObserved { operations, since, through, journal } => {
                let (since, through, journal) = (*since, *through, *journal);
                (
                    "usage_observed",
                    EventKind::UsageObserved,
                    Effect::Usage(ObservedUsage { operations, since, through, journal }),
                )
            }
            Self::BillingClosed { metering, since, through, first_seq, totals } => {
                let (metering, since, through, first_seq) = (*metering, *since, *through, *first_seq);
                let close = BillClose { metering, since, through, first_seq, totals };
                ("billing_closed", EventKind::BillingClosed, Effect::Bill(BillStep::Close(close)))
            }
            Self::BillingCorrected { corrects, meter, by, reason } => {
                let (corrects, meter, by) = (*corrects, *meter, *by);
                (
                    "billing_corrected",
                    EventKind::BillingCorrected,
                    Effect::Bill(BillStep::Correct { corrects, meter, by, reason }),
                )
            }
            Self::BillingAcknowledged { through, rejected } => {
                let through = *through;
                (
                    "billing_acknowledged",
                    EventKind::BillingAcknowledged,
                    Effect::Bill(BillStep::Acknowledge { through, rejected }),
                )
            }
            Self::TextCollectionCreated { name, vectors } => {
                let content =
                    CollectionContent::Texts { vectors: *vectors, texts: TextParameters::default() };
                (
                    "text_collection_created",
                    EventKind::TextCollectionCreated,
                    Effect::Data(DataChange::CreateCollection { name, content }),
                )
            }
            Self::DocumentsUpserted { collection, documents } => {
                let (collection, points) = (*collection, WrittenPoints::Documents(documents));
                (
                    "documents_upserted",
                    EventKind::DocumentsUpserted,
                    Effect::Data(DataChange::WritePoints { collection, points }),
                )
            }
            Self::LanguageCollectionCreated { name, vectors, language } => {
                let texts = TextParameters { language: Some(*language) };
                let content = CollectionContent::Texts { vectors: *vectors, texts };
                (
                    "text_collection_created",
                    EventKind::LanguageCollectionCreated,
                    Effect::Data(DataChange::CreateCollection { name, content }),
                )
            }
            Self::IndexDeclared { collection, path } => {
                let collection = *collection;
                (
                    "index_declared",
                    EventKind::IndexDeclared,
                    Effect::Data(DataChange::DeclareIndex { collection, path }),
                )
            }
            Self::IndexDropped { collection, path } => {
                let collection = *collection;
                (
                    "index_dropped",
                    EventKind::IndexDropped,
                    Effect::Data(DataChange::DropIndex { collection, path }),
                )
            }
            Self::HistoryDropped { through, chain, base } => {
                let dropped = DroppedHistory { through: *through, chain, base };
                ("history_dropped", EventKind::HistoryDropped, Effect::History(dropped))
            }
        };
        EventFacts { name, kind, effect }
    }

    /// The effect.
    #[inline]
    pub fn effect(&self) -> Effect<'_> {
        self.facts().effect
    }

    /// Whether the event changes collections, vectors or payloads, and so advances `data_seq`. The indexing of
    /// payloads does not: every answer stays the same.
    pub fn changes_data(&self) -> bool {
        self.effect().data().is_some_and(DataChange::changes_data)
    }
}

/// The id of a collection: the number of the record that created it. A name may be reused, an id never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionId(Seq);

impl CollectionId {
    /// The id of the collection created by the record at `seq`.
    pub const fn created_at(seq: Seq) -> Self {
        Self(seq)
    }

    /// The record that created the collection.
    pub const fn seq(self) -> Seq {
        self.0
    }
}

impl fmt::Display for CollectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A collection's name: `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct CollectionName(Box<str>);

/// The string is not a valid [`CollectionName`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("collection name {0:?} is not of the form [A-Za-z0-9][A-Za-z0-9_.-]{{0,127}}")]
pub struct InvalidCollectionName(Box<str>);

impl CollectionName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<str>> for CollectionName {
    type Error = InvalidCollectionName;

    fn try_from(text: Box<str>) -> Result<Self, Self::Error> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if fits { Ok(Self(text)) } else { Err(InvalidCollectionName(text)) }
    }
}

impl FromStr for CollectionName {
    type Err = InvalidCollectionName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Box::<str>::from(text).try_into()
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The length of the vectors of a collection: 1 to 16,384.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Dimension(u32);

/// The number is not a valid [`Dimension`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("dimension {0} is outside 1 to {max}", max = Dimension::MAX)]
pub struct InvalidDimension(u32);

impl Dimension {
    /// The largest dimension.
    pub const MAX: u32 = 16_384;

    /// The number.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<u32> for Dimension {
    type Error = InvalidDimension;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(InvalidDimension(number)) }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The cosine of their angle, a similarity: higher is better.
    Cosine,
    /// Their inner product, a similarity: higher is better.
    Dot,
    /// Their euclidean distance: lower is better.
    Euclidean,
}

impl Metric {
    /// The metric's name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
        }
    }
}

/// The parameters of a collection's vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorParameters {
    /// The length of the vectors.
    pub dimension: Dimension,
    /// How they are compared.
    pub metric: Metric,
    /// The index parameters that the tenant has set.
    pub index: IndexParameters,
}

/// The index parameters of a collection; `None` for the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexParameters {
    /// Links for each node and level of the graph (M in the HNSW paper).
    pub m: Option<u16>,
    /// Candidates kept while a node is linked (efConstruction).
    pub ef_construction: Option<u16>,
    /// Candidates kept by a search that does not set them (ef).
    pub ef: Option<u16>,
}
