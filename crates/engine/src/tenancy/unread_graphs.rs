//! Which kept graphs are still to be read: their vectors are not behind with linking, as most of them will need none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vectorizer_index::Collection;
use vectorizer_log::CollectionId;

/// The collections that a tenant woke with and whose kept graphs were not looked at yet, each with how many of its
/// slots such a graph may know.
#[derive(Clone, Debug, Default)]
pub(super) struct UnreadGraphs(Arc<Mutex<HashMap<CollectionId, usize>>>);

impl UnreadGraphs {
    /// Those of all collections that there are.
    pub(super) fn of<'a>(collections: impl Iterator<Item = &'a Collection>) -> Self {
        let slots = collections.map(|collection| (collection.id(), collection.slot_count()));
        Self(Arc::new(Mutex::new(slots.collect())))
    }

    /// How many slots of the collection a graph may know that is still to be read.
    pub(super) fn slots(&self, collection: &Collection) -> usize {
        let mut unread = self.unread();
        let Some(slots) = unread.get_mut(&collection.id()) else { return 0 };
        // A compaction leaves fewer, and what is written afterwards is not known to the graph.
        *slots = (*slots).min(collection.slot_count());
        *slots
    }

    /// Whether there may be a graph of this collection that is still to be read.
    pub(super) fn may_have(&self, collection: CollectionId) -> bool {
        self.unread().contains_key(&collection)
    }

    /// The graph of this collection is in use, is of no use, or does not exist.
    pub(super) fn resolve(&self, collection: CollectionId) {
        self.unread().remove(&collection);
    }

    fn unread(&self) -> MutexGuard<'_, HashMap<CollectionId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
