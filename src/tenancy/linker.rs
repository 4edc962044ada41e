//! Links vectors into their collections' graphs behind the writes that brought them, and gives back the
//! room of deleted ones.
//!
//! It also keeps the graphs on disk, so that a tenant that wakes need not link everything again.
//!
//! Searches compare what is not linked yet one by one. So that this does not take ever longer, the
//! writer waits, beyond a bound, for as many vectors to be linked as it has added (see [`Pace`]).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, info, warn};
use vectorizer_log::{CollectionId, Head};
use vectorizer_replay::{Collection, LinkingStopped, Snapshot, UnusableGraph};

use super::graph_files::GraphFiles;
use super::writer::State;

/// How many vectors are linked in one turn: a fraction of a second, in which no other tenant's are.
const TURN_VECTORS_MAX: usize = 1024;
/// A few vectors are left for a moment, more may be coming.
const PATIENCE: Duration = Duration::from_millis(20);
/// A graph is written again when this share of it, and at least so many vectors, have come or gone since:
/// what is missing from the file is linked anew when it is read.
const KEPT_SHARE: usize = 8;
const KEPT_MIN: usize = 1024;
/// How far linking may run ahead of a writer that waits for it.
const CREDITS_MAX: usize = 4 * TURN_VECTORS_MAX;

/// What links one tenant's collections.
pub(super) struct Linker {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) published: watch::Receiver<Head>,
    pub(super) files: GraphFiles,
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

#[derive(Clone, Copy)]
enum Work {
    /// Take the graph of an earlier life.
    Read,
    Link,
    Compact,
    /// Keep the graph for a later life.
    Write,
}

/// What is to be done next, and on what.
struct Task {
    work: Work,
    id: CollectionId,
    snapshot: Snapshot,
}

impl Linker {
    /// Works until the writer ends or `stop` is cancelled.
    pub(super) async fn run(mut self) {
        // How many slots of a collection were linked when its graph was read or written last.
        let mut kept = HashMap::new();
        loop {
            self.published.borrow_and_update();
            while let Some(task) = self.next(&kept) {
                let turn = tokio::select! {
                    turn = self.turns.acquire() => turn,
                    () = self.stop.cancelled() => return,
                };
                let (work, id) = (task.work, task.id);
                let done = self.away(task).await;
                drop(turn);
                match done {
                    Some(Ok(linked)) => match work {
                        Work::Read | Work::Write => drop(kept.insert(id, linked)),
                        // Nothing more can be done for now.
                        Work::Link | Work::Compact if linked == 0 => break,
                        Work::Link | Work::Compact => self.pace.linked(linked),
                    },
                    Some(Err(LinkingStopped)) => return,
                    None => {
                        // Searches still find everything, one by one; writes must not wait for ever.
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

    /// What is needed most: searches that have to compare much come first.
    fn next(&self, kept: &HashMap<CollectionId, usize>) -> Option<Task> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let collections = || state.projection.index().collections();
        let behind = collections().filter(|collection| collection.unlinked() > 0);
        let task = |work, collection: &Collection| {
            Some(Task { work, id: collection.id(), snapshot: collection.snapshot() })
        };
        if let Some(collection) = behind.max_by_key(|collection| collection.unlinked()) {
            let known = collection.has_graph() || kept.contains_key(&collection.id());
            return task(if known { Work::Link } else { Work::Read }, collection);
        }
        if let Some(collection) = collections().find(|collection| collection.wants_compaction()) {
            return task(Work::Compact, collection);
        }
        let grown = |collection: &&Collection| {
            let linked = collection.linked();
            let before = kept.get(&collection.id()).copied().unwrap_or(0);
            linked.abs_diff(before) > (linked / KEPT_SHARE).max(KEPT_MIN)
        };
        task(Work::Write, collections().find(grown)?)
    }

    /// Does the task away from the async threads; says how much was done, or how much is linked if it was
    /// read or written. `None` if it panicked.
    async fn away(&self, task: Task) -> Option<Result<usize, LinkingStopped>> {
        let span = Span::current();
        let (state, files, stop) = (Arc::clone(&self.state), self.files.clone(), self.stop.clone());
        let work = move || span.in_scope(|| task.run(&state, &files, &stop));
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Some(done),
            Err(panic) => {
                error!(%panic, "linking panicked and is given up until the tenant wakes again");
                None
            }
        }
    }
}

impl Task {
    fn run(
        self,
        state: &RwLock<State>,
        files: &GraphFiles,
        stop: &CancellationToken,
    ) -> Result<usize, LinkingStopped> {
        let Self { work, id, snapshot } = self;
        match work {
            Work::Read => read(files, id, &snapshot, stop),
            Work::Link => snapshot.link(TURN_VECTORS_MAX, 1, &|| stop.is_cancelled()),
            Work::Compact => {
                let compaction = snapshot.compact();
                let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
                let installed = state.projection.install(id, compaction);
                debug!(collection = %id.seq(), installed, "compacted");
                Ok(usize::from(installed))
            }
            Work::Write => {
                let existing: Vec<CollectionId> = {
                    let state = state.read().unwrap_or_else(PoisonError::into_inner);
                    state.projection.index().collections().map(Collection::id).collect()
                };
                match files.erase_others(&existing).and_then(|()| files.write(id, &snapshot)) {
                    Ok(bytes) => debug!(collection = %id.seq(), bytes, "kept the graph"),
                    // It only saves time, and is tried again when the graph has grown.
                    Err(error) => warn!(collection = %id.seq(), %error, "the graph could not be kept"),
                }
                Ok(snapshot.linked())
            }
        }
    }
}

fn read(
    files: &GraphFiles,
    id: CollectionId,
    snapshot: &Snapshot,
    stop: &CancellationToken,
) -> Result<usize, LinkingStopped> {
    let bytes = match files.read(id) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(0),
        Err(error) => {
            warn!(collection = %id.seq(), %error, "the kept graph could not be read and is built anew");
            return Ok(0);
        }
    };
    match snapshot.read_graph(&bytes, 1, &|| stop.is_cancelled()) {
        Ok(()) => {
            info!(collection = %id.seq(), vectors = snapshot.len(), "the kept graph is in use");
            Ok(snapshot.linked())
        }
        Err(UnusableGraph::Stopped(stopped)) => Err(stopped),
        Err(error @ (UnusableGraph::Damaged | UnusableGraph::Other)) => {
            warn!(collection = %id.seq(), %error, "the kept graph is of no use and is built anew");
            Ok(0)
        }
    }
}
