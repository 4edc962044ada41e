//! The change that an event would make, computed before it is applied: quotas are checked against it.

use vectorizer_log::{Event, PointId};

use super::Index;
use super::change::Change;
use super::collection::{Collection, PointWrite};
use super::slots::StoredPoint;
use crate::logical_size::vector_logical_bytes;

impl Index {
    /// The change that `event` will make, exactly as [`apply`](Self::apply) will return it. The event must have passed
    /// [`check`](Self::check).
    pub fn expected_change(&self, event: &Event) -> Change {
        match event {
            Event::CollectionCreated { .. }
            | Event::TextCollectionCreated { .. }
            | Event::LanguageCollectionCreated { .. } => {
                Change { collections_created: 1, ..Change::default() }
            }
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
            Event::DocumentsUpserted { collection, documents } => self
                .by_id(*collection)
                .map_or_else(Change::default, |collection| upserted(collection, documents)),
            Event::VectorsDeleted { collection, ids } => {
                self.by_id(*collection).map_or_else(Change::default, |collection| deleted(collection, ids))
            }
            Event::PayloadChanged { collection, id, payload } => {
                let Some(collection) = self.by_id(*collection) else { return Change::default() };
                let Some(point) = collection.get(id) else { return Change::default() };
                let dimension = collection.dimension();
                Change {
                    bytes_added: vector_logical_bytes(dimension, id.as_str(), Some(payload), point.text()),
                    bytes_removed: vector_logical_bytes(
                        dimension,
                        id.as_str(),
                        point.payload(),
                        point.text(),
                    ),
                    ..Change::default()
                }
            }
            Event::IndexDeclared { collection, path } => {
                let has = |collection: &Collection| !collection.has_declared(path);
                let indexes_declared =
                    self.by_id(*collection).map_or(0, |collection| u64::from(has(collection)));
                Change { indexes_declared, ..Change::default() }
            }
            Event::IndexDropped { .. }
            | Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. } => Change::default(),
        }
    }

    /// An upper bound of what `event` adds, without lookups: as if every vector were new.
    pub fn upper_bound(&self, event: &Event) -> Change {
        match event {
            Event::VectorsUpserted { collection, points } => Change {
                vectors_added: points.len() as u64,
                bytes_added: self.by_id(*collection).map_or(0, |collection| bytes(collection, points)),
                ..Change::default()
            },
            Event::DocumentsUpserted { collection, documents } => Change {
                vectors_added: documents.len() as u64,
                bytes_added: self.by_id(*collection).map_or(0, |collection| bytes(collection, documents)),
                ..Change::default()
            },
            Event::VectorsDeleted { .. }
            | Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. } => Change::default(),
            Event::CollectionCreated { .. }
            | Event::TextCollectionCreated { .. }
            | Event::LanguageCollectionCreated { .. }
            | Event::CollectionDeleted { .. }
            | Event::PayloadChanged { .. }
            | Event::IndexDeclared { .. }
            | Event::IndexDropped { .. } => self.expected_change(event),
        }
    }
}

fn upserted<'a, P>(collection: &Collection, points: &'a [P]) -> Change
where
    &'a P: Into<PointWrite<'a>>,
{
    let mut change = Change { bytes_added: bytes(collection, points), ..Change::default() };
    for point in points {
        match collection.get(point.into().id) {
            Some(replaced) => {
                change.vectors_replaced += 1;
                change.bytes_removed += stored_bytes(collection, &replaced);
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
        change.bytes_removed += stored_bytes(collection, &point);
    }
    change
}

fn stored_bytes(collection: &Collection, point: &StoredPoint) -> u64 {
    vector_logical_bytes(collection.dimension(), point.id(), point.payload(), point.text())
}

fn bytes<'a, P>(collection: &Collection, points: &'a [P]) -> u64
where
    &'a P: Into<PointWrite<'a>>,
{
    let one = |point: &'a P| {
        let PointWrite { id, vector: _, payload, text } = point.into();
        vector_logical_bytes(collection.dimension(), id.as_str(), payload, text)
    };
    points.iter().map(one).sum()
}
