//! Links vectors into their collections' graphs behind the writes that brought them, gives back the
//! room of deleted ones, and indexes payloads by paths that were declared after them.
//!
//! It also keeps the graphs on disk, so that a tenant that wakes need not link everything again.
//!
//! Searches compare what is not linked yet one by one. So that this does not take ever longer, upserts
//! wait beyond a bound (see `backpressure`).

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

/// How many tenants' vectors are linked at the same time: each takes all cores that nothing else wants.
const LINKING_MAX: usize = 1;
/// How many tenants' graphs are compacted or written at the same time.
const UPKEEP_MAX: usize = 1;
/// How many are read.
const READ_MAX: usize = 1;
/// How long nothing may have been written before all of a graph is looked at.
const QUIET: Duration = Duration::from_secs(2);
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
    pub(super) state: Arc<SharedState>,
    pub(super) published: watch::Receiver<Head>,
    pub(super) files: GraphFiles,
    /// Which of these were not looked at yet.
    pub(super) unread: UnreadGraphs,
    /// Told of every step, and of the end of all steps.
    pub(super) linked: watch::Sender<Linking>,
    pub(super) permits: LinkPermits,
    pub(super) stop: CancellationToken,
    /// Cancelled when the state can be trusted no more.
    pub(super) failed: CancellationToken,
}

/// What all tenants' linkers share: one of them works at a time.
#[derive(Clone, Debug)]
pub(super) struct LinkPermits {
    linking: Arc<Semaphore>,
    /// For tasks that take longer than a step, such as indexing. Linking does not wait for them.
    upkeep: Arc<Semaphore>,
    /// For graphs that were kept: what there is of one is linked when it was read.
    reading: Arc<Semaphore>,
    background: NicePool,
    /// How many of the next turns are to panic.
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
    /// Nothing is linked until this is dropped.
    pub(super) fn hold_linking(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.linking).try_acquire_owned().unwrap()
    }

    /// No kept graph is read until this is dropped.
    pub(super) fn hold_reading(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.reading).try_acquire_owned().unwrap()
    }
}

/// What a linker knows of the collections.
#[derive(Default)]
struct Progress {
    /// How many slots of each were linked when its graph was read or written last.
    kept: HashMap<CollectionId, usize>,
    /// The last round that linked each.
    linked_in: HashMap<CollectionId, u64>,
    /// How many rounds of linking there have been.
    rounds: u64,
    /// How many steps have panicked.
    panics: usize,
    /// A repair has panicked.
    is_repair_given_up: bool,
}

/// A task that was done.
struct Step {
    work: Work,
    id: CollectionId,
    /// How much was linked, or is; `None` if it panicked.
    done: Option<Result<usize, Interrupted>>,
}

/// How a linker goes on after a step.
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

    /// Does all that is to be done, and waits until there may be more.
    async fn round(&mut self, progress: &mut Progress) -> ControlFlow<()> {
        self.published.borrow_and_update();
        self.do_tasks(progress).await?;
        if self.forget_deleted(progress).await {
            self.sweep(progress).await;
        }
        self.wait(progress).await
    }

    /// Does task after task until there is none, or none that can be done now.
    async fn do_tasks(&self, progress: &mut Progress) -> ControlFlow<()> {
        while let Some(task) = self.next(progress).await {
            // The writer has ended; another life of this tenant may have begun.
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

    /// Upserts need not wait for a graph that is not there.
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
        // IMPORTANT: after every step, whichever it was: upserts wait for what it may have changed.
        self.linked.send_replace(Linking::Going);
        Step { work, id, done }
    }

    /// Notes what came of a step.
    fn settle(&self, Step { work, id, done }: Step, progress: &mut Progress) -> Next {
        match done {
            Some(Ok(linked)) => match work {
                Work::Read | Work::Write => drop(progress.kept.insert(id, linked)),
                Work::Link | Work::Compact if linked == 0 => return Next::Pause,
                Work::Link => {
                    progress.rounds += 1;
                    progress.linked_in.insert(id, progress.rounds);
                }
                // One that came too late is begun again.
                Work::Compact | Work::Index | Work::Repair => {}
            },
            Some(Err(Interrupted)) => return Next::End,
            None if !self.state.is_trusted() => {
                self.failed.cancel();
                return Next::End;
            }
            // A kept graph saves time and nothing else.
            None if matches!(work, Work::Read) => {
                progress.kept.insert(id, 0);
                warn!(collection = %id.seq(), "reading the kept graph panicked, and it is built anew");
            }
            // Nothing of a step that panicked is in use.
            None if progress.panics < PANICS_MAX => {
                progress.panics += 1;
                warn!("linking panicked and is begun again");
            }
            // Searches still find everything, one by one; so there must not be ever more of it.
            None => {
                error!("linking panicked again and is given up until the tenant wakes again");
                self.linked.send_replace(Linking::GivenUp);
                return Next::End;
            }
        }
        Next::More
    }

    /// Does a task that may take longer than a step, and links the collections that it leaves alone meanwhile.
    async fn link_beside(&self, task: Task, permit: OwnedSemaphorePermit, progress: &mut Progress) -> Next {
        // Indexing leaves the graph alone, so that of the same collection grows meanwhile.
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
                // The end of the writer is seen after this.
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

    /// Erases the kept graphs of collections that are no more, and notes which collections have none.
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
        // They only take room, and this is tried again.
        if let Err(error) = erased {
            warn!(%error, "graphs of deleted collections could not be erased");
        }
        for id in without {
            progress.kept.entry(id).or_insert(0);
            self.unread.resolve(id);
        }
        self.linked.send_replace(Linking::Going);
    }

    /// Forgets what it knows of collections that are no more; says whether there were any.
    async fn forget_deleted(&self, progress: &mut Progress) -> bool {
        let state = self.state.wait().await;
        let exists = |id: &CollectionId| state.projection.index().by_id(*id).is_some();
        let before = progress.kept.len();
        progress.kept.retain(|id, _| exists(id));
        progress.linked_in.retain(|id, _| exists(id));
        progress.kept.len() < before
    }

    /// A collection whose graph may have nodes that no search reaches.
    async fn disconnected(&self) -> Option<Task> {
        let state = self.state.wait().await;
        let collection =
            state.projection.index().collections().find(|collection| !collection.is_connected())?;
        Some(Task { work: Work::Repair, id: collection.id(), snapshot: collection.snapshot() })
    }

    /// Puts what was made beside the state in place, on a thread that gives way to no other: writes and searches wait
    /// meanwhile. Returns whether it was in time; `None` if it panicked.
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

    /// The permit for the task, or for linking while others keep this one waiting; `None` if the server stops.
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
            // What is to be linked after this may be told of by a change.
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

    /// What is to be linked next, of collections other than `busy` of which it is known whether they have a kept
    /// graph.
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

    /// What is needed most. Compactions and indexes come before linking, which may never be done while writes come.
    /// Links the collection that has waited longest.
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

    /// Does the task away from the async threads; `None` if it panicked.
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
