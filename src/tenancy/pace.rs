//! Writes that come faster than their vectors can be linked wait for linking.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use vectorizer_log::CollectionName;
use vectorizer_replay::Collection;

use super::writer::State;

/// How long an upsert waits before its sender is told to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Holds back upserts into collections that are behind with linking, and nothing else.
#[derive(Debug)]
pub(super) struct Pace {
    /// Held by the one upsert whose turn it is to wait for as many vectors to be linked as it brings; so
    /// all of them together bring no more than were linked.
    first: Mutex<()>,
    /// Changes when vectors were linked, and closes when none will be any more.
    linked: watch::Receiver<Linking>,
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
    pub(super) fn new(linked: watch::Receiver<Linking>) -> Self {
        Self { first: Mutex::default(), linked }
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
            collection.filter(|collection| collection.is_behind()).map(Collection::linked)
        };
        if behind().is_none() {
            return Ok(());
        }
        let wait = async {
            let _first = self.first.lock().await;
            let mut turns = self.linked.clone();
            let mut before = behind();
            while let (Some(start), Some(now)) = (before, behind()) {
                if now >= start + vectors {
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
