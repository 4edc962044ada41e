//! What an event would do, before it has happened: what quotas are held against.

use vectorizer_log::{Event, Point, PointId};

use super::Index;
use super::change::Change;
use super::collection::Collection;
use crate::metering::vector_logical_bytes;

impl Index {
    /// What `event`, which has been validated against this state, will change. The same numbers as
    /// applying it gives.
    pub fn foresee(&self, event: &Event) -> Change {
        match event {
            Event::CollectionCreated { .. } => Change { collections_created: 1, ..Change::default() },
            Event::CollectionDeleted { collection } => {
                self.by_id(*collection).map_or_else(Change::default, |collection| Change {
                    collections_deleted: 1,
                    vectors_removed: collection.len() as u64,
                    bytes_removed: collection.logical_bytes(),
                    ..Change::default()
                })
            }
            Event::VectorsUpserted { collection, points } => self
                .by_id(*collection)
                .map_or_else(Change::default, |collection| upserted(collection, points)),
            Event::VectorsDeleted { collection, ids } => {
                self.by_id(*collection).map_or_else(Change::default, |collection| deleted(collection, ids))
            }
            Event::PayloadChanged { collection, id, payload } => {
                let Some(collection) = self.by_id(*collection) else { return Change::default() };
                let Some(point) = collection.get(id) else { return Change::default() };
                let dimension = collection.dimension();
                Change {
                    bytes_added: vector_logical_bytes(dimension, id.as_str(), Some(payload)),
                    bytes_removed: vector_logical_bytes(dimension, id.as_str(), point.payload()),
                    ..Change::default()
                }
            }
            Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. } => Change::default(),
        }
    }

    /// The most that `event` can add, known without looking anything up: as if every vector were new.
    pub fn foresee_most(&self, event: &Event) -> Change {
        match event {
            Event::VectorsUpserted { collection, points } => Change {
                vectors_added: points.len() as u64,
                bytes_added: self.by_id(*collection).map_or(0, |collection| bytes(collection, points)),
                ..Change::default()
            },
            Event::VectorsDeleted { .. }
            | Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. } => Change::default(),
            Event::CollectionCreated { .. }
            | Event::CollectionDeleted { .. }
            | Event::PayloadChanged { .. } => self.foresee(event),
        }
    }
}

fn upserted(collection: &Collection, points: &[Point]) -> Change {
    let mut change = Change { bytes_added: bytes(collection, points), ..Change::default() };
    for point in points {
        match collection.get(&point.id) {
            Some(replaced) => {
                change.vectors_replaced += 1;
                change.bytes_removed +=
                    vector_logical_bytes(collection.dimension(), replaced.id(), replaced.payload());
            }
            None => change.vectors_added += 1,
        }
    }
    change
}

fn deleted(collection: &Collection, ids: &[PointId]) -> Change {
    let mut change = Change::default();
    for point in ids.iter().filter_map(|id| collection.get(id)) {
        change.vectors_removed += 1;
        change.bytes_removed += vector_logical_bytes(collection.dimension(), point.id(), point.payload());
    }
    change
}

fn bytes(collection: &Collection, points: &[Point]) -> u64 {
    let one = |point: &Point| {
        vector_logical_bytes(collection.dimension(), point.id.as_str(), point.payload.as_ref())
    };
    points.iter().map(one).sum()
}
