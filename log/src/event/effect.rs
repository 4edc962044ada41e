//! The effects of events, as borrowed views.
//!
//! Folds, limits and exports match on effects and never on events. Several events may have one effect, so an event
//! with a known effect changes no fold. A new effect does not compile before every fold that matches on it handles it.

use super::{CollectionId, CollectionName, EventKind, VectorParameters};
use crate::billing::{JournalPosition, ObservedOperation, RejectedLine};
use crate::document::Document;
use crate::language::TextParameters;
use crate::meter::{Meter, MeterTotal};
use crate::path::PayloadPath;
use crate::point::{Payload, Point, PointId, Text, Vector};
use crate::position::{Seq, Timestamp};

/// Everything that is known of an event besides its encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventFacts<'a> {
    /// The name in exports.
    pub name: &'static str,
    /// The kind, a stable number in the header of an envelope.
    pub kind: EventKind,
    /// The effect.
    pub effect: Effect<'a>,
}

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect<'a> {
    /// The event changes collections, and answers a request. The index applies it.
    Data(DataChange<'a>),
    /// The event adds requests to the open window of the bill.
    Usage(ObservedUsage<'a>),
    /// The event closes, corrects or acknowledges windows of the bill.
    Bill(BillStep<'a>),
    /// The event changes no state. Exports show it.
    Refusals(RefusedRequests<'a>),
    /// Older records were dropped. The event changes no state: that of the dropped records is in the base.
    History(DroppedHistory<'a>),
}

/// A change of collections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DataChange<'a> {
    /// A collection is created. The number of the record is its id.
    CreateCollection {
        /// The name.
        name: &'a CollectionName,
        /// What the points have.
        content: CollectionContent,
    },
    /// A collection is deleted with its points.
    DeleteCollection {
        /// The collection.
        collection: CollectionId,
    },
    /// Points are written, in place of points with the same ids.
    WritePoints {
        /// The collection.
        collection: CollectionId,
        /// The points.
        points: WrittenPoints<'a>,
    },
    /// Points are deleted.
    DeletePoints {
        /// The collection.
        collection: CollectionId,
        /// The ids.
        ids: &'a [PointId],
    },
    /// The payload of a point is replaced.
    ChangePayload {
        /// The collection.
        collection: CollectionId,
        /// The point.
        id: &'a PointId,
        /// The new payload.
        payload: &'a Payload,
    },
    /// A payload path is declared.
    DeclareIndex {
        /// The collection.
        collection: CollectionId,
        /// The path.
        path: &'a PayloadPath,
    },
    /// The declaration of a payload path is removed.
    DropIndex {
        /// The collection.
        collection: CollectionId,
        /// The path.
        path: &'a PayloadPath,
    },
}

/// What the points of a new collection have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionContent {
    /// Vectors, and no texts.
    Vectors(VectorParameters),
    /// Texts, and perhaps vectors.
    Texts {
        /// The parameters of the vectors; `None` without vectors.
        vectors: Option<VectorParameters>,
        /// The parameters of the texts.
        texts: TextParameters,
    },
}

/// Points to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WrittenPoints<'a> {
    /// Points with vectors.
    Points(&'a [Point]),
    /// Documents.
    Documents(&'a [Document]),
}

/// A point to write, of either kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WrittenPoint<'a> {
    /// The id.
    pub id: &'a PointId,
    /// The vector, if there is one.
    pub vector: Option<&'a Vector>,
    /// The payload, if there is one.
    pub payload: Option<&'a Payload>,
    /// The text, if there is one.
    pub text: Option<&'a Text>,
}

/// Requests that the bill counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservedUsage<'a> {
    /// How many requests of each operation.
    pub operations: &'a [ObservedOperation],
    /// The time of the first request.
    pub since: Timestamp,
    /// The time of the last request.
    pub through: Timestamp,
    /// The position in the node's request journal up to which all requests are counted.
    pub journal: JournalPosition,
}

/// A step of the bill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BillStep<'a> {
    /// A window is closed.
    Close(BillClose<'a>),
    /// A total of a closed window is corrected.
    Correct {
        /// The record of the close.
        corrects: Seq,
        /// The meter.
        meter: Meter,
        /// The amount to add to the total.
        by: i128,
        /// The reason.
        reason: &'a str,
    },
    /// `HiveHub` has received closes and corrections.
    Acknowledge {
        /// The last one.
        through: Seq,
        /// The lines that it rejected since the previous acknowledgement.
        rejected: &'a [RejectedLine],
    },
}

/// The close of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BillClose<'a> {
    /// The version of metering.
    pub metering: u16,
    /// The start of the window.
    pub since: Timestamp,
    /// The end of the window.
    pub through: Timestamp,
    /// The first record of the window.
    pub first_seq: Seq,
    /// The totals of all meters.
    pub totals: &'a [MeterTotal],
}

/// Requests that were refused for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedRequests<'a> {
    /// The key's id, if the key is known.
    pub key_id: Option<&'a str>,
    /// The operation.
    pub what: &'a str,
    /// The reason.
    pub why: &'a str,
    /// The client's address.
    pub from: Option<&'a str>,
    /// How many requests there were.
    pub count: u64,
    /// The time of the first request.
    pub since: Timestamp,
    /// The time of the last request.
    pub through: Timestamp,
}

/// Records that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DroppedHistory<'a> {
    /// The last one.
    pub through: Seq,
    /// Its chain hash.
    pub chain: &'a [u8; 32],
    /// The hash of the base.
    pub base: &'a [u8; 32],
}

impl<'a> Effect<'a> {
    /// The change of data, if the effect is one.
    #[inline]
    pub fn data(self) -> Option<DataChange<'a>> {
        match self {
            Self::Data(change) => Some(change),
            Self::Usage(_) | Self::Bill(_) | Self::Refusals(_) | Self::History(_) => None,
        }
    }

    /// The step of the bill, if the effect is one.
    pub fn bill(self) -> Option<BillStep<'a>> {
        match self {
            Self::Bill(step) => Some(step),
            Self::Data(_) | Self::Usage(_) | Self::Refusals(_) | Self::History(_) => None,
        }
    }

    /// The close of a window, if the effect is one.
    pub fn close(self) -> Option<BillClose<'a>> {
        match self.bill()? {
            BillStep::Close(close) => Some(close),
            BillStep::Correct { .. } | BillStep::Acknowledge { .. } => None,
        }
    }

    /// Whether the event belongs to a bill: the events of a log without a bill have none of these effects.
    pub fn is_billed(self) -> bool {
        match self {
            Self::Usage(_) | Self::Bill(_) => true,
            Self::Data(_) | Self::Refusals(_) | Self::History(_) => false,
        }
    }
}

impl<'a> DataChange<'a> {
    /// The collection; `None` if the change creates it.
    pub fn collection(self) -> Option<CollectionId> {
        match self {
            Self::CreateCollection { .. } => None,
            Self::DeleteCollection { collection }
            | Self::WritePoints { collection, .. }
            | Self::DeletePoints { collection, .. }
            | Self::ChangePayload { collection, .. }
            | Self::DeclareIndex { collection, .. }
            | Self::DropIndex { collection, .. } => Some(collection),
        }
    }

    /// Whether the change alters collections, vectors or payloads. The indexing of payloads does not: every answer
    /// stays the same.
    pub fn changes_data(self) -> bool {
        match self {
            Self::WritePoints { points, .. } => !points.is_empty(),
            Self::DeletePoints { ids, .. } => !ids.is_empty(),
            Self::CreateCollection { .. } | Self::DeleteCollection { .. } | Self::ChangePayload { .. } => {
                true
            }
            Self::DeclareIndex { .. } | Self::DropIndex { .. } => false,
        }
    }

    /// Whether the change removes something and adds nothing. The limit of a log does not refuse such a change.
    pub fn only_removes(self) -> bool {
        match self {
            // The dropped path was declared, which was within the limit.
            Self::DeleteCollection { .. } | Self::DropIndex { .. } => true,
            // A deletion without ids deletes nothing.
            Self::DeletePoints { ids, .. } => !ids.is_empty(),
            Self::CreateCollection { .. }
            | Self::WritePoints { .. }
            | Self::ChangePayload { .. }
            | Self::DeclareIndex { .. } => false,
        }
    }

    /// How many points the event names; `None` if the change concerns a collection as a whole.
    pub fn point_count(self) -> Option<usize> {
        match self {
            Self::WritePoints { points, .. } => Some(points.len()),
            Self::DeletePoints { ids, .. } => Some(ids.len()),
            Self::ChangePayload { .. } => Some(1),
            Self::CreateCollection { .. }
            | Self::DeleteCollection { .. }
            | Self::DeclareIndex { .. }
            | Self::DropIndex { .. } => None,
        }
    }

    /// The collection and the ids of the points that the event names; `None` if the change concerns a collection as a
    /// whole.
    pub fn point_ids(self) -> Option<(CollectionId, impl Iterator<Item = &'a PointId> + Clone)> {
        let nothing_written = WrittenPoints::Points(&[]);
        let (collection, ids, written) = match self {
            Self::WritePoints { collection, points } => (collection, &[][..], points),
            Self::DeletePoints { collection, ids } => (collection, ids, nothing_written),
            Self::ChangePayload { collection, id, .. } => {
                (collection, std::slice::from_ref(id), nothing_written)
            }
            Self::CreateCollection { .. }
            | Self::DeleteCollection { .. }
            | Self::DeclareIndex { .. }
            | Self::DropIndex { .. } => return None,
        };
        Some((collection, ids.iter().chain(written.each().map(|point| point.id))))
    }
}

impl<'a> WrittenPoints<'a> {
    /// How many points there are.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            Self::Points(points) => points.len(),
            Self::Documents(documents) => documents.len(),
        }
    }

    /// Whether there are no points.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Each point, in the order of the event.
    #[inline]
    pub fn each(self) -> impl Iterator<Item = WrittenPoint<'a>> + Clone {
        // One of the two is empty.
        let (points, documents) = match self {
            Self::Points(points) => (points, &[][..]),
            Self::Documents(documents) => (&[][..], documents),
        };
        points.iter().map(WrittenPoint::from).chain(documents.iter().map(WrittenPoint::from))
    }
}

impl<'a> From<&'a Point> for WrittenPoint<'a> {
    fn from(Point { id, vector, payload }: &'a Point) -> Self {
        Self { id, vector: Some(vector), payload: payload.as_ref(), text: None }
    }
}

impl<'a> From<&'a Document> for WrittenPoint<'a> {
    fn from(Document { id, vector, payload, text }: &'a Document) -> Self {
        Self { id, vector: vector.as_ref(), payload: payload.as_ref(), text: text.as_ref() }
    }
}

impl ObservedUsage<'_> {
    /// The sum of all requests.
    pub fn requests(&self) -> u64 {
        self.operations.iter().fold(0, |sum, operation| sum.saturating_add(operation.requests))
    }
}

impl BillStep<'_> {
    /// Whether `HiveHub` receives lines of the record.
    pub fn has_lines(self) -> bool {
        match self {
            Self::Close(_) | Self::Correct { .. } => true,
            Self::Acknowledge { .. } => false,
        }
    }
}
