//! Which commands may share a commit.
//!
//! All commands that wait when the writer becomes free share one sync. Every command of a group is decided against the
//! state before the group, so the commands of a group must not depend on each other. A command that depends on an
//! earlier one ends the group, and is the first command of the next group. So preconditions, idempotency keys and
//! counts are exact without a second copy of the state.

use std::collections::{HashMap, HashSet};

use vectorizer_log::{CollectionId, CollectionName, PointId, Record};

use super::command::{Change, VectorChange, Write};

/// The names, points and idempotency keys of the commands staged so far.
#[derive(Debug, Default)]
pub(super) struct Group {
    idempotency_keys: HashSet<String>,
    /// Names of collections that were created, deleted or otherwise changed as a whole, as by declaring or dropping a
    /// path.
    names: HashSet<CollectionName>,
    /// Points that were written or deleted.
    points: HashMap<CollectionId, HashSet<PointId>>,
}

impl Group {
    /// Whether the staged commands could change the outcome of `write`. `collection` is the collection that has the
    /// name in `write` before the group.
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
