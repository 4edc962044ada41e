//! Links vectors into their collections' graphs behind the writes that brought them, and gives back the
//! room of deleted ones.
//!
//! Searches compare what is not linked yet one by one. So that this does not take ever longer, the
//! writer waits, beyond a bound, for as many vectors to be linked as it has added (see [`Pace`]).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error};
use vectorizer_log::{CollectionId, Head};
use vectorizer_replay::{LinkingStopped, Snapshot};

use super::writer::State;

/// How many vectors are linked in one turn: a fraction of a second, in which no other tenant's are.
const TURN_VECTORS_MAX: usize = 1024;
/// A few vectors are left for a moment, more may be coming.
const PATIENCE: Duration = Duration::from_millis(20);
/// How far linking may run ahead of a writer that waits for it.
const CREDITS_MAX: usize = 4 * TURN_VECTORS_MAX;

/// What links one tenant's collections.
pub(super) struct Linker {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) published: watch::Receiver<Head>,
    pub(super) pace: Arc<Pace>,
    /// Shared by all tenants: so many link at the same time, in turn.
    pub(super) turns: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

/// How many vectors a writer may add while a collection has too many that are not linked.
#[derive(Debug)]
pub(super) struct Pace(Semaphore);

impl Default for Pace {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Pace {
    fn linked(&self, vectors: usize) {
        let room = CREDITS_MAX.saturating_sub(self.0.available_permits());
        self.0.add_permits(vectors.min(room));
    }

    /// Waits until some more of `debt` vectors have been linked; says how many.
    pub(super) async fn pay(&self, debt: usize) -> usize {
        let part = u32::try_from(debt.min(TURN_VECTORS_MAX / 4)).unwrap_or(u32::MAX);
        if let Ok(paid) = self.0.acquire_many(part).await {
            paid.forget();
        }
        part as usize
    }
}

enum Work {
    Link,
    Compact,
}

impl Linker {
    /// Works until the writer ends or `stop` is cancelled.
    pub(super) async fn run(mut self) {
        loop {
            self.published.borrow_and_update();
            while let Some((id, snapshot, work)) = self.next() {
                let turn = tokio::select! {
                    turn = self.turns.acquire() => turn,
                    () = self.stop.cancelled() => return,
                };
                let span = Span::current();
                let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
                let work = move || span.in_scope(|| turn_of(&state, id, &snapshot, &work, &stop));
                let linked = tokio::task::spawn_blocking(work).await;
                drop(turn);
                match linked {
                    // Nothing more can be done for now.
                    Ok(Ok(0)) => break,
                    Ok(Ok(vectors)) => self.pace.linked(vectors),
                    Ok(Err(LinkingStopped)) => return,
                    Err(panic) => {
                        // Searches still find everything, one by one; writes must not wait for ever.
                        error!(%panic, "linking panicked and is given up until the tenant wakes again");
                        self.pace.0.close();
                        return;
                    }
                }
            }
            tokio::select! {
                changed = self.published.changed() => if changed.is_err() {
                    return;
                },
                () = self.stop.cancelled() => return,
            }
            tokio::time::sleep(PATIENCE).await;
        }
    }

    /// The collection that needs it most.
    fn next(&self) -> Option<(CollectionId, Snapshot, Work)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let collections = || state.projection.index().collections();
        let behind = collections().filter(|collection| collection.unlinked() > 0);
        if let Some(collection) = behind.max_by_key(|collection| collection.unlinked()) {
            return Some((collection.id(), collection.snapshot(), Work::Link));
        }
        let collection = collections().find(|collection| collection.wants_compaction())?;
        Some((collection.id(), collection.snapshot(), Work::Compact))
    }
}

/// Works for one turn; says how much was done.
fn turn_of(
    state: &RwLock<State>,
    id: CollectionId,
    snapshot: &Snapshot,
    work: &Work,
    stop: &CancellationToken,
) -> Result<usize, LinkingStopped> {
    match work {
        Work::Link => snapshot.link(TURN_VECTORS_MAX, 1, &|| stop.is_cancelled()),
        Work::Compact => {
            let compaction = snapshot.compact();
            let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
            let installed = state.projection.install(id, compaction);
            debug!(collection = %id.seq(), installed, "compacted");
            Ok(usize::from(installed))
        }
    }
}
