//! The facts of a record: what is known of it without its content.
//!
//! Facts hold nothing that a client chooses. They suffice for usage, byte-seconds and the bill, so these can be
//! computed after the content of records has been erased.

use serde::{Deserialize, Serialize};

use super::handle::{HandleKey, PointHandle};
use crate::billing::{JournalPosition, ObservedOperation, RejectedLine};
use crate::event::{
    BillClose, BillStep, CollectionId, DataChange, DroppedHistory, Effect, EventFacts, EventKind,
    ObservedUsage, RefusedRequests, WrittenPoint,
};
use crate::logical_size::point_logical_bytes;
use crate::meter::{Meter, MeterTotal};
use crate::point::{Payload, Vector};
use crate::position::{LogId, Seq, Timestamp};
use crate::record::{Record, Via};

/// What is known of a record without its content. The header of an envelope of version 2 holds it; of a record in an
/// envelope of version 1 it is computed.
///
/// On disk it is its postcard encoding, so fields are only added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFacts {
    /// The log that the record belongs to.
    pub log_id: LogId,
    /// The record's number.
    pub seq: Seq,
    /// When it was appended.
    pub at: Timestamp,
    /// The interface that was used.
    pub via: Via,
    /// The kind of the event.
    pub kind: EventKind,
    /// The collection that the event concerns, also if the event creates it.
    pub collection: Option<CollectionId>,
    /// What is known of the event.
    pub event: KnownEvent,
}

/// What is known of an event without its content. On disk a variant is its position in this list, so variants are only
/// added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KnownEvent {
    /// Nothing that counts.
    Other,
    /// A collection was created.
    CollectionCreated,
    /// A collection and its points were deleted.
    CollectionDeleted,
    /// Points were written, in place of points with the same handles.
    PointsWritten {
        /// The points, in the order of their items.
        points: Vec<PointFacts>,
    },
    /// Points were deleted.
    PointsDeleted {
        /// The points, in the order of their items.
        points: Vec<PointHandle>,
    },
    /// The payload of a point was replaced.
    PayloadChanged {
        /// The point.
        point: PointHandle,
        /// The logical bytes of the new payload.
        payload_bytes: u64,
    },
    /// Requests were refused.
    Refused {
        /// How many requests there were.
        count: u64,
        /// When the first one was made.
        since: Timestamp,
        /// When the last one was made.
        through: Timestamp,
    },
    /// Requests were made that are billed. The names of operations are constants of the server.
    UsageObserved {
        /// How many requests of each operation.
        operations: Vec<ObservedOperation>,
        /// When the first one was made.
        since: Timestamp,
        /// When the last one was made.
        through: Timestamp,
        /// The position in the node's request journal up to which all requests are counted.
        journal: JournalPosition,
    },
    /// A billing window ended.
    BillingClosed {
        /// The version of metering.
        metering: u16,
        /// When the window began.
        since: Timestamp,
        /// When the window ended.
        through: Timestamp,
        /// The first record of the window.
        first_seq: Seq,
        /// The totals of all meters.
        totals: Vec<MeterTotal>,
    },
    /// A total of a closed window was corrected. The reason is content.
    BillingCorrected {
        /// The record of the close.
        corrects: Seq,
        /// The meter.
        meter: Meter,
        /// The amount to add to the total.
        by: i128,
    },
    /// `HiveHub` has received closes and corrections.
    BillingAcknowledged {
        /// The last one.
        through: Seq,
        /// The lines that it rejected, in the order of their items. The reasons are content.
        rejected: Vec<RejectedFacts>,
    },
    /// Older records were dropped.
    HistoryDropped {
        /// The last one.
        through: Seq,
        /// Its chain hash.
        chain: [u8; 32],
        /// The hash of the base.
        base: [u8; 32],
    },
}

/// What is known of a written point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointFacts {
    /// The handle.
    pub handle: PointHandle,
    /// The size.
    pub size: PointSize,
}

/// The logical bytes of a point, in two parts: a change of the payload replaces one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointSize {
    /// The logical bytes of the payload.
    pub payload_bytes: u64,
    /// The logical bytes of everything else.
    pub other_bytes: u64,
}

/// What is known of a rejected line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedFacts {
    /// The record of the close or correction.
    pub seq: Seq,
    /// The meter of the line.
    pub meter: Meter,
}

impl RecordFacts {
    /// The facts of a record. Points have the handles of `key`.
    pub fn of(record: &Record, key: &HandleKey) -> Self {
        let EventFacts { kind, effect, name: _ } = record.event.facts();
        let (collection, event) = match effect {
            Effect::Data(change) => known_change(record.seq, change, key),
            Effect::Usage(ObservedUsage { operations, since, through, journal }) => {
                let operations = operations.to_vec();
                (None, KnownEvent::UsageObserved { operations, since, through, journal })
            }
            Effect::Bill(BillStep::Close(BillClose { metering, since, through, first_seq, totals })) => {
                let totals = totals.to_vec();
                (None, KnownEvent::BillingClosed { metering, since, through, first_seq, totals })
            }
            Effect::Bill(BillStep::Correct { corrects, meter, by, reason: _ }) => {
                (None, KnownEvent::BillingCorrected { corrects, meter, by })
            }
            Effect::Bill(BillStep::Acknowledge { through, rejected }) => {
                let rejected = rejected.iter().map(RejectedFacts::of).collect();
                (None, KnownEvent::BillingAcknowledged { through, rejected })
            }
            Effect::Refusals(RefusedRequests {
                count,
                since,
                through,
                key_id: _,
                what: _,
                why: _,
                from: _,
            }) => (None, KnownEvent::Refused { count, since, through }),
            Effect::History(DroppedHistory { through, chain, base }) => {
                (None, KnownEvent::HistoryDropped { through, chain: *chain, base: *base })
            }
        };
        let Record { log_id, seq, at, ref actor, .. } = *record;
        Self { log_id, seq, at, via: actor.via, kind, collection, event }
    }
}

/// The collection of a change in the record `seq`, and the facts of the change.
fn known_change(seq: Seq, change: DataChange<'_>, key: &HandleKey) -> (Option<CollectionId>, KnownEvent) {
    let collection = change.collection().unwrap_or(CollectionId::created_at(seq));
    let event = match change {
        DataChange::CreateCollection { .. } => KnownEvent::CollectionCreated,
        DataChange::DeleteCollection { .. } => KnownEvent::CollectionDeleted,
        DataChange::WritePoints { points, .. } => {
            let mut known = Vec::with_capacity(points.len());
            known.extend(points.each().map(|point| PointFacts {
                handle: key.handle(collection, point.id),
                size: PointSize::of(point),
            }));
            KnownEvent::PointsWritten { points: known }
        }
        DataChange::DeletePoints { ids, .. } => {
            KnownEvent::PointsDeleted { points: ids.iter().map(|id| key.handle(collection, id)).collect() }
        }
        DataChange::ChangePayload { id, payload, .. } => KnownEvent::PayloadChanged {
            point: key.handle(collection, id),
            payload_bytes: payload.logical_bytes(),
        },
        DataChange::DeclareIndex { .. } | DataChange::DropIndex { .. } => KnownEvent::Other,
    };
    (Some(collection), event)
}

impl PointSize {
    /// The size of a written point, whose vector has the dimension of the collection.
    pub fn of(WrittenPoint { id, vector, payload, text }: WrittenPoint<'_>) -> Self {
        let other_bytes = point_logical_bytes(vector.map_or(0, Vector::dimension), id.as_str(), None, text);
        Self { payload_bytes: payload.map_or(0, Payload::logical_bytes), other_bytes }
    }

    /// The logical bytes of the point.
    pub fn bytes(self) -> u64 {
        self.payload_bytes.saturating_add(self.other_bytes)
    }
}

impl RejectedFacts {
    fn of(line: &RejectedLine) -> Self {
        Self { seq: line.seq, meter: line.meter }
    }
}
