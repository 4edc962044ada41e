//! The change that an event would make, computed before it is applied: quotas are checked against it.

use vectorizer_log::{DataChange, Event, PointId, WrittenPoint, WrittenPoints, vector_logical_bytes};

use super::Index;
use super::change::Change;
use super::collection::Collection;
use super::slots::StoredPoint;

impl Index {
    /// The change that `event` will make, exactly as [`apply`](Self::apply) will return it. The event must have passed
    /// [`check`](Self::check).
    pub fn expected_change(&self, event: &Event) -> Change {
        event.effect().data().map_or_else(Change::default, |change| self.expected(change))
    }

    /// An upper bound of what `event` adds, without lookups: as if every vector were new.
    pub fn upper_bound(&self, event: &Event) -> Change {
        let Some(change) = event.effect().data() else { return Change::default() };
        match change {
            DataChange::WritePoints { collection, points } => Change {
                vectors_added: points.len() as u64,
                bytes_added: self.by_id(collection).map_or(0, |collection| bytes(collection, points)),
                ..Change::default()
            },
            DataChange::DeletePoints { .. } => Change::default(),
            DataChange::CreateCollection { .. }
            | DataChange::DeleteCollection { .. }
            | DataChange::ChangePayload { .. }
            | DataChange::DeclareIndex { .. }
            | DataChange::DropIndex { .. } => self.expected(change),
        }
    }

    fn expected(&self, change: DataChange<'_>) -> Change {
        // A change that creates a collection names none.
        let Some(collection) = change.collection() else {
            return Change { collections_created: 1, ..Change::default() };
        };
        let Some(collection) = self.by_id(collection) else { return Change::default() };
        match change {
            DataChange::CreateCollection { .. } | DataChange::DropIndex { .. } => Change::default(),
            DataChange::DeleteCollection { .. } => Change {
                collections_deleted: 1,
                vectors_removed: collection.len() as u64,
                bytes_removed: collection.logical_bytes(),
                ..Change::default()
            },
            DataChange::WritePoints { points, .. } => upserted(collection, points),
            DataChange::DeletePoints { ids, .. } => deleted(collection, ids),
            DataChange::ChangePayload { id, payload, .. } => {
                let Some(point) = collection.get(id) else { return Change::default() };
                let dimension = collection.dimension();
                Change {
                    bytes_added: vector_logical_bytes(dimension, id.as_str(), Some(payload), point.text()),
                    bytes_removed: stored_bytes(collection, &point),
                    ..Change::default()
                }
            }
            DataChange::DeclareIndex { path, .. } => {
                Change { indexes_declared: u64::from(!collection.has_declared(path)), ..Change::default() }
            }
        }
    }
}

fn upserted(collection: &Collection, points: WrittenPoints<'_>) -> Change {
    let mut change = Change { bytes_added: bytes(collection, points), ..Change::default() };
    for point in points.each() {
        match collection.get(point.id) {
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

fn bytes(collection: &Collection, points: WrittenPoints<'_>) -> u64 {
    let dimension = collection.dimension();
    let one = |WrittenPoint { id, vector: _, payload, text }: WrittenPoint<'_>| {
        vector_logical_bytes(dimension, id.as_str(), payload, text)
    };
    points.each().map(one).sum()
}
