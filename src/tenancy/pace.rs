//! Writes that come faster than their vectors can be linked wait for linking: sooner where somebody searches,
//! as searches compare what is not linked one by one.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use vectorizer_log::CollectionName;
use vectorizer_replay::Collection;

use super::searches::Searches;
use super::writer::State;

/// For each vector that is let in, so many are to be linked: what has piled up while nobody searched grows less.
const LINKED_FOR_EACH: usize = 2;

/// How long an upsert waits before its sender is told to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Holds back upserts into collections that are behind with linking, and nothing else.
#[derive(Debug)]
pub(super) struct Pace {
    /// Held by the one upsert whose turn it is to wait for more vectors to be linked than it brings; so
    /// all of them together bring fewer than were linked.
    first: Mutex<()>,
    /// Changes when vectors were linked, and closes when none will be any more.
    linked: watch::Receiver<Linking>,
    searches: Searches,
}

/// How linking goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linking {
    Going,
    /// What is not linked will not be, until the tenant wakes again.
    GivenUp,
}

/// Why an upsert is not let through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Linking does not keep up.
    TooFast,
    /// Nothing will be linked any more.
    GivenUp,
}

impl Pace {
    pub(super) fn new(linked: watch::Receiver<Linking>, searches: Searches) -> Self {
        Self { first: Mutex::default(), linked, searches }
    }

    /// Waits until the collection may be given `vectors` more.
    pub(super) async fn keep(
        &self,
        state: &RwLock<State>,
        name: &CollectionName,
        vectors: usize,
    ) -> Result<(), Held> {
        // How many slots are linked of a collection that is behind.
        let behind = || {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            let collection = state.projection.index().collection(name);
            let searched = |collection: &Collection| self.searches.are_in(collection.id());
            let is_behind = |collection: &&Collection| {
                collection.is_far_behind() || (collection.is_behind() && searched(collection))
            };
            collection.filter(is_behind).map(Collection::linked)
        };
        if behind().is_none() {
            return Ok(());
        }
        let wait = async {
            let _first = self.first.lock().await;
            let mut turns = self.linked.clone();
            let mut before = behind();
            while let (Some(start), Some(now)) = (before, behind()) {
                if now >= start.saturating_add(vectors.saturating_mul(LINKED_FOR_EACH)) {
                    return Ok(());
                }
                if *turns.borrow_and_update() == Linking::GivenUp {
                    return Err(Held::GivenUp);
                }
                // A compaction has renumbered what was linked.
                before = Some(start.min(now));
                // The writer has ended too, and says why.
                if turns.changed().await.is_err() && *turns.borrow() != Linking::GivenUp {
                    return Ok(());
                }
            }
            Ok(())
        };
        timeout(PATIENCE, wait).await.unwrap_or(Err(Held::TooFast))
    }
}
