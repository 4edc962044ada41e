//! Links vectors into their collections' graphs behind the writes that brought them, and gives back the
//! room of deleted ones.
//!
//! It also keeps the graphs on disk, so that a tenant that wakes need not link everything again.
//!
//! Searches compare what is not linked yet one by one. So that this does not take ever longer, upserts
//! wait beyond a bound (see `pace`).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, info, warn};
use vectorizer_log::{CollectionId, Head};
use vectorizer_replay::{Collection, Compaction, Crew, LinkingStopped, Snapshot, UnusableGraph};

use super::background::{Background, Weight};
use super::graph_files::GraphFiles;
use super::pace::Linking;
use super::unread_graphs::UnreadGraphs;
use super::writer::State;
use crate::scheduling::{Turn, pause, rest};

/// How many tenants' vectors are linked at the same time: each takes all cores that nothing else wants.
const LINKING_MAX: usize = 1;
/// How many tenants' graphs are compacted or written at the same time.
const UPKEEP_MAX: usize = 1;
/// How many are read.
const READ_MAX: usize = 1;
/// How long a turn takes: meanwhile no other collection's vectors are linked, nor any other tenant's.
const TURN: Duration = Duration::from_millis(200);
/// How long nothing may have been written before all of a graph is looked at.
const QUIET: Duration = Duration::from_secs(2);
/// How often a compaction is brought up to date before it is put in place.
const CATCH_UPS: usize = 3;
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
    /// Which of these were not looked at yet.
    pub(super) unread: UnreadGraphs,
    /// Told of every step, and of the end of all steps.
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
    /// For graphs that were kept: what there is of one is linked when it was read.
    reading: Arc<Semaphore>,
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
            reading: Arc::new(Semaphore::new(READ_MAX)),
            background: Background::new(LINKING_MAX + UPKEEP_MAX + READ_MAX, Weight::Tenth),
            #[cfg(test)]
            panics: Arc::default(),
        }
    }
}

#[cfg(test)]
impl Turns {
    /// Nothing is linked until this is dropped.
    pub(super) fn hold_linking(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.linking).try_acquire_owned().unwrap()
    }

    /// No kept graph is read until this is dropped.
    pub(super) fn hold_reading(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.reading).try_acquire_owned().unwrap()
    }
}

#[derive(Clone, Copy)]
enum Work {
    /// Take the graph of an earlier life.
    Read,
    Link,
    /// See to it that all that is linked is found.
    Mend,
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

/// What came of a task.
enum Done {
    /// So much was linked, or is linked by now if it was read or written.
    Linked(usize),
    /// It is yet to be put in place.
    Compacted(Box<Compaction>),
}

/// What a linker knows of the collections.
#[derive(Default)]
struct Progress {
    /// How many slots of each were linked when its graph was read or written last.
    kept: HashMap<CollectionId, usize>,
    /// Which turn was the last to link each.
    linked_in: HashMap<CollectionId, u64>,
    turns: u64,
}

impl Linker {
    /// Works until the writer ends or `stop` is cancelled.
    pub(super) async fn run(mut self) {
        let mut progress = Progress::default();
        let (mut panics, mut mends) = (0, true);
        self.sweep().await;
        loop {
            self.published.borrow_and_update();
            while let Some(task) = self.next(&progress, true) {
                // The writer has ended; another life of this tenant may have begun.
                if self.published.has_changed().is_err() {
                    return;
                }
                let id = task.id;
                // Then there is nothing to wait for.
                if matches!(task.work, Work::Read) && !self.files.has(id) {
                    progress.kept.insert(id, 0);
                    self.unread.resolve(id);
                    self.linked.send_replace(Linking::Going);
                    continue;
                }
                let Some((task, turn)) = self.turn(task, &progress).await else { return };
                let (work, id) = (task.work, task.id);
                let done = self.away(task).await;
                drop(turn);
                let done: Option<Result<usize, LinkingStopped>> = match done {
                    Some(Ok(Done::Compacted(compaction))) => self.install(id, compaction).await.map(Ok),
                    Some(Ok(Done::Linked(linked))) => Some(Ok(linked)),
                    Some(Err(stopped)) => Some(Err(stopped)),
                    None => None,
                };
                if matches!(work, Work::Read) && done != Some(Err(LinkingStopped)) {
                    self.unread.resolve(id);
                }
                // IMPORTANT: after every step, whichever it was: upserts wait for what it may have changed.
                self.linked.send_replace(Linking::Going);
                match done {
                    Some(Ok(linked)) => match work {
                        Work::Read | Work::Write => drop(progress.kept.insert(id, linked)),
                        // Nothing more can be done for now.
                        Work::Link | Work::Compact if linked == 0 => break,
                        Work::Link => {
                            progress.turns += 1;
                            progress.linked_in.insert(id, progress.turns);
                        }
                        Work::Compact | Work::Mend => {}
                    },
                    Some(Err(LinkingStopped)) => return,
                    None if self.state.is_poisoned() => {
                        self.failed.cancel();
                        return;
                    }
                    // A kept graph saves time and nothing else.
                    None if matches!(work, Work::Read) => {
                        progress.kept.insert(id, 0);
                        warn!(collection = %id.seq(), "reading the kept graph panicked, and it is built anew");
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
            if self.forget_deleted(&mut progress) {
                self.sweep().await;
            }
            let unmended = self.unmended();
            tokio::select! {
                changed = self.published.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(QUIET), if mends && unmended.is_some() => {
                    let Some(task) = unmended else { continue };
                    let Some((task, turn)) = self.turn(task, &progress).await else { return };
                    let mended = self.away(task).await;
                    drop(turn);
                    match mended {
                        Some(Ok(_)) => {}
                        Some(Err(LinkingStopped)) => return,
                        None => {
                            mends = false;
                            warn!("looking for what no search comes upon panicked and is given up");
                        }
                    }
                },
                () = self.stop.cancelled() => return,
            }
            tokio::time::sleep(PATIENCE).await;
        }
    }

    /// Erases the kept graphs of collections that are no more.
    async fn sweep(&self) {
        let existing: Vec<CollectionId> = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.projection.index().collections().map(Collection::id).collect()
        };
        let files = self.files.clone();
        let swept = tokio::task::spawn_blocking(move || files.erase_others(&existing)).await;
        // They only take room, and this is tried again.
        if let Ok(Err(error)) = swept {
            warn!(%error, "graphs of deleted collections could not be erased");
        }
    }

    /// Forgets what it knows of collections that are no more; says whether there were any.
    fn forget_deleted(&self, progress: &mut Progress) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let exists = |id: &CollectionId| state.projection.index().by_id(*id).is_some();
        let before = progress.kept.len();
        progress.kept.retain(|id, _| exists(id));
        progress.linked_in.retain(|id, _| exists(id));
        progress.kept.len() < before
    }

    /// A collection in which it is yet to be made sure that everything can be found.
    fn unmended(&self) -> Option<Task> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let collection = state.projection.index().collections().find(|collection| !collection.is_mended())?;
        Some(Task { work: Work::Mend, id: collection.id(), snapshot: collection.snapshot() })
    }

    /// Puts a compaction in place, on a thread that gives way to nobody: writes and searches wait meanwhile. Says
    /// whether it was in time; `None` if it panicked.
    async fn install(&self, id: CollectionId, compaction: Box<Compaction>) -> Option<usize> {
        let state = Arc::clone(&self.state);
        let install = move || {
            let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
            state.projection.install(id, *compaction)
        };
        let (installed, removed) = tokio::task::spawn_blocking(install).await.ok()?;
        self.turns.background.run(move || drop(removed)).await;
        debug!(collection = %id.seq(), installed, "compacted");
        Some(usize::from(installed))
    }

    /// A turn for the task, or for linking while others keep this one waiting; `None` if there is to be none.
    async fn turn(&self, task: Task, progress: &Progress) -> Option<(Task, OwnedSemaphorePermit)> {
        let linking = Arc::clone(&self.turns.linking);
        let mut published = self.published.clone();
        let upkeep = match task.work {
            Work::Link | Work::Mend => None,
            Work::Read => Some(Arc::clone(&self.turns.reading)),
            Work::Compact | Work::Write => Some(Arc::clone(&self.turns.upkeep)),
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
            let link = self.next(progress, false);
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

    /// What is needed most. Compactions come before linking, which may never be done while writes come. Collections
    /// are linked in turns, whichever has waited longest. Without `upkeep` it is linking or nothing.
    fn next(&self, Progress { kept, linked_in, .. }: &Progress, upkeep: bool) -> Option<Task> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let collections = || state.projection.index().collections();
        let known = |collection: &&Collection| collection.has_graph() || kept.contains_key(&collection.id());
        let behind = collections()
            .filter(|collection| collection.unlinked() > 0 && (upkeep || known(collection)))
            .min_by_key(|collection| linked_in.get(&collection.id()));
        let task = |work, collection: &Collection| {
            Some(Task { work, id: collection.id(), snapshot: collection.snapshot() })
        };
        if !upkeep {
            return task(Work::Link, behind?);
        }
        if let Some(collection) = collections().find(|collection| collection.wants_compaction()) {
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

    /// Does the task away from the async threads; `None` if it panicked.
    async fn away(&self, task: Task) -> Option<Result<Done, LinkingStopped>> {
        let span = Span::current();
        let (state, files, stop) = (Arc::clone(&self.state), self.files.clone(), self.stop.clone());
        #[cfg(test)]
        let panics = Arc::clone(&self.turns.panics);
        let work = move || {
            #[cfg(test)]
            tests::panic_if_told(&panics);
            span.in_scope(|| task.run(&state, &files, &stop))
        };
        self.turns.background.run(work).await
    }
}

impl Task {
    fn run(
        self,
        state: &RwLock<State>,
        files: &GraphFiles,
        stop: &CancellationToken,
    ) -> Result<Done, LinkingStopped> {
        let Self { work, id, snapshot } = self;
        // Asked every fifty microseconds, or between two points.
        let stopped = || {
            pause();
            stop.is_cancelled()
        };
        match work {
            Work::Read => read(files, id, &snapshot, &stopped).map(Done::Linked),
            Work::Link => {
                let started = Instant::now();
                let enough = || started.elapsed() >= TURN;
                snapshot.link_until(usize::MAX, crew(), &stopped, &enough).map(Done::Linked)
            }
            Work::Mend => snapshot.mend(&stopped).map(|()| Done::Linked(snapshot.linked())),
            Work::Compact => {
                let mut compaction = snapshot.compact(&stopped)?;
                // What was written meanwhile, as far as possible without holding anybody up.
                for _ in 0..CATCH_UPS {
                    let now = {
                        let state = state.read().unwrap_or_else(PoisonError::into_inner);
                        state.projection.index().by_id(id).map(Collection::snapshot)
                    };
                    if let Some(now) = now {
                        compaction.catch_up_with(&now);
                    }
                }
                Ok(Done::Compacted(Box::new(compaction)))
            }
            Work::Write => {
                match files.write(id, &snapshot, stop) {
                    Ok(bytes) => debug!(collection = %id.seq(), bytes, "kept the graph"),
                    Err(_) if stop.is_cancelled() => return Err(LinkingStopped),
                    // It only saves time, and is tried again when the graph has grown.
                    Err(error) => warn!(collection = %id.seq(), %error, "the graph could not be kept"),
                }
                Ok(Done::Linked(snapshot.linked()))
            }
        }
    }
}

/// Who links: threads that take the cores nobody wants, and one that has its share whatever else there is. Where a core
/// is taken only by the former, a search finds it free.
fn crew() -> Crew {
    let helpers = std::thread::available_parallelism().map_or(1, usize::from);
    Crew { helpers, begin: || Turn::Idle.take(), rest }
}

fn read(
    files: &GraphFiles,
    id: CollectionId,
    snapshot: &Snapshot,
    stopped: &(impl Fn() -> bool + Sync),
) -> Result<usize, LinkingStopped> {
    let bytes = match files.read(id, snapshot.graph_bytes_max()) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(0),
        Err(error) => {
            warn!(collection = %id.seq(), %error, "the kept graph could not be read and is built anew");
            return Ok(0);
        }
    };
    let started = Instant::now();
    // What came behind the kept graph is linked in turns, as it is without one.
    let enough = || started.elapsed() >= TURN;
    match snapshot.read_graph_until(&bytes, crew(), stopped, &enough) {
        Ok(()) => {
            info!(collection = %id.seq(), vectors = snapshot.linked(), "the kept graph is in use");
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
