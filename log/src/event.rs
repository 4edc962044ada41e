//! What can happen to a tenant: facts, in the past tense.
//!
//! These types are the format on disk. postcard writes them by position, so variants and fields are
//! only ever added at the end; `tests/golden.rs` keeps the bytes of every variant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::billing::{JournalPosition, ObservedOperation, ParkedLine};
use crate::document::Document;
use crate::language::Language;
use crate::meter::{Meter, MeterTotal};
use crate::path::PayloadPath;
use crate::point::{Payload, Point, PointId};
use crate::position::{Seq, Timestamp};

/// A fact about a tenant's data. Applying an appended event always succeeds: whoever appends has
/// validated it against the state it will meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A collection exists from now on; this record's seq is its id.
    CollectionCreated {
        /// Its name, unique among the tenant's collections that exist.
        name: CollectionName,
        /// Of all its vectors.
        dimension: Dimension,
        /// How its vectors compare.
        metric: Metric,
        /// What the tenant asked of its index.
        index: IndexParameters,
    },
    /// A collection and everything in it is gone.
    CollectionDeleted {
        /// Which.
        collection: CollectionId,
    },
    /// These points are now what their ids mean; ids are distinct within one event.
    VectorsUpserted {
        /// Where.
        collection: CollectionId,
        /// The points, each of the collection's dimension.
        points: Vec<Point>,
    },
    /// These points, all of which existed, are gone. Empty when a delete with an idempotency key
    /// found nothing: the fact that it was answered is kept all the same.
    VectorsDeleted {
        /// Where.
        collection: CollectionId,
        /// The ids, distinct.
        ids: Vec<PointId>,
    },
    /// A point has this payload now.
    PayloadChanged {
        /// Where.
        collection: CollectionId,
        /// The point, which existed.
        id: PointId,
        /// The whole payload after the change.
        payload: Payload,
    },
    /// Requests were refused, all for the same reason. Many that are alike within a minute are one event,
    /// so that whoever is refused cannot fill the log.
    AccessDenied {
        /// The key's id, where the key is known.
        key_id: Option<String>,
        /// The operation that was asked for; [`Event::OTHERS`] where there were too many different
        /// requests to tell them apart, and then nothing is said of key and address either.
        what: String,
        /// Why they were refused, as the code of the problem that was answered.
        why: String,
        /// The client's address.
        from: Option<String>,
        /// How many there were.
        count: u64,
        /// When the first came.
        since: Timestamp,
        /// When the last came.
        through: Timestamp,
    },
    /// Requests were made, which the bill counts beside what they changed.
    UsageObserved {
        /// How many of which operation: each once, ordered by name.
        operations: Vec<ObservedOperation>,
        /// When the first came.
        since: Timestamp,
        /// When the last came.
        through: Timestamp,
        /// How far the node's journal of requests has been folded into this log with this record, so that
        /// nobody folds it in twice.
        journal: JournalPosition,
    },
    /// A window of the bill ended: the records behind the last close, or from the first record on, through
    /// this record. It never changes again.
    ///
    /// The close before it is at `first_seq - 1`, so whoever has one close finds all before it.
    BillingClosed {
        /// The version of the rules it was measured by.
        metering: u16,
        /// When the window began: where the one before it ended.
        since: Timestamp,
        /// When it ended, not after this record. What was held from then on counts in the next window.
        through: Timestamp,
        /// Its first record.
        first_seq: Seq,
        /// What it came to: every meter, also at zero, in the order of [`Meter::ALL`].
        totals: Vec<MeterTotal>,
    },
    /// A total of a window that is closed was wrong by this much.
    BillingCorrected {
        /// The close.
        corrects: Seq,
        /// The meter.
        meter: Meter,
        /// What has to be added to its total.
        by: i128,
        /// Why, of at most [`Event::REASON_BYTES_MAX`].
        reason: String,
    },
    /// `HiveHub` has every line of the closes and corrections up to here, except for those it rejected.
    BillingAcknowledged {
        /// The last close or correction that it has.
        through: Seq,
        /// What it rejected of those that were not acknowledged before.
        parked: Vec<ParkedLine>,
    },
    /// A collection whose points may have texts exists from now on; this record's seq is its id.
    TextCollectionCreated {
        /// Its name, unique among the tenant's collections that exist.
        name: CollectionName,
        /// Of the vectors that its points have beside their texts; `None` if they have none.
        vectors: Option<VectorParameters>,
    },
    /// These documents are now what their ids mean in a collection with texts; ids are distinct within one
    /// event.
    DocumentsUpserted {
        /// Where.
        collection: CollectionId,
        /// The documents: each with a vector of the collection's dimension, or, if it has none, with a text.
        documents: Vec<Document>,
    },
    /// A collection whose points may have texts in one language exists from now on; this record's seq is its id.
    LanguageCollectionCreated {
        /// Its name, unique among the tenant's collections that exist.
        name: CollectionName,
        /// Of the vectors that its points have beside their texts; `None` if they have none.
        vectors: Option<VectorParameters>,
        /// Of the texts: words are found by their stems in it.
        language: Language,
    },
    /// A path of a collection's payloads is declared from now on: it is indexed whatever other paths there are. It
    /// may have been declared before, if a request with an idempotency key was answered so.
    IndexDeclared {
        /// Where.
        collection: CollectionId,
        /// The path.
        path: PayloadPath,
    },
    /// A path, which was declared, is so no longer.
    IndexDropped {
        /// Where.
        collection: CollectionId,
        /// The path.
        path: PayloadPath,
    },
}

impl Event {
    /// What [`Event::AccessDenied`] says where it stands for requests of many kinds.
    pub const OTHERS: &str = "others";

    /// The longest reason, in bytes. Whoever makes an event holds to it; see [`Event::reason`].
    pub const REASON_BYTES_MAX: usize = 256;

    /// As much of `text` as a reason may have.
    pub fn reason(text: &str) -> String {
        text[..text.floor_char_boundary(Self::REASON_BYTES_MAX)].to_owned()
    }

    /// Whether the event changes collections, vectors or payloads, and so moves `data_seq`. How payloads are indexed
    /// changes none of them: every answer stays the same.
    pub fn changes_data(&self) -> bool {
        match self {
            Self::VectorsDeleted { ids, .. } => !ids.is_empty(),
            Self::VectorsUpserted { points, .. } => !points.is_empty(),
            Self::DocumentsUpserted { documents, .. } => !documents.is_empty(),
            Self::CollectionCreated { .. }
            | Self::TextCollectionCreated { .. }
            | Self::LanguageCollectionCreated { .. }
            | Self::CollectionDeleted { .. }
            | Self::PayloadChanged { .. } => true,
            Self::AccessDenied { .. }
            | Self::UsageObserved { .. }
            | Self::BillingClosed { .. }
            | Self::BillingCorrected { .. }
            | Self::BillingAcknowledged { .. }
            | Self::IndexDeclared { .. }
            | Self::IndexDropped { .. } => false,
        }
    }
}

/// A collection's identity: the seq of the record that created it. A name may be used again later;
/// its id never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionId(Seq);

impl CollectionId {
    /// The collection that the record at `seq` created.
    pub const fn created_at(seq: Seq) -> Self {
        Self(seq)
    }

    /// The seq of the record that created it.
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

/// A text that is no [`CollectionName`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("collection name {0:?} is not of the form [A-Za-z0-9][A-Za-z0-9_.-]{{0,127}}")]
pub struct InvalidCollectionName(Box<str>);

impl CollectionName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The name as a text.
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

/// How many numbers each vector of a collection has: 1 to 16,384.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Dimension(u32);

/// A number that is no [`Dimension`].
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

/// How two vectors compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The cosine of their angle, a similarity: higher is better.
    Cosine,
    /// Their inner product, a similarity: higher is better.
    Dot,
    /// Their straight distance: lower is better.
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

/// What all vectors of a collection have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorParameters {
    /// How many numbers each has.
    pub dimension: Dimension,
    /// How they compare.
    pub metric: Metric,
    /// What the tenant asked of their index.
    pub index: IndexParameters,
}

/// What a tenant asked of a collection's index; `None` leaves the choice to the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexParameters {
    /// Links per point and level in the graph (the paper's M).
    pub m: Option<u16>,
    /// Candidates kept while linking a point (the paper's efConstruction).
    pub ef_construction: Option<u16>,
    /// Candidates kept while searching, unless the search says otherwise.
    pub ef: Option<u16>,
}
