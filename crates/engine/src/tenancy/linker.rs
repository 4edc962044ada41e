//! Links vectors into the graphs of their collections, after the writes that upserted them. Also frees the memory of
//! deleted vectors, and indexes existing payloads when a path is declared later.
//!
//! The linker also stores the graphs on disk, so that a tenant that wakes need not link everything again.
//!
//! Searches compare the vectors that are not linked yet one by one. The number of these vectors is bounded: beyond the
//! bound, upserts wait (see `backpressure`).

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, warn};
use vectorizer_index::{Collection, Interrupted, Removed};
use vectorizer_log::{CollectionId, Head};
use vectorizer_replay::Projection;

use super::backpressure::Linking;
use super::graph_files::GraphFiles;
use super::linking_task::{Done, Task, Work};
use super::nice_pool::{NicePool, NiceValue};
use super::shared_state::SharedState;
use super::unread_graphs::UnreadGraphs;

/// The number of tenants that are linked at the same time. Linking one tenant uses all idle cores.
const LINKING_MAX: usize = 1;
/// The number of tenants whose graphs are compacted or written at the same time.
const UPKEEP_MAX: usize = 1;
/// The number of tenants whose graphs are read at the same time.
const READ_MAX: usize = 1;
/// The time without a write after which a graph with unreachable nodes is repaired. The repair looks at all of it.
const QUIET: Duration = Duration::from_secs(2);
/// The maximum number of panics of one tenant's linker after which the task that panicked is started again.
const PANICS_MAX: usize = 1;
/// The pause between rounds. More vectors may come during it, and are then linked together.
const PATIENCE: Duration = Duration::from_millis(20);
/// A graph is written to disk again when more than `1 / KEPT_SHARE` of it, and more than `KEPT_MIN` vectors, have come
/// or gone. Vectors that are missing from the file are linked again when the file is read.
const KEPT_SHARE: usize = 8;
const KEPT_MIN: usize = 1024;

/// The task that links one tenant's collections.
pub(super) struct Linker {
    pub(super) state: Arc<SharedState>,
    pub(super) published: watch::Receiver<Head>,
    pub(super) files: GraphFiles,
    /// The collections whose graph files were not read yet.
    pub(super) unread: UnreadGraphs,
    /// Notified after every step, and when linking is given up.
    pub(super) linked: watch::Sender<Linking>,
    pub(super) permits: LinkPermits,
    pub(super) stop: CancellationToken,
    /// Cancelled when the state in memory can no longer be trusted.
    pub(super) failed: CancellationToken,
}

/// The permits that the linkers of all tenants share. One linker works at a time.
#[derive(Clone, Debug)]
pub(super) struct LinkPermits {
    linking: Arc<Semaphore>,
    /// For tasks that take longer than a step, such as indexing. Linking does not wait for them.
    upkeep: Arc<Semaphore>,
    /// For reading kept graphs. The remaining vectors of a collection are linked after its kept graph is read.
    reading: Arc<Semaphore>,
    background: NicePool,
    /// The number of next steps that are to panic.
    #[cfg(test)]
    pub(super) panics: Arc<std::sync::atomic::AtomicUsize>,
}

impl Default for LinkPermits {
    fn default() -> Self {
        Self {
            linking: Arc::new(Semaphore::new(LINKING_MAX)),
            upkeep: Arc::new(Semaphore::new(UPKEEP_MAX)),
            reading: Arc::new(Semaphore::new(READ_MAX)),
            background: NicePool::new(LINKING_MAX + UPKEEP_MAX + READ_MAX, NiceValue::Ten),
            #[cfg(test)]
            panics: Arc::default(),
        }
    }
}

#[cfg(test)]
impl LinkPermits {
    /// Takes the permit for linking. Nothing is linked until it is dropped.
    pub(super) fn hold_linking(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.linking).try_acquire_owned().unwrap()
    }

    /// Takes the permit for reading. No kept graph is read until it is dropped.
    pub(super) fn hold_reading(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.reading).try_acquire_owned().unwrap()
    }
}

/// The progress of a linker with each collection.
#[derive(Default)]
struct Progress {
    /// The number of linked slots of each collection when its graph was last read or written.
    kept: HashMap<CollectionId, usize>,
    /// The last round that linked vectors of each collection.
    linked_in: HashMap<CollectionId, u64>,
    /// The number of rounds of linking so far.
    rounds: u64,
    /// The number of steps that have panicked.
    panics: usize,
    /// Whether a repair has panicked.
    is_repair_given_up: bool,
}

/// The result of a task.
struct Step {
    work: Work,
    id: CollectionId,
    /// The number of vectors that were linked, or that are linked now. `None` if the task panicked.
    done: Option<Result<usize, Interrupted>>,
}

/// The next action of a linker after a step.
enum Next {
    More,
    /// Nothing more can be done for now.
    Pause,
    End,
}

impl Linker {
    /// Works until the writer ends or `stop` is cancelled.
    pub(super) async fn run(mut self) {
        let mut progress = Progress::default();
        self.sweep(&mut progress).await;
        while self.round(&mut progress).await.is_continue() {
            tokio::time::sleep(PATIENCE).await;
        }
    }

    /// Does all tasks, and waits until there may be more.
    async fn round(&mut self, progress: &mut Progress) -> ControlFlow<()> {
        self.published.borrow_and_update();
        self.do_tasks(progress).await?;
        if self.forget_deleted(progress).await {
            self.sweep(progress).await;
        }
        self.wait(progress).await
    }

    /// Does one task after the other until none is left that can be done now.
    async fn do_tasks(&self, progress: &mut Progress) -> ControlFlow<()> {
        while let Some(task) = self.next(progress).await {
            // The writer has ended, and the tenant may have been woken again with another writer.
            if self.published.has_changed().is_err() {
                return ControlFlow::Break(());
            }
            let id = task.id;
            if matches!(task.work, Work::Read) && !self.files.has(id) {
                self.note_no_kept_graph(id, progress);
                continue;
            }
            let Some((task, permit)) = self.permit_for(task, progress).await else {
                return ControlFlow::Break(());
            };
            let next = match task.work {
                Work::Link | Work::Repair => self.settle(self.step(task, permit).await, progress),
                Work::Read | Work::Compact | Work::Index | Work::Write => {
                    self.link_beside(task, permit, progress).await
                }
            };
            match next {
                Next::More => {}
                Next::Pause => break,
                Next::End => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    /// Notes that the collection has no kept graph, so that upserts do not wait for it to be read.
    fn note_no_kept_graph(&self, id: CollectionId, progress: &mut Progress) {
        progress.kept.insert(id, 0);
        self.unread.resolve(id);
        self.linked.send_replace(Linking::Going);
    }

    /// Waits for the next commit. While there is none, it repairs graphs with nodes that no search reaches.
    async fn wait(&mut self, progress: &mut Progress) -> ControlFlow<()> {
        let disconnected = if progress.is_repair_given_up { None } else { self.disconnected().await };
        tokio::select! {
            changed = self.published.changed() => match changed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            },
            () = tokio::time::sleep(QUIET), if disconnected.is_some() => match disconnected {
                Some(task) => self.repair(task, progress).await,
                None => ControlFlow::Continue(()),
            },
            () = self.stop.cancelled() => ControlFlow::Break(()),
        }
    }

    async fn repair(&self, task: Task, progress: &mut Progress) -> ControlFlow<()> {
        let Some((task, permit)) = self.permit_for(task, progress).await else {
            return ControlFlow::Break(());
        };
        match self.step(task, permit).await.done {
            Some(Ok(_)) => ControlFlow::Continue(()),
            Some(Err(Interrupted)) => ControlFlow::Break(()),
            None => {
                progress.is_repair_given_up = true;
                warn!("repairing unreachable nodes panicked and is given up");
                ControlFlow::Continue(())
            }
        }
    }

    /// Does the task, and releases the permit.
    async fn step(&self, task: Task, permit: OwnedSemaphorePermit) -> Step {
        let (work, id) = (task.work, task.id);
        let done = self.away(task).await;
        drop(permit);
        let done = match done {
            Some(Ok(Done::Compacted(compaction))) => {
                let install = move |projection: &mut Projection| projection.install(id, *compaction);
                self.install(id, "compacted", install).await.map(Ok)
            }
            Some(Ok(Done::Indexed(indexing))) => {
                let install = move |projection: &mut Projection| projection.install_indexing(id, *indexing);
                self.install(id, "indexed payloads", install).await.map(Ok)
            }
            Some(Ok(Done::Linked(linked))) => Some(Ok(linked)),
            Some(Err(stopped)) => Some(Err(stopped)),
            None => None,
        };
        if matches!(work, Work::Read) && done != Some(Err(Interrupted)) {
            self.unread.resolve(id);
        }
        // IMPORTANT: notify after every kind of step, because upserts wait for what the step may have changed.
        self.linked.send_replace(Linking::Going);
        Step { work, id, done }
    }

    /// Records the result of a step.
    fn settle(&self, Step { work, id, done }: Step, progress: &mut Progress) -> Next {
        match done {
            Some(Ok(linked)) => match work {
                Work::Read | Work::Write => drop(progress.kept.insert(id, linked)),
                Work::Link | Work::Compact if linked == 0 => return Next::Pause,
                Work::Link => {
                    progress.rounds += 1;
                    progress.linked_in.insert(id, progress.rounds);
                }
                // A compaction or indexing that came too late is started again.
                Work::Compact | Work::Index | Work::Repair => {}
            },
            Some(Err(Interrupted)) => return Next::End,
            None if !self.state.is_trusted() => {
                self.failed.cancel();
                return Next::End;
            }
            // A kept graph only saves time, so it can be given up.
            None if matches!(work, Work::Read) => {
                progress.kept.insert(id, 0);
                warn!(collection = %id.seq(), "reading the kept graph panicked, and it is built anew");
            }
            // No result of a step that panicked is in use, so the step can be started again.
            None if progress.panics < PANICS_MAX => {
                progress.panics += 1;
                warn!("linking panicked and is begun again");
            }
            // Searches still find the unlinked vectors by comparing them one by one. So their number must not grow
            // any more, and upserts are refused.
            None => {
                error!("linking panicked again and is given up until the tenant wakes again");
                self.linked.send_replace(Linking::GivenUp);
                return Next::End;
            }
        }
        Next::More
    }

    /// Does a task that may take longer than a step. Meanwhile, links the collections that the task does not change.
    async fn link_beside(&self, task: Task, permit: OwnedSemaphorePermit, progress: &mut Progress) -> Next {
        // Indexing does not change the graph, so vectors of the same collection can be linked meanwhile.
        let busy = match task.work {
            Work::Index => None,
            Work::Read | Work::Link | Work::Repair | Work::Compact | Work::Write => Some(task.id),
        };
        let mut published = self.published.clone();
        let mut upkeep = std::pin::pin!(self.step(task, permit));
        loop {
            published.borrow_and_update();
            let link = self.next_link(progress, busy).await;
            let links = link.is_some();
            let next = tokio::select! {
                biased;
                step = &mut upkeep => return self.settle(step, progress),
                permit = Arc::clone(&self.permits.linking).acquire_owned(), if links => {
                    let (Some(link), Ok(permit)) = (link, permit) else { return Next::End };
                    self.settle(self.step(link, permit).await, progress)
                }
                // The caller detects the end of the writer afterwards.
                changed = published.changed(), if !links => {
                    if changed.is_ok() { Next::More } else { Next::Pause }
                }
            };
            match next {
                Next::More => {}
                Next::Pause => return self.settle(upkeep.await, progress),
                Next::End => return Next::End,
            }
        }
    }

    /// Erases the kept graphs of collections that no longer exist, and notes which collections have no kept graph.
    async fn sweep(&self, progress: &mut Progress) {
        let existing: Vec<CollectionId> = {
            let state = self.state.wait().await;
            state.projection.index().collections().map(Collection::id).collect()
        };
        let files = self.files.clone();
        let sweep = move || {
            let erased = files.erase_others(&existing);
            (erased, existing.into_iter().filter(|id| !files.has(*id)).collect::<Vec<_>>())
        };
        let Ok((erased, without)) = tokio::task::spawn_blocking(sweep).await else { return };
        // The files only take up disk space, and erasing them is tried again.
        if let Err(error) = erased {
            warn!(%error, "graphs of deleted collections could not be erased");
        }
        for id in without {
            progress.kept.entry(id).or_insert(0);
            self.unread.resolve(id);
        }
        self.linked.send_replace(Linking::Going);
    }

    /// Removes collections that no longer exist from `progress`. Returns whether there were any.
    async fn forget_deleted(&self, progress: &mut Progress) -> bool {
        let state = self.state.wait().await;
        let exists = |id: &CollectionId| state.projection.index().by_id(*id).is_some();
        let before = progress.kept.len();
        progress.kept.retain(|id, _| exists(id));
        progress.linked_in.retain(|id, _| exists(id));
        progress.kept.len() < before
    }

    /// Returns the repair of a collection whose graph may have nodes that no search reaches.
    async fn disconnected(&self) -> Option<Task> {
        let state = self.state.wait().await;
        let collection =
            state.projection.index().collections().find(|collection| !collection.is_connected())?;
        Some(Task { work: Work::Repair, id: collection.id(), snapshot: collection.snapshot() })
    }

    /// Installs a result that was computed without the state locked. Runs on a thread of normal priority, because
    /// writes and searches wait meanwhile. Returns whether it was in time, or `None` if it panicked.
    async fn install(
        &self,
        id: CollectionId,
        what: &'static str,
        install: impl FnOnce(&mut Projection) -> (bool, Removed) + Send + 'static,
    ) -> Option<usize> {
        let state = Arc::clone(&self.state);
        let install = move || install(&mut state.write().projection);
        let (installed, removed) = tokio::task::spawn_blocking(install).await.ok()?;
        let state = Arc::clone(&self.state);
        let drop_all = move || {
            state.kept.clear();
            drop(removed);
        };
        self.permits.background.run(drop_all).await;
        debug!(collection = %id.seq(), installed, "{what}");
        Some(usize::from(installed))
    }

    /// Waits for the permit for the task. If a permit for linking is free earlier, returns that permit with a linking
    /// task. Returns `None` if the server stops.
    async fn permit_for(&self, task: Task, progress: &Progress) -> Option<(Task, OwnedSemaphorePermit)> {
        let linking = Arc::clone(&self.permits.linking);
        let mut published = self.published.clone();
        let upkeep = match task.work {
            Work::Link | Work::Repair => None,
            Work::Read => Some(Arc::clone(&self.permits.reading)),
            Work::Compact | Work::Index | Work::Write => Some(Arc::clone(&self.permits.upkeep)),
        };
        let Some(upkeep) = upkeep else {
            return tokio::select! {
                permit = linking.acquire_owned() => Some((task, permit.ok()?)),
                () = self.stop.cancelled() => None,
            };
        };
        let upkeep = upkeep.acquire_owned();
        tokio::pin!(upkeep);
        loop {
            // Before looking, so that vectors that come later are noticed as a change.
            published.borrow_and_update();
            let link = self.next_link(progress, None).await;
            let links = link.is_some();
            tokio::select! {
                biased;
                permit = &mut upkeep => return Some((task, permit.ok()?)),
                permit = Arc::clone(&linking).acquire_owned(), if links => return Some((link?, permit.ok()?)),
                changed = published.changed(), if !links => changed.ok()?,
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// Returns the next linking task, for a collection other than `busy`. It must be known whether the collection has a
    /// kept graph.
    async fn next_link(&self, progress: &Progress, busy: Option<CollectionId>) -> Option<Task> {
        let state = self.state.wait().await;
        let known = |collection: &Collection| {
            let id = collection.id();
            collection.has_graph() || progress.kept.contains_key(&id) || !self.unread.may_have(id)
        };
        let collection = state
            .projection
            .index()
            .collections()
            .filter(|collection| collection.unlinked() > 0 && known(collection))
            .filter(|collection| Some(collection.id()) != busy)
            .min_by_key(|collection| progress.linked_in.get(&collection.id()))?;
        Some(Task { work: Work::Link, id: collection.id(), snapshot: collection.snapshot() })
    }

    /// Returns the most urgent task. Compaction and indexing come before linking, because linking may never be finished
    /// while writes come. Of the collections to link, the one that has waited longest is chosen.
    async fn next(&self, Progress { kept, linked_in, .. }: &Progress) -> Option<Task> {
        let state = self.state.wait().await;
        let collections = || state.projection.index().collections();
        let known = |collection: &Collection| collection.has_graph() || kept.contains_key(&collection.id());
        let behind = collections()
            .filter(|collection| collection.unlinked() > 0)
            .min_by_key(|collection| linked_in.get(&collection.id()));
        let task = |work, collection: &Collection| {
            Some(Task { work, id: collection.id(), snapshot: collection.snapshot() })
        };
        if let Some(collection) = collections().find(|collection| collection.needs_compaction()) {
            return task(Work::Compact, collection);
        }
        if let Some(collection) = collections().find(|collection| collection.needs_indexing()) {
            return task(Work::Index, collection);
        }
        if let Some(collection) = behind {
            return task(if known(collection) { Work::Link } else { Work::Read }, collection);
        }
        let grown = |collection: &&Collection| {
            let linked = collection.linked();
            let before = kept.get(&collection.id()).copied().unwrap_or(0);
            linked.abs_diff(before) > (linked / KEPT_SHARE).max(KEPT_MIN)
        };
        task(Work::Write, collections().find(grown)?)
    }

    /// Runs the task on a background thread. Returns `None` if it panicked.
    async fn away(&self, task: Task) -> Option<Result<Done, Interrupted>> {
        let span = Span::current();
        let (state, files, stop) = (Arc::clone(&self.state), self.files.clone(), self.stop.clone());
        #[cfg(test)]
        let panics = Arc::clone(&self.permits.panics);
        let work = move || {
            #[cfg(test)]
            tests::panic_if_told(&panics);
            span.in_scope(|| task.run(&state, &files, &stop))
        };
        self.permits.background.run(work).await
    }
}

#[cfg(test)]
#[path = "linker_tests.rs"]
mod tests;
