//! Which commands may share a commit.
//!
//! Whatever waits when the writer becomes free shares one sync. Every command of a group is decided
//! against the state in front of the group, so a group may only hold commands that do not depend on
//! each other: one that does closes the group and is decided first in the next. That makes preconditions,
//! idempotency keys and counts exact without a second copy of the state.

use std::collections::{HashMap, HashSet};

use vectorizer_log::{CollectionId, CollectionName, PointId, Record};

use super::command::{Change, VectorChange, Write};

/// What the commands staged so far have touched.
#[derive(Debug, Default)]
pub(super) struct Group {
    idempotency_keys: HashSet<String>,
    /// Names that came or went, and those of collections of which a path was declared or dropped.
    names: HashSet<CollectionName>,
    /// Points that were written or deleted.
    points: HashMap<CollectionId, HashSet<PointId>>,
}

impl Group {
    /// Whether the outcome of `write` could be another after what is staged here. `collection` is the
    /// one its name means in front of the group.
    pub(super) fn influences(&self, write: &Write<Change>, collection: Option<CollectionId>) -> bool {
        if write.idempotency.as_ref().is_some_and(|it| self.idempotency_keys.contains(&it.key)) {
            return true;
        }
        if self.names.contains(&write.collection) {
            return true;
        }
        let Some(touched) = collection.and_then(|collection| self.points.get(&collection)) else {
            return false;
        };
        if write.precondition.is_some() {
            return true;
        }
        match &write.change {
            Change::Collection(_) | Change::Vectors(VectorChange::DeleteMatching(_)) => true,
            Change::Vectors(VectorChange::Upsert(points)) => {
                points.iter().any(|point| touched.contains(&point.id))
            }
            Change::Vectors(VectorChange::DeleteOne(id) | VectorChange::ChangePayload { id, .. }) => {
                touched.contains(id)
            }
            Change::Vectors(VectorChange::DeleteMany(ids)) => ids.iter().any(|id| touched.contains(id)),
        }
    }

    /// Takes note of a staged record; `name` is the collection it is about.
    pub(super) fn stage(&mut self, record: &Record, name: &CollectionName) {
        if let Some(idempotency) = &record.idempotency {
            self.idempotency_keys.insert(idempotency.key.clone());
        }
        let Some(change) = record.event.effect().data() else { return };
        match change.point_ids() {
            Some((collection, ids)) => self.touch(collection, ids),
            None => {
                self.names.insert(name.clone());
            }
        }
    }

    fn touch<'a>(&mut self, collection: CollectionId, ids: impl IntoIterator<Item = &'a PointId>) {
        self.points.entry(collection).or_default().extend(ids.into_iter().cloned());
    }
}
