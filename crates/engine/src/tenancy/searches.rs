//! Which collections are searched: how much of them may be unlinked depends on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vectorizer_log::CollectionId;

/// A collection that is searched less often than this is not searched: the few do not keep a core busy,
/// whatever they have to compare.
const RECENTLY: Duration = Duration::from_secs(1);

/// When each collection of a tenant was searched last.
#[derive(Clone, Debug, Default)]
pub(super) struct Searches(Arc<Mutex<HashMap<CollectionId, Instant>>>);

impl Searches {
    /// One begins now.
    pub(super) fn note(&self, collection: CollectionId) {
        let mut last = self.last();
        if last.insert(collection, Instant::now()).is_none() {
            last.retain(|_, at| at.elapsed() < RECENTLY);
        }
    }

    /// Until when the collection counts as searched, if it does now.
    pub(super) fn until(&self, collection: CollectionId) -> Option<Instant> {
        let until = *self.last().get(&collection)? + RECENTLY;
        (until > Instant::now()).then_some(until)
    }

    fn last(&self) -> MutexGuard<'_, HashMap<CollectionId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
