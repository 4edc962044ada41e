//! Links vectors into their collections' graphs behind the writes that brought them, and gives back the
//! room of deleted ones.
//!
//! It also keeps the graphs on disk, so that a tenant that wakes need not link everything again.
//!
//! Searches compare what is not linked yet one by one. So that this does not take ever longer, upserts
//! wait beyond a bound (see `pace`).

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, info, warn};
use vectorizer_log::{CollectionId, Head};
use vectorizer_replay::{Collection, LinkingStopped, Snapshot, UnusableGraph};

use super::background::Background;
use super::graph_files::GraphFiles;
use super::pace::Linking;
use super::writer::State;

/// How many tenants' vectors are linked at the same time: each takes all cores that nothing else wants.
const LINKING_MAX: usize = 1;
/// How many tenants' graphs are read, compacted or written at the same time.
const UPKEEP_MAX: usize = 1;
/// How long a turn is meant to take: meanwhile no other tenant's vectors are linked.
const TURN: Duration = Duration::from_millis(200);
/// How many vectors are linked in one turn; as many as [`TURN`] was enough for in the one before.
const TURN_VECTORS: RangeInclusive<usize> = 16..=4096;
/// So many panics of one tenant's linker are taken for bad luck: what it was at is begun again.
const PANICS_MAX: usize = 1;
/// A few vectors are left for a moment, more may be coming.
const PATIENCE: Duration = Duration::from_millis(20);
/// A graph is written again when this share of it, and at least so many vectors, have come or gone since:
/// what is missing from the file is linked anew when it is read.
const KEPT_SHARE: usize = 8;
const KEPT_MIN: usize = 1024;

/// What links one tenant's collections.
pub(super) struct Linker {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) published: watch::Receiver<Head>,
    pub(super) files: GraphFiles,
    /// Told of every turn, and of the end of all turns.
    pub(super) linked: watch::Sender<Linking>,
    pub(super) turns: Turns,
    pub(super) stop: CancellationToken,
    /// Cancelled when the state can be trusted no more.
    pub(super) failed: CancellationToken,
}

/// What all tenants' linkers share: each does its work in turn with the others.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    linking: Arc<Semaphore>,
    /// For what takes longer than a turn: nobody's links wait for it.
    upkeep: Arc<Semaphore>,
    background: Background,
    /// How many of the next turns are to panic.
    #[cfg(test)]
    pub(super) panics: Arc<std::sync::atomic::AtomicUsize>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            linking: Arc::new(Semaphore::new(LINKING_MAX)),
            upkeep: Arc::new(Semaphore::new(UPKEEP_MAX)),
            background: Background::new(LINKING_MAX + UPKEEP_MAX),
            #[cfg(test)]
            panics: Arc::default(),
        }
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
        let mut vectors_max = *TURN_VECTORS.end();
        let mut panics = 0;
        loop {
            self.published.borrow_and_update();
            while let Some(task) = self.next(&kept, true) {
                // The writer has ended; another life of this tenant may have begun.
                if self.published.has_changed().is_err() {
                    return;
                }
                let Some((task, turn)) = self.turn(task, &kept).await else { return };
                let (work, id) = (task.work, task.id);
                let started = Instant::now();
                let done = self.away(task, vectors_max).await;
                drop(turn);
                match done {
                    Some(Ok(linked)) => match work {
                        Work::Read | Work::Write => drop(kept.insert(id, linked)),
                        // Nothing more can be done for now.
                        Work::Link | Work::Compact if linked == 0 => break,
                        Work::Link => {
                            vectors_max = fitting(linked, started.elapsed());
                            self.linked.send_replace(Linking::Going);
                        }
                        Work::Compact => {}
                    },
                    Some(Err(LinkingStopped)) => return,
                    None if self.state.is_poisoned() => {
                        self.failed.cancel();
                        return;
                    }
                    // Nothing of a turn that panicked is in use.
                    None if panics < PANICS_MAX => {
                        panics += 1;
                        warn!("linking panicked and is begun again");
                    }
                    // Searches still find everything, one by one; so there must not be ever more of it.
                    None => {
                        error!("linking panicked again and is given up until the tenant wakes again");
                        self.linked.send_replace(Linking::GivenUp);
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

    /// A turn for the task, or for linking while others keep this one waiting; `None` if there is to be none.
    async fn turn(
        &self,
        task: Task,
        kept: &HashMap<CollectionId, usize>,
    ) -> Option<(Task, OwnedSemaphorePermit)> {
        let (linking, upkeep) = (Arc::clone(&self.turns.linking), Arc::clone(&self.turns.upkeep));
        let mut published = self.published.clone();
        let upkeep = match task.work {
            Work::Link => None,
            Work::Read | Work::Compact | Work::Write => Some(upkeep),
        };
        let Some(upkeep) = upkeep else {
            return tokio::select! {
                turn = linking.acquire_owned() => Some((task, turn.ok()?)),
                () = self.stop.cancelled() => None,
            };
        };
        let upkeep = upkeep.acquire_owned();
        tokio::pin!(upkeep);
        loop {
            // What is to be linked after this may be told of by a change.
            published.borrow_and_update();
            let link = self.next(kept, false);
            let links = link.is_some();
            tokio::select! {
                biased;
                turn = &mut upkeep => return Some((task, turn.ok()?)),
                turn = Arc::clone(&linking).acquire_owned(), if links => return Some((link?, turn.ok()?)),
                changed = published.changed(), if !links => changed.ok()?,
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// What is needed most. Compactions come before linking, which may never be done while writes come.
    /// Without `upkeep` it is linking or nothing.
    fn next(&self, kept: &HashMap<CollectionId, usize>, upkeep: bool) -> Option<Task> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let collections = || state.projection.index().collections();
        let known = |collection: &&Collection| collection.has_graph() || kept.contains_key(&collection.id());
        let behind = collections()
            .filter(|collection| collection.unlinked() > 0 && (upkeep || known(collection)))
            .max_by_key(|collection| collection.unlinked());
        let task = |work, collection: &Collection| {
            Some(Task { work, id: collection.id(), snapshot: collection.snapshot() })
        };
        let compacted = |collection: &&Collection| collection.has_graph() && collection.wants_compaction();
        if !upkeep {
            return task(Work::Link, behind?);
        }
        if let Some(collection) = collections().find(compacted) {
            return task(Work::Compact, collection);
        }
        if let Some(collection) = behind {
            return task(if known(&collection) { Work::Link } else { Work::Read }, collection);
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
    async fn away(&self, task: Task, vectors_max: usize) -> Option<Result<usize, LinkingStopped>> {
        let span = Span::current();
        let (state, files, stop) = (Arc::clone(&self.state), self.files.clone(), self.stop.clone());
        #[cfg(test)]
        let panics = Arc::clone(&self.turns.panics);
        let work = move || {
            #[cfg(test)]
            tests::panic_if_told(&panics);
            span.in_scope(|| task.run(&state, &files, vectors_max, &stop))
        };
        self.turns.background.run(work).await
    }
}

impl Task {
    fn run(
        self,
        state: &RwLock<State>,
        files: &GraphFiles,
        vectors_max: usize,
        stop: &CancellationToken,
    ) -> Result<usize, LinkingStopped> {
        let Self { work, id, snapshot } = self;
        match work {
            Work::Read => read(files, id, &snapshot, stop),
            Work::Link => snapshot.link(vectors_max, threads(), &|| stop.is_cancelled()),
            Work::Compact => {
                let compaction = snapshot.compact(&|| stop.is_cancelled())?;
                let (installed, removed) = {
                    let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
                    state.projection.install(id, compaction)
                };
                drop(removed);
                debug!(collection = %id.seq(), installed, "compacted");
                Ok(usize::from(installed))
            }
            Work::Write => {
                let existing: Vec<CollectionId> = {
                    let state = state.read().unwrap_or_else(PoisonError::into_inner);
                    state.projection.index().collections().map(Collection::id).collect()
                };
                match files.erase_others(&existing).and_then(|()| files.write(id, &snapshot, stop)) {
                    Ok(bytes) => debug!(collection = %id.seq(), bytes, "kept the graph"),
                    Err(_) if stop.is_cancelled() => return Err(LinkingStopped),
                    // It only saves time, and is tried again when the graph has grown.
                    Err(error) => warn!(collection = %id.seq(), %error, "the graph could not be kept"),
                }
                Ok(snapshot.linked())
            }
        }
    }
}

/// Threads to link with. Those that are started give way to all others, as the one that starts them does.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many vectors [`TURN`] is enough for, if so many took so long.
fn fitting(vectors: usize, took: Duration) -> usize {
    let each = took / u32::try_from(vectors).unwrap_or(u32::MAX).max(1);
    let fitting = TURN.as_nanos() / each.as_nanos().max(1);
    usize::try_from(fitting).unwrap_or(usize::MAX).clamp(*TURN_VECTORS.start(), *TURN_VECTORS.end())
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
    match snapshot.read_graph(&bytes, threads(), &|| stop.is_cancelled()) {
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

#[cfg(test)]
#[path = "linker_tests.rs"]
mod tests;
