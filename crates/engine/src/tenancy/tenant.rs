//! The handle of a tenant. Its data is reached only through this handle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, RwLockReadGuard, mpsc::error::SendTimeoutError, oneshot, watch};
use vectorizer_access::{DenialReason, Operation};
use vectorizer_index::{
    Collection, Filter, Indexes, PayloadIndex, Selection, Snapshot, StoredPoint, TextMatches, TextQuery,
};
use vectorizer_limits::Limits;
use vectorizer_log::{
    CollectionName, Head, Idempotency, LogId, PointId, Seq, TenantId, TextParameters, Timestamp,
    VectorParameters,
};
use vectorizer_node_store::StoredSize;

use super::backpressure::Held;
use super::bills::BillFacts;
use super::command::{Change, CollectionChange, Command, Committed, VectorChange, Write, WriteError};
use super::kept::{Kept, KeptKey};
use super::live_tenant::{LiveTenant, OpenLog, TenantGuard, WakeError};
use super::retention::Retention;
use super::share::Share;
use super::shared_state::{Crowded, Figures, State};
use super::writer::Queued;
use crate::admission::{self, Admin, Pass, Reach};

/// How long a write waits for a place in the writer's queue.
const QUEUE_PATIENCE: Duration = Duration::from_secs(5);

/// One request's right to one tenant's data, as far as `L` goes. It is made from a [`Pass`], which
/// only the access check makes, and names no tenant but its own: no handler can reach another's data,
/// by mistake or on purpose.
#[derive(Debug)]
pub struct Tenant<L> {
    live: TenantGuard,
    pass: Pass<L>,
}

/// The properties of a collection.
#[derive(Clone, Debug)]
pub struct CollectionFacts {
    /// Its name.
    pub name: CollectionName,
    /// The parameters of its vectors. `None` if its points have only texts.
    pub parameters: Option<VectorParameters>,
    /// The parameters of its texts. `None` if its points have no texts.
    pub texts: Option<TextParameters>,
    /// How many vectors it has.
    pub vectors: usize,
    /// How searches of it are answered.
    pub search: SearchState,
    /// Their logical size.
    pub logical_bytes: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last record that changed it.
    pub last_change: Seq,
    /// How its payloads are indexed.
    pub payload_index: PayloadIndex,
}

/// The input of a search, besides a snapshot of the same moment.
#[derive(Clone, Debug)]
pub struct ResolvedSearch {
    /// The points that its filter selects.
    pub selection: Option<Selection>,
    /// What the texts have in common with the words that it looks for.
    pub matches: Option<TextMatches>,
}

/// How searches of a collection are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchState {
    /// By comparing every vector: there are few.
    Exact,
    /// By a walk through the graph, and by comparing the vectors that are not linked yet.
    Linking {
        /// How many are not.
        unlinked: usize,
    },
    /// By a walk through the graph.
    Linked,
}

impl SearchState {
    fn of(collection: &Collection) -> Self {
        match collection.unlinked() {
            0 if collection.has_graph() => Self::Linked,
            0 => Self::Exact,
            unlinked => Self::Linking { unlinked },
        }
    }
}

impl CollectionFacts {
    fn of(collection: &Collection) -> Self {
        Self {
            name: collection.name().clone(),
            parameters: collection.vectors(),
            texts: collection.text_parameters(),
            vectors: collection.len(),
            search: SearchState::of(collection),
            logical_bytes: collection.logical_bytes(),
            created_at: collection.created_at(),
            last_change: collection.last_change(),
            payload_index: collection.payload_index(),
        }
    }
}

impl<L> Tenant<L> {
    pub(super) fn new(live: TenantGuard, pass: Pass<L>) -> Self {
        debug_assert_eq!(&live.id, pass.tenant(), "a pass for another tenant");
        Self { live, pass }
    }

    /// The id of the tenant.
    pub fn id(&self) -> &TenantId {
        &self.live.id
    }

    /// The id of its log, which no other tenant has, nor this one after it was deleted and created again.
    pub fn log_id(&self) -> LogId {
        self.live.log.log_id()
    }

    /// How large it is.
    pub fn size(&self) -> StoredSize {
        self.live.size()
    }

    /// What it may use.
    pub fn limits(&self) -> Limits {
        self.pass.tenant_limits().current()
    }

    /// How long its history is kept, as it was observed last, and a shorter time that takes effect later.
    pub fn retention(&self) -> Option<Retention> {
        self.live.history.observed()
    }

    /// What it may take up of the node's memory.
    pub fn share(&self) -> &Share {
        &self.live.share
    }

    /// Counts an admitted request for the metrics and for the bill.
    pub fn requested(&self, operation: Operation) {
        self.live.metrics.request(operation);
        if let Some(bill) = &self.live.bill {
            bill.meter.request(operation);
        }
    }

    /// Counts answered searches for the bill.
    pub fn searched(&self, operation: Operation, searches: usize) {
        if let Some(bill) = &self.live.bill {
            bill.meter.searched(operation, searches as u64);
        }
    }

    /// The state of the tenant's bill. `None` if no bill is kept.
    pub fn bill(&self) -> Option<BillFacts> {
        self.live.bill_facts()
    }

    /// How many collections there are.
    pub fn collection_count(&self) -> u64 {
        self.live.state.figures().usage.collections()
    }

    /// Every collection, by name.
    pub async fn collections(&self) -> Result<Vec<CollectionFacts>, WriteError> {
        Ok(self.state().await?.projection.index().collections().map(CollectionFacts::of).collect())
    }

    /// One collection.
    pub async fn collection(&self, name: &CollectionName) -> Result<CollectionFacts, WriteError> {
        self.read(name, CollectionFacts::of).await
    }

    /// How the payloads of one collection are indexed, path by path.
    pub async fn indexes(&self, name: &CollectionName) -> Result<Indexes, WriteError> {
        self.read(name, Collection::indexes).await
    }

    /// One collection, if it exists.
    pub async fn existing(&self, name: &CollectionName) -> Result<Option<CollectionFacts>, WriteError> {
        match self.collection(name).await {
            Ok(facts) => Ok(Some(facts)),
            Err(WriteError::NoSuchCollection(_)) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The collection as of now, to search at leisure while writes go on, and what each of these filters
    /// selects of it.
    pub async fn snapshot(
        &self,
        name: &CollectionName,
        filters: impl IntoIterator<Item = Option<Filter>>,
    ) -> Result<(Snapshot, Vec<Option<Selection>>), WriteError> {
        self.read(name, |collection| {
            self.live.searches.note(collection.id());
            (collection.snapshot(), collection.select_each(filters))
        })
        .await
    }

    /// The same with what the texts have in common with each of these questions, as of the same moment; `None`
    /// for one that has no words. That a collection without texts is asked for some is an error.
    pub async fn snapshot_of_texts(
        &self,
        name: &CollectionName,
        filters: impl IntoIterator<Item = Option<Filter>>,
        questions: &[Option<&TextQuery>],
    ) -> Result<(Snapshot, Vec<ResolvedSearch>), WriteError> {
        self.read(name, |collection| {
            self.live.searches.note(collection.id());
            let look_up = |question: &TextQuery| {
                collection.look_up(question).ok_or_else(|| WriteError::NoTexts(name.clone()))
            };
            let selections = collection.select_each(filters).into_iter();
            let resolve = |(selection, question): (Option<Selection>, &Option<_>)| {
                Ok(ResolvedSearch { selection, matches: question.map(look_up).transpose()? })
            };
            Ok((collection.snapshot(), selections.zip(questions).map(resolve).collect::<Result<_, _>>()?))
        })
        .await?
    }

    /// Keeps a snapshot that the caller may come back for, under a key of its choice. It may be dropped at any time.
    pub fn keep(&self, key: KeptKey, kept: Kept) {
        self.live.state.kept.keep(key, kept);
    }

    /// The snapshot that was kept under this key, if it was not dropped.
    pub fn kept(&self, key: &KeptKey) -> Option<Kept> {
        self.live.state.kept.find(key)
    }

    /// One vector.
    pub async fn point(&self, name: &CollectionName, id: &PointId) -> Result<StoredPoint, WriteError> {
        self.read(name, |collection| collection.get(id))
            .await?
            .ok_or_else(|| WriteError::NoSuchVector { name: name.clone(), id: id.clone() })
    }

    /// The vectors with these ids, in their order, `None` for an id that no vector has; and the last change of the
    /// collection, of the same moment.
    pub async fn points<'a>(
        &self,
        name: &CollectionName,
        ids: impl Iterator<Item = &'a PointId>,
    ) -> Result<(Seq, Vec<Option<StoredPoint>>), WriteError> {
        let read =
            |collection: &Collection| (collection.last_change(), ids.map(|id| collection.get(id)).collect());
        self.read(name, read).await
    }

    /// Up to `limit` vectors behind `after`, in the order of ids.
    pub async fn page(
        &self,
        name: &CollectionName,
        after: Option<&PointId>,
        limit: usize,
    ) -> Result<Vec<StoredPoint>, WriteError> {
        self.read(name, |collection| collection.page(after, limit)).await
    }

    /// Where the log ends, and the last record in it that changed data.
    pub fn head(&self) -> (Head, Seq) {
        let Figures { head, data_seq, .. } = *self.live.state.figures();
        (head, data_seq)
    }

    async fn read<T>(
        &self,
        name: &CollectionName,
        read: impl FnOnce(&Collection) -> T,
    ) -> Result<T, WriteError> {
        let state = self.state().await?;
        let collection = state
            .projection
            .index()
            .collection(name)
            .ok_or_else(|| WriteError::NoSuchCollection(name.clone()))?;
        Ok(read(collection))
    }

    /// Locks the state for reading. Hold the lock for as short as possible: the writer waits for it, and other readers
    /// wait for the writer.
    async fn state(&self) -> Result<RwLockReadGuard<'_, State>, WriteError> {
        self.live.state.look().await.map_err(|Crowded| WriteError::ReadBusy)
    }

    async fn submit(&self, write: Write<Change>) -> Result<Committed, WriteError> {
        let pass = &self.pass;
        let command = Command { actor: pass.actor(), request_id: pass.asked().request_id.to_string(), write };
        let (answer, answered) = oneshot::channel();
        let queued = Queued { command, answer };
        match self.live.commands.send_timeout(queued, QUEUE_PATIENCE).await {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return Err(WriteError::Busy),
            Err(SendTimeoutError::Closed(_)) if self.live.stop.is_cancelled() => {
                return Err(WriteError::Stopping);
            }
            Err(SendTimeoutError::Closed(_)) => return Err(self.live.failure.of_refused()),
        }
        let answer = answered.await.unwrap_or_else(|_| Err(self.live.failure.of_begun()));
        if let Err(WriteError::QuotaExceeded(exceeded)) = &answer {
            self.live.metrics.quota_exceeded(exceeded.quota);
            self.live.denials.note_refused(pass.key_id(), pass.asked(), DenialReason::QuotaExceeded);
        }
        answer
    }
}

impl<L: Reach> Tenant<L> {
    /// Opens the log, if there is something that may be written to it.
    pub(super) async fn ready(&self) -> Result<(), Arc<WakeError>> {
        if L::WRITES && !self.live.is_unbegun() {
            self.live.log_handle.open().await?;
        }
        Ok(())
    }
}

impl Tenant<admission::Write> {
    /// Whether this key has been answered, so that another request under it will not be done again.
    pub async fn has_answered(&self, idempotency: &Idempotency) -> Result<bool, WriteError> {
        Ok(self.state().await?.projection.idempotency().get(&idempotency.key, Timestamp::now()).is_some())
    }

    /// Changes vectors. Returns when the change is durable and visible. A caller that stops waiting does not undo it.
    pub async fn change_vectors(&self, write: Write<VectorChange>) -> Result<Committed, WriteError> {
        let VectorChange::Upsert(points) = &write.change else {
            return self.submit(write.erase()).await;
        };
        let LiveTenant { backpressure, state, .. } = &*self.live;
        let passage =
            backpressure.keep(state, &write.collection, points.len()).await.map_err(|held| match held {
                Held::TooFast => WriteError::Busy,
                Held::GivenUp => WriteError::LinkingFailed,
            })?;
        let outcome = self.submit(write.erase()).await;
        if outcome.as_ref().map_or(true, |committed| committed.repeated) {
            passage.brought_none();
        }
        outcome
    }
}

impl Tenant<Admin> {
    /// Creates, deletes or otherwise changes a collection as a whole; otherwise like [`Tenant::change_vectors`].
    pub async fn change_collections(&self, write: Write<CollectionChange>) -> Result<Committed, WriteError> {
        self.submit(write.erase()).await
    }

    /// Whether it has a log: whether it was ever written to.
    pub fn is_begun(&self) -> bool {
        !self.live.is_unbegun()
    }

    /// The audit log, open for as long as it is held.
    pub async fn log(&self) -> Result<OpenLog, Arc<WakeError>> {
        self.live.open_log().await
    }

    /// The head, now and whenever it moves; it ends with the tenant's writer.
    pub fn published(&self) -> watch::Receiver<Head> {
        self.live.published.clone()
    }

    /// A place among the few that may read the log at the same time, if one is free.
    pub fn log_reader(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.live.log_readers).try_acquire_owned().ok()
    }

    /// A place among the few that may follow the log, if one is free.
    pub fn follower(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.live.followers).try_acquire_owned().ok()
    }
}
