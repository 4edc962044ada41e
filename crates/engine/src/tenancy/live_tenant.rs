//! A tenant in memory, and how it gets there.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error_span, info, warn};
use vectorizer_billing::{Accounts, Metering, TenantAccount, TenantMeter};
use vectorizer_limits::TenantLimits;
use vectorizer_log::storage::StorageFailure;
use vectorizer_log::{
    ClosedLog, Damage, DamageKind, DeletedTenants, Error, Head, Incarnation, LogId, LogReader, TenantFolder,
    TenantId, TenantLog, Timestamp,
};
use vectorizer_metrics::{Metrics, TenantMetrics, Waking};
use vectorizer_node_store::NodeStore;
use vectorizer_replay::{ApplyError, Projection, Projector as _, Recovery, Restored};

use super::backpressure::{Backpressure, Linking};
use super::billing_recorder::BillingRecorder;
use super::checkpoints::Checkpoints;
use super::failure::Failure;
use super::graph_files::GraphFiles;
use super::linker::{LinkPermits, Linker};
use super::log_handle::{LogHandle, OpenGuard};
use super::log_opener::{LogOpener, OpenLimiter, or_put_back};
use super::searches::Searches;
use super::share::Share;
use super::shared_state::{SharedState, State};
use super::unread_graphs::UnreadGraphs;
use super::writer::{QUEUE_COMMANDS_MAX, Queued, Writer};
use crate::audit::TenantDenials;

/// How many clients may read one tenant's log at the same time, and how many more may follow it.
const LOG_READERS_MAX: usize = 8;
const FOLLOWERS_MAX: usize = 8;

/// How often recovery says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A tenant in memory. Its writer runs until the server stops or a write fails.
#[derive(Debug)]
pub(super) struct LiveTenant {
    is_unbegun: bool,
    pub(super) id: TenantId,
    /// The incarnation, once it is known.
    pub(super) incarnation: OnceLock<Incarnation>,
    pub(super) state: Arc<SharedState>,
    /// Reads the log while it is held open.
    pub(super) log: LogReader,
    pub(super) log_handle: Arc<LogHandle>,
    pub(super) checkpoints: Arc<Checkpoints>,
    uses: Uses,
    pub(super) commands: mpsc::Sender<Queued>,
    pub(super) published: watch::Receiver<Head>,
    pub(super) backpressure: Backpressure,
    pub(super) searches: Searches,
    pub(super) log_readers: Arc<Semaphore>,
    pub(super) followers: Arc<Semaphore>,
    pub(super) share: Share,
    pub(super) metrics: Arc<TenantMetrics>,
    pub(super) denials: Arc<TenantDenials>,
    /// Why the writer has ended, if it has.
    pub(super) failure: Failure,
    /// In cluster mode.
    pub(super) bill: Option<Bill>,
    /// Cancelled when the server stops or the tenant is deleted.
    pub(super) stop: CancellationToken,
    /// The writer and the linker.
    pub(super) tasks: TaskTracker,
}

/// The uses of a tenant in memory.
#[derive(Debug)]
struct Uses {
    count: AtomicUsize,
    last: Mutex<(Instant, Timestamp)>,
}

impl Default for Uses {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), last: Mutex::new((Instant::now(), Timestamp::now())) }
    }
}

/// A tenant in memory that is in use: it is not forgotten meanwhile.
#[derive(Debug)]
pub(super) struct TenantGuard(Arc<LiveTenant>);

impl TenantGuard {
    /// IMPORTANT: made while the tenant's slot is locked, as forgetting it is decided there.
    pub(super) fn new(live: &Arc<LiveTenant>) -> Self {
        live.uses.count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(live))
    }
}

impl Deref for TenantGuard {
    type Target = LiveTenant;

    fn deref(&self) -> &LiveTenant {
        &self.0
    }
}

impl Drop for TenantGuard {
    fn drop(&mut self) {
        *self.uses.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Timestamp::now());
        self.uses.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A tenant's log, open for as long as this is held.
#[derive(Debug)]
pub struct OpenLog {
    log: LogReader,
    _in_use: TenantGuard,
    _held: OpenGuard,
}

impl OpenLog {
    /// What reads it.
    pub fn reader(&self) -> &LogReader {
        &self.log
    }
}

impl TenantGuard {
    /// Opens the log for reading.
    pub(super) async fn open_log(&self) -> Result<OpenLog, Arc<WakeError>> {
        let held = self.log_handle.open().await?;
        Ok(OpenLog { log: self.log.clone(), _in_use: Self::new(&self.0), _held: held })
    }
}

impl LiveTenant {
    /// When it was used last; now, if it is.
    pub(super) fn last_use(&self) -> (Instant, Timestamp) {
        if self.uses.count.load(Ordering::SeqCst) > 0 {
            return (Instant::now(), Timestamp::now());
        }
        *self.uses.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody uses it.
    pub(super) fn is_in_use(&self) -> bool {
        self.uses.count.load(Ordering::SeqCst) > 0
    }

    /// Whether nothing waits for its log.
    pub(super) fn is_settled(&self) -> bool {
        let waits = |bill: &Bill| !bill.meter.is_empty() || bill.account.acknowledgement().is_some();
        let queued = self.commands.max_capacity() - self.commands.capacity();
        queued == 0 && self.denials.is_empty() && !self.bill.as_ref().is_some_and(waits)
    }

    /// The incarnation, if it is known.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation.get().copied()
    }

    /// Whether what is in memory is what the log says: not if the writer has panicked while applying.
    pub(super) fn is_readable(&self) -> bool {
        self.state.is_trusted()
    }

    /// Whether it has no log yet: it has never been written to. Then it has no writer either.
    pub(super) fn is_unbegun(&self) -> bool {
        self.is_unbegun
    }

    /// A tenant without a log, for requests that only read: it is empty, and nothing is on the disk. The first write
    /// creates a log, which takes its place.
    pub(super) fn unbegun(
        folder: &TenantFolder,
        id: TenantId,
        incarnation: Option<Incarnation>,
        share: Share,
        metrics: Arc<TenantMetrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let log_id = LogId::new(uuid::Uuid::new_v4());
        let head = Head::genesis(log_id);
        let state = State { projection: Projection::new(log_id), head, log_bytes: 0 };
        let (linked, searches) = (watch::channel(Linking::Going).1, Searches::default());
        let (commands, published) = (mpsc::channel(1).0, watch::channel(head).1);
        let log_handle = Arc::new(LogHandle::new(false));
        log_handle.end();
        Arc::new(Self {
            is_unbegun: true,
            id,
            incarnation: incarnation.map_or_else(OnceLock::new, OnceLock::from),
            state: Arc::new(SharedState::new(state)),
            log: LogReader::closed(log_id, head),
            log_handle,
            checkpoints: Arc::new(Checkpoints::new(folder, log_id)),
            uses: Uses::default(),
            commands,
            backpressure: Backpressure::new(
                linked,
                published.clone(),
                searches.clone(),
                UnreadGraphs::default(),
            ),
            published,
            searches,
            log_readers: Arc::new(Semaphore::new(LOG_READERS_MAX)),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            share,
            metrics,
            // What is refused of a tenant without a log is in the node's own file.
            denials: Arc::default(),
            failure: Failure::default(),
            bill: None,
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// Whether the writer has ended: only opening the log again makes the tenant take writes.
    pub(super) fn has_failed(&self) -> bool {
        self.commands.is_closed()
    }
}

/// Why a tenant could not be woken.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// The log could not be opened or is damaged.
    #[error(transparent)]
    Log(#[from] vectorizer_log::Error),
    /// The log holds something that cannot have happened.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Opening the log panicked.
    #[error("opening the log panicked: {0}")]
    Panicked(String),
    /// The operator of this node has deleted the tenant.
    #[error("the tenant was deleted on this node, and is not served until its operator restores it")]
    DeletedHere,
    /// HiveHub has deleted the tenant, and lets it in again.
    #[error("HiveHub has deleted the tenant and lets it in again: it is being asked whether that is undone")]
    InDoubt,
    /// The log was deleted, and is there again without having been restored.
    #[error("this log was deleted and not restored")]
    Deleted,
    /// As many wait for it as may.
    #[error("too many requests wait for the tenant to be read from disk")]
    Crowded,
    /// The tenants that are in use take up all the memory they may.
    #[error("the tenants in use take up all the memory there is for them")]
    NoRoom,
    /// It takes longer than a request may wait.
    #[error("the tenant is being read from disk")]
    Waking,
    /// What is here is that of an earlier tenant of this id.
    #[error("the tenant that had this id before is still here")]
    OfThePast,
    /// What is here is that of a later tenant of this id, or the one that comes is deleted.
    #[error("this tenant is deleted")]
    Outdated,
    /// The tenant is being deleted or restored.
    #[error("the tenant is being deleted or restored")]
    Moving,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl WakeError {
    /// Whether the log will never say more than now, however often it is opened.
    pub fn is_damage(&self) -> bool {
        match self {
            // Or it is deleted already.
            Self::Apply(_) | Self::Deleted => true,
            Self::Log(error) => error.is_damage(),
            Self::Panicked(message) => !StorageFailure::of_panic(message).is_unavailable(),
            Self::Crowded
            | Self::NoRoom
            | Self::Waking
            | Self::OfThePast
            | Self::Outdated
            | Self::DeletedHere
            | Self::InDoubt
            | Self::Moving
            | Self::Stopping => false,
        }
    }

    /// Whether it is about the request's incarnation, and not about the tenant that is here or will be.
    pub(super) fn is_of_who_comes(&self) -> bool {
        matches!(self, Self::OfThePast | Self::Outdated | Self::DeletedHere | Self::InDoubt)
    }
}

/// Where is told what happens to a tenant in memory.
pub(super) struct TenantWatchers {
    pub(super) metrics: Metrics,
    pub(super) of_tenant: Arc<TenantMetrics>,
    pub(super) denials: Arc<TenantDenials>,
}

/// The permits that the tasks of all tenants share.
#[derive(Clone, Debug, Default)]
pub(super) struct NodePermits {
    pub(super) linking: LinkPermits,
    pub(super) openings: OpenLimiter,
}

/// What a tenant's bill is made of while it is awake.
#[derive(Clone, Debug)]
pub(super) struct Bill {
    pub(super) meter: Arc<TenantMeter>,
    pub(super) account: Arc<TenantAccount>,
}

/// How bills are kept.
#[derive(Clone, Debug)]
pub(super) struct Billed {
    pub(super) metering: Metering,
    pub(super) accounts: Accounts,
    /// How long a window is.
    pub(super) interval: Duration,
}

/// Whose a log is, what they may take up of the node and use by their plan, and what they are billed for.
pub(super) struct TenantTerms {
    pub(super) incarnation: Option<Incarnation>,
    pub(super) share: Share,
    pub(super) tenant_limits: Arc<TenantLimits>,
    pub(super) bill: Option<(Bill, BillingRecorder)>,
}

/// What a log adds up to, and where it is.
pub(super) struct OpenedTenant {
    folder: TenantFolder,
    checkpoints: Checkpoints,
    /// `None` if it did not have to be opened.
    log: Option<TenantLog>,
    reader: LogReader,
    projection: Projection,
    head: Head,
    log_bytes: u64,
}

/// Reads what the tenant's log adds up to: from where it was closed, or by opening it. Makes a log if there is
/// none. Ends early if `stop` is cancelled meanwhile. `after_failure` says that a write to it has failed in this
/// process. None of the `deleted` wakes. A log that is made is that of `incarnation`.
pub(super) fn wake(
    folder: TenantFolder,
    incarnation: Option<Incarnation>,
    deleted: &DeletedTenants,
    after_failure: bool,
    waking: Waking,
    stop: &CancellationToken,
) -> Result<OpenedTenant, WakeError> {
    let is_new = !folder.try_exists()?;
    if is_new {
        let log_id = folder.create_for(incarnation)?;
        info!(%log_id, "created the log");
    }
    let log_id = folder.log_id()?;
    if deleted.has_deleted(&folder)? {
        return Err(WakeError::Deleted);
    }
    if let Err(error) = folder.remove_leftovers() {
        warn!(%error, "what unfinished writes have left in the tenant's folder is still there");
    }
    let checkpoints = Checkpoints::new(&folder, log_id);
    let stopping = || stop.is_cancelled();
    let restored = (!is_new).then(|| checkpoints.read(&stopping)).flatten();
    // What cannot be read of it does not matter: opening the log says why.
    let closed = (!is_new && !after_failure).then(|| folder.closed().ok().flatten()).flatten();
    let mut restored = restored;
    if let Some(Asleep { projection, head, log_bytes }) =
        closed.and_then(|closed| fold_closed(closed, &mut restored))
    {
        let reader = LogReader::closed(log_id, head);
        return Ok(OpenedTenant { folder, checkpoints, log: None, reader, projection, head, log_bytes });
    }
    if stopping() {
        return Err(WakeError::Stopping);
    }
    let opening = Opening { folder: &folder, after_failure, stop };
    let opened = or_put_back(&folder, || opening.open(log_id, &checkpoints, restored, waking));
    let (log, projection) = match opened {
        Err(WakeError::Log(error)) if error.is_storage_full() && !is_new => {
            warn!(%error, "the log cannot be opened and is read from a copy elsewhere; it takes no writes for now");
            return read_copy(folder, checkpoints, log_id, stop);
        }
        opened => opened?,
    };
    let (reader, head, log_bytes) = (log.reader(), log.head(), log.bytes());
    Ok(OpenedTenant { folder, checkpoints, log: Some(log), reader, projection, head, log_bytes })
}

/// Reads a log that cannot be opened where it is, for want of room. It is opened when it is written to.
fn read_copy(
    folder: TenantFolder,
    checkpoints: Checkpoints,
    log_id: LogId,
    stop: &CancellationToken,
) -> Result<OpenedTenant, WakeError> {
    let mut projection = Projection::new(log_id);
    let (head, log_bytes) = folder.read_copy(|record| {
        if stop.is_cancelled() {
            return Err(WakeError::Stopping);
        }
        Ok(projection.apply(&record).map(drop)?)
    })?;
    // What it says was not held against the records.
    checkpoints.forget();
    let reader = LogReader::closed(log_id, head);
    Ok(OpenedTenant { folder, checkpoints, log: None, reader, projection, head, log_bytes })
}

/// What a closed log adds up to.
struct Asleep {
    projection: Projection,
    head: Head,
    log_bytes: u64,
}

/// Folds what the closed log has left, behind what was `restored` of it, which is left alone unless they fit.
fn fold_closed(closed: ClosedLog, restored: &mut Option<Restored>) -> Option<Asleep> {
    let ClosedLog { log_id, base, head, bytes, records } = closed;
    if restored.as_ref().map_or(Head::genesis(log_id), |restored| restored.head) != base {
        return None;
    }
    let mut projection =
        restored.take().map_or_else(|| Projection::new(log_id), |restored| restored.projection);
    for record in &records {
        projection.apply(record).ok()?;
    }
    Some(Asleep { projection, head, log_bytes: bytes })
}

/// A log that is being opened.
struct Opening<'a> {
    folder: &'a TenantFolder,
    after_failure: bool,
    stop: &'a CancellationToken,
}

impl Opening<'_> {
    /// Opens the log and folds it, behind what was `restored` if that is of its history.
    fn open(
        &self,
        log_id: LogId,
        checkpoints: &Checkpoints,
        restored: Option<Restored>,
        mut waking: Waking,
    ) -> Result<(TenantLog, Projection), WakeError> {
        if let Some(Restored { mut projection, head, .. }) = restored {
            match self.fold(&mut projection, head, &mut waking) {
                Err(WakeError::Log(Error::Damaged(damage))) if is_other_history(&damage, head) => {
                    warn!("the checkpoint is not of this log's history, and the log is folded instead");
                    checkpoints.forget();
                }
                opened => return Ok((opened?, projection)),
            }
        }
        let mut projection = Projection::new(log_id);
        let log = self.fold(&mut projection, Head::genesis(log_id), &mut waking)?;
        Ok((log, projection))
    }

    fn fold(
        &self,
        projection: &mut Projection,
        base: Head,
        waking: &mut Waking,
    ) -> Result<TenantLog, WakeError> {
        let Self { folder, after_failure, stop } = self;
        let unverified = if *after_failure { folder.open_after_failure()? } else { folder.open()? };
        let mut reported = Instant::now();
        let mut recovery = Recovery::new(projection, unverified.acknowledged().seq, |progress| {
            waking.progressed(&progress);
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                info!(seq = %progress.applied, of = %progress.through, vectors = progress.vectors, "recovering");
            }
        });
        let recovered = unverified.recover_after(base, |record| {
            if stop.is_cancelled() {
                return Err(WakeError::Stopping);
            }
            Ok(recovery.push(&record)?)
        })?;
        if let Some(cut) = &recovered.removed {
            warn!(from = %cut.from, parts = cut.parts, reason = %cut.reason, "cut an unfinished, unacknowledged end");
        }
        Ok(recovered.log)
    }
}

fn is_other_history(damage: &Damage, base: Head) -> bool {
    damage.seq == base.seq && matches!(damage.kind, DamageKind::OtherHistory { .. })
}

impl OpenedTenant {
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Whether the log is open.
    pub(super) fn is_open(&self) -> bool {
        self.log.is_some()
    }

    /// The tenant's bill, kept by its writer.
    pub(super) fn keep_bill(
        &self,
        tenant: &TenantId,
        billed: &Billed,
        node_store: &NodeStore,
    ) -> (Bill, BillingRecorder) {
        let Billed { metering, accounts, interval } = billed;
        let billing = *self.projection.billing();
        let meter = metering.wakes(tenant, self.reader.log_id(), billing.journal());
        // Of one whose log is closed all that it says is known; nothing more is looked for after a crash.
        let account = accounts.wakes(tenant, self.reader.clone(), self.log.is_some(), billing, node_store);
        let recorder =
            BillingRecorder::new(Arc::clone(&meter), Arc::clone(&account), accounts.clone(), *interval);
        (Bill { meter, account }, recorder)
    }

    /// Starts the writer and the linker.
    pub(super) fn start(
        self,
        id: TenantId,
        terms: TenantTerms,
        watched: TenantWatchers,
        node_tasks: &TaskTracker,
        permits: NodePermits,
        stop: CancellationToken,
    ) -> Arc<LiveTenant> {
        let Self { folder, checkpoints, log, reader, projection, head, log_bytes } = self;
        let TenantTerms { incarnation, share, tenant_limits, bill } = terms;
        let unread = UnreadGraphs::of(projection.index().collections());
        let state = Arc::new(SharedState::new(State { projection, head, log_bytes }));
        let (log_handle, checkpoints) = (Arc::new(LogHandle::new(log.is_some())), Arc::new(checkpoints));
        let files = GraphFiles::new(&folder);
        if log.is_some() {
            permits.openings.opened();
        }
        let opener = LogOpener {
            folder,
            checkpoints: Arc::clone(&checkpoints),
            reader: reader.clone(),
            log_handle: Arc::clone(&log_handle),
            limiter: permits.openings.clone(),
        };
        let (commands, queue) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (publish, published) = watch::channel(head);
        // The writer outlives the request that wakes it, and works for others too.
        let span = error_span!(parent: None, "writer", tenant = %id);
        let (tell, linked) = watch::channel(Linking::Going);
        let searches = Searches::default();
        let failed = CancellationToken::new();
        let linker = Linker {
            state: Arc::clone(&state),
            published: published.clone(),
            files,
            unread: unread.clone(),
            linked: tell,
            permits: permits.linking,
            stop: stop.clone(),
            failed: failed.clone(),
        };
        let tasks = TaskTracker::new();
        node_tasks.spawn(tasks.track_future(linker.run().instrument(span.clone())));
        let TenantWatchers { metrics, of_tenant, denials } = watched;
        let (bill, recorder) = bill.unzip();
        let writer = Writer::new(
            log,
            tenant_limits,
            Arc::clone(&state),
            publish,
            failed,
            Arc::clone(&denials),
            metrics,
        )
        .recording(recorder)
        .at(opener);
        let failure = writer.failure();
        node_tasks.spawn(tasks.track_future(writer.run(queue, stop.clone()).instrument(span)));
        Arc::new(LiveTenant {
            is_unbegun: false,
            id,
            incarnation: incarnation.map_or_else(OnceLock::new, OnceLock::from),
            state,
            log: reader,
            log_handle,
            checkpoints,
            uses: Uses::default(),
            commands,
            backpressure: Backpressure::new(linked, published.clone(), searches.clone(), unread),
            published,
            searches,
            log_readers: Arc::new(Semaphore::new(LOG_READERS_MAX)),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            share,
            metrics: of_tenant,
            denials,
            failure,
            bill,
            stop,
            tasks,
        })
    }
}
