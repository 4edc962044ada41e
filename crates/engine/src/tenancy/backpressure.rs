//! Upserts into a collection wait while too many of its vectors are not linked yet. The bound is lower for a collection
//! that is searched, because searches compare the unlinked vectors one by one.
//!
//! The table lists everything that decides whether an upsert waits. Every change that can let an upsert through is of
//! one of three kinds, and [`Changes::next`] waits for all of them.
//!
//! | it depends on | which changes with | told by |
//! | --- | --- | --- |
//! | how many vectors are linked | a step of linking; a kept graph that comes into use | the linker |
//! | which graph it is | a compaction that is put in place | the linker |
//! | whether a kept graph is still to be read ([`UnreadGraphs`]) | reading it, finding none or finding it unusable | the linker |
//! | whether linking was given up | panics | the linker |
//! | how many vectors there are | upserts, deletions, a compaction within a write | the writer |
//! | whether the collection exists | its deletion | the writer |
//! | whether it is searched | time | a timer |
//! | whether the linker and the writer run | the tenant's end, a failure | the end of either channel |
//!
//! Repairing unreachable nodes (`Repair`) and keeping a graph change none of it; the linker tells of
//! every step all the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Queue, OwnedMutexGuard, watch};
use tokio::time::timeout;
use vectorizer_index::Collection;
use vectorizer_log::{CollectionId, CollectionName, Head};

use super::searches::Searches;
use super::shared_state::{Crowded, SharedState};
use super::unread_graphs::UnreadGraphs;

/// The number of vectors that must be linked, for each vector of an upsert, before the next upsert is let through. With
/// more than one, the number of unlinked vectors falls.
const LINKED_FOR_EACH: usize = 2;

/// How long an upsert waits before its sender is told to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Holds back upserts into collections that are behind with linking, and nothing else.
#[derive(Debug)]
pub(super) struct Backpressure {
    changes: Changes,
    searches: Searches,
    unread: UnreadGraphs,
    /// How long an upsert waits.
    pub(super) patience: Duration,
    /// The queues of collections that are behind, or were.
    queues: Mutex<HashMap<CollectionId, Arc<Queue<Owed>>>>,
}

/// Whether linking goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linking {
    Going,
    /// No more vectors are linked until the tenant wakes again.
    GivenUp,
}

/// Why an upsert is not let through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Linking does not keep up, or many wait to know whether it does.
    TooFast,
    /// Nothing will be linked any more.
    GivenUp,
}

impl From<Crowded> for Held {
    fn from(Crowded: Crowded) -> Self {
        Self::TooFast
    }
}

/// The permission to write an upsert. It is held until the upsert is written, so that the next upsert in the queue sees
/// the vectors of this one.
#[derive(Debug)]
pub(super) enum UpsertPermit {
    /// The collection is not behind.
    Free,
    /// The upsert was the first in the queue. The next one waits until `links` more vectors are linked.
    InTurn { owed: OwnedMutexGuard<Owed>, links: usize },
}

impl UpsertPermit {
    /// Reports that the upsert has added no vectors.
    pub(super) fn brought_none(self) {
        if let Self::InTurn { mut owed, links } = self {
            owed.links = owed.links.saturating_sub(links);
        }
    }
}

/// What the next upsert into a collection waits for. An upsert is let through before its own vectors are made up
/// for, so its size does not decide how long it waits.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The number of vectors that must still be linked.
    links: usize,
    /// The number of linked vectors at the last check.
    linked: usize,
}

impl Owed {
    /// Subtracts the vectors that were linked since the last check. If a compaction has lowered the number of linked
    /// vectors, nothing is added.
    fn pay(&mut self, linked: usize) {
        self.links = self.links.saturating_sub(linked.saturating_sub(self.linked));
        self.linked = linked;
    }
}

/// A collection that is behind.
struct Backlog {
    collection: CollectionId,
    linked: usize,
    /// The end of the wait, if the collection is behind only because it is searched.
    until: Option<Instant>,
}

impl Backpressure {
    pub(super) fn new(
        linked: watch::Receiver<Linking>,
        published: watch::Receiver<Head>,
        searches: Searches,
        unread: UnreadGraphs,
    ) -> Self {
        let (changes, queues) = (Changes { linked, published }, Mutex::default());
        Self { changes, searches, unread, patience: PATIENCE, queues }
    }

    /// Waits until the collection may be given `vectors` more: until what the upserts before have brought is made up
    /// for, and something was linked meanwhile.
    pub(super) async fn keep(
        &self,
        state: &SharedState,
        name: &CollectionName,
        vectors: usize,
    ) -> Result<UpsertPermit, Held> {
        let Some(Backlog { collection, linked, .. }) = self.backlog(state, name).await? else {
            return Ok(UpsertPermit::Free);
        };
        let first_in_line = self.queue(collection, state).await?.lock_owned();
        timeout(self.patience, self.wait(state, name, (collection, linked), first_in_line, vectors))
            .await
            .unwrap_or(Err(Held::TooFast))
    }

    async fn wait(
        &self,
        state: &SharedState,
        name: &CollectionName,
        (collection, mut before): (CollectionId, usize),
        first_in_line: impl Future<Output = OwnedMutexGuard<Owed>>,
        vectors: usize,
    ) -> Result<UpsertPermit, Held> {
        let mut changes = self.changes.clone();
        let mut first_in_line = std::pin::pin!(first_in_line);
        let mut first: Option<OwnedMutexGuard<Owed>> = None;
        loop {
            // IMPORTANT: before looking, so that no change is missed.
            let linking = changes.look();
            let backlog = self.backlog(state, name).await?.filter(|backlog| backlog.collection == collection);
            let Some(Backlog { linked, until, .. }) = backlog else { return Ok(UpsertPermit::Free) };
            if linking == Linking::GivenUp {
                return Err(Held::GivenUp);
            }
            let progresses = linked > before;
            // A compaction takes links away.
            before = before.min(linked);
            if let Some(owed) = &mut first {
                owed.pay(linked);
            }
            if progresses && let Some(mut owed) = first.take_if(|owed| owed.links == 0) {
                let links = vectors.saturating_mul(LINKED_FOR_EACH);
                owed.links = links;
                return Ok(UpsertPermit::InTurn { owed, links });
            }
            tokio::select! {
                owed = &mut first_in_line, if first.is_none() => first = Some(owed),
                // The writer has ended too, and the write returns the reason.
                more = changes.next(until) => if !more {
                    return Ok(UpsertPermit::Free);
                },
            }
        }
    }

    /// The collection, if it is behind.
    async fn backlog(&self, state: &SharedState, name: &CollectionName) -> Result<Option<Backlog>, Held> {
        let state = state.look().await?;
        Ok(state.projection.index().collection(name).and_then(|collection| self.backlog_of(collection)))
    }

    fn backlog_of(&self, collection: &Collection) -> Option<Backlog> {
        // Most of what a kept graph may know will not have to be linked.
        let unlinked = collection.unlinked().saturating_sub(self.unread.slots(collection));
        let until = match unlinked {
            _ if unlinked > collection.unlinked_max_unsearched() => None,
            _ if unlinked > collection.unlinked_max() => Some(self.searches.until(collection.id())?),
            _ => return None,
        };
        Some(Backlog { collection: collection.id(), linked: collection.linked(), until })
    }

    async fn queue(&self, collection: CollectionId, state: &SharedState) -> Result<Arc<Queue<Owed>>, Held> {
        let state = state.look().await?;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains_key(&collection) {
            queues.retain(|id, _| state.projection.index().by_id(*id).is_some());
        }
        Ok(Arc::clone(queues.entry(collection).or_default()))
    }
}

/// Every change that can let a waiting upsert through.
#[derive(Clone, Debug)]
struct Changes {
    /// Told of every step of the linker.
    linked: watch::Receiver<Linking>,
    /// Told of every commit.
    published: watch::Receiver<Head>,
}

impl Changes {
    /// Returns whether linking goes on. [`next`](Self::next) waits for changes after this call.
    fn look(&mut self) -> Linking {
        self.published.borrow_and_update();
        *self.linked.borrow_and_update()
    }

    /// Waits for the next change, at most until `until`. Returns whether there may be more changes.
    async fn next(&mut self, until: Option<Instant>) -> bool {
        let time = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.linked.changed() => changed.is_ok(),
            changed = self.published.changed() => changed.is_ok(),
            () = time => true,
        }
    }
}

#[cfg(test)]
#[path = "backpressure_tests.rs"]
mod tests;
