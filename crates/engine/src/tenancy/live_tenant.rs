//! A tenant in memory, and the code that loads it from its folder.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error_span, info, warn};
use vectorizer_billing::{Accounts, Metering, TenantAccount, TenantMeter};
use vectorizer_limits::{HistoryLimits, TenantLimits};
use vectorizer_log::storage::StorageFailure;
use vectorizer_log::{
    ClosedLog, Damage, DamageKind, DeletedTenants, Error, Head, Incarnation, LogId, LogReader, TenantFolder,
    TenantId, TenantLog, Timestamp,
};
use vectorizer_metrics::{Metrics, TenantMetrics, Waking};
use vectorizer_node_store::NodeStore;
use vectorizer_replay::{ApplyError, BaseError, Projection, Projector as _, Recovery, Restored};

use super::backpressure::{Backpressure, Linking};
use super::billing_recorder::BillingRecorder;
use super::checkpoints::Checkpoints;
use super::failure::Failure;
use super::graph_files::GraphFiles;
use super::history::HistoryHandle;
use super::linker::{LinkPermits, Linker};
use super::log_handle::{LogHandle, OpenGuard};
use super::log_opener::{LogOpener, OpenLimiter, or_put_back};
use super::retention::RetentionClock;
use super::searches::Searches;
use super::share::Share;
use super::shared_state::{SharedState, State};
use super::unread_graphs::UnreadGraphs;
use super::writer::{QUEUE_COMMANDS_MAX, Queued, Writer};
use crate::audit::TenantDenials;

/// The number of clients that may read one tenant's log at the same time, and the number of others that may follow it.
const LOG_READERS_MAX: usize = 8;
const FOLLOWERS_MAX: usize = 8;

/// How often recovery logs its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A tenant in memory. Its writer runs until the server stops or a write fails.
#[derive(Debug)]
pub(super) struct LiveTenant {
    is_unbegun: bool,
    pub(super) id: TenantId,
    /// The incarnation, once it is known.
    pub(super) incarnation: OnceLock<Incarnation>,
    pub(super) state: Arc<SharedState>,
    /// Reads the log. The caller must keep the log open with an [`OpenGuard`].
    pub(super) log: LogReader,
    pub(super) log_handle: Arc<LogHandle>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) history: Arc<HistoryHandle>,
    pub(super) tenant_limits: Arc<TenantLimits>,
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
    /// The reason why the writer has ended, if it has.
    pub(super) failure: Failure,
    /// The tenant's bill. It exists in cluster mode only.
    pub(super) bill: Option<Bill>,
    /// Cancelled when the server stops or the tenant is deleted.
    pub(super) stop: CancellationToken,
    /// The tasks of the writer and the linker.
    pub(super) tasks: TaskTracker,
}

/// Counts the guards of a tenant in memory, and stores the time of its last use.
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

/// Marks a tenant in memory as in use. The tenant is not removed from memory before the guard is dropped.
#[derive(Debug)]
pub(super) struct TenantGuard(Arc<LiveTenant>);

impl TenantGuard {
    /// IMPORTANT: call this with the tenant's slot locked, because the removal of the tenant from memory is decided
    /// under that lock.
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

/// Keeps a tenant's log open until it is dropped.
#[derive(Debug)]
pub struct OpenLog {
    log: LogReader,
    _in_use: TenantGuard,
    _held: OpenGuard,
}

impl OpenLog {
    /// The reader of the log.
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
    /// The time of the last use. For a tenant in use, this is the present time.
    pub(super) fn last_use(&self) -> (Instant, Timestamp) {
        if self.uses.count.load(Ordering::SeqCst) > 0 {
            return (Instant::now(), Timestamp::now());
        }
        *self.uses.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the tenant is in use.
    pub(super) fn is_in_use(&self) -> bool {
        self.uses.count.load(Ordering::SeqCst) > 0
    }

    /// Whether no command, denial or part of the bill waits to be written to the tenant's log.
    pub(super) fn is_settled(&self) -> bool {
        let waits = |bill: &Bill| !bill.meter.is_empty() || bill.account.acknowledgement().is_some();
        let queued = self.commands.max_capacity() - self.commands.capacity();
        queued == 0 && self.denials.is_empty() && !self.bill.as_ref().is_some_and(waits)
    }

    /// The incarnation, if it is known.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation.get().copied()
    }

    /// Whether the state in memory agrees with the log. It may not after the writer has panicked while applying
    /// records.
    pub(super) fn is_readable(&self) -> bool {
        self.state.is_trusted()
    }

    /// Whether the tenant has no log yet, because it has never been written to. It has no writer either.
    pub(super) fn is_unbegun(&self) -> bool {
        self.is_unbegun
    }

    /// Returns a tenant without a log, for requests that only read. It is empty and has no files on disk. The first
    /// write creates a log, and the tenant with that log replaces this one.
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
        // Nothing is dropped from a log that does not exist.
        let history = Arc::new(HistoryHandle::new(folder, false, Arc::default()));
        Arc::new(Self {
            is_unbegun: true,
            id,
            incarnation: incarnation.map_or_else(OnceLock::new, OnceLock::from),
            state: Arc::new(SharedState::new(state)),
            log: LogReader::closed(log_id, head),
            log_handle,
            checkpoints: Arc::new(Checkpoints::new(folder, log_id)),
            history,
            tenant_limits: TenantLimits::unlimited(),
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
            // The denials of a tenant without a log are stored in the node's own file.
            denials: Arc::default(),
            failure: Failure::default(),
            bill: None,
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// Whether the writer has ended. The tenant takes writes only after its log is opened again.
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
    /// A record in the log contradicts the records before it.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The base of the log contradicts itself.
    #[error(transparent)]
    Base(BaseError),
    /// Opening the log panicked.
    #[error("opening the log panicked: {0}")]
    Panicked(String),
    /// The operator of this node has deleted the tenant.
    #[error("the tenant was deleted on this node, and is not served until its operator restores it")]
    DeletedHere,
    /// HiveHub has deleted the tenant, and now admits its requests again.
    #[error("HiveHub has deleted the tenant and lets it in again: it is being asked whether that is undone")]
    InDoubt,
    /// The log was deleted. Its folder exists again, but the log was not restored.
    #[error("this log was deleted and not restored")]
    Deleted,
    /// The maximum number of requests already waits for the tenant.
    #[error("too many requests wait for the tenant to be read from disk")]
    Crowded,
    /// The tenants in use take up all the memory that is allowed for tenants.
    #[error("the tenants in use take up all the memory there is for them")]
    NoRoom,
    /// Waking the tenant takes longer than a request may wait.
    #[error("the tenant is being read from disk")]
    Waking,
    /// The data on this node belongs to an earlier tenant with this id.
    #[error("the tenant that had this id before is still here")]
    OfThePast,
    /// The data on this node belongs to a later tenant with this id, or the tenant of the request is deleted.
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
    /// Whether the error is permanent: opening the log again will not read more of it.
    pub fn is_damage(&self) -> bool {
        match self {
            // A deleted log will not be readable again either.
            Self::Apply(_) | Self::Base(_) | Self::Deleted => true,
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

    /// Whether the error concerns the incarnation that the request is for, and not the tenant on this node.
    pub(super) fn is_of_who_comes(&self) -> bool {
        matches!(self, Self::OfThePast | Self::Outdated | Self::DeletedHere | Self::InDoubt)
    }
}

impl From<BaseError> for WakeError {
    fn from(error: BaseError) -> Self {
        match error {
            BaseError::Log(error) => Self::Log(error),
            BaseError::Stopped => Self::Stopping,
            error @ (BaseError::DoesNotApply(_) | BaseError::OutOfOrder) => Self::Base(error),
        }
    }
}

/// The metrics and the denials that are updated for a tenant in memory.
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
    /// The time by which history is old.
    pub(super) clock: Arc<Mutex<RetentionClock>>,
}

/// The parts of a tenant's bill while the tenant is awake.
#[derive(Clone, Debug)]
pub(super) struct Bill {
    pub(super) meter: Arc<TenantMeter>,
    pub(super) account: Arc<TenantAccount>,
}

/// The parts of the node that keep bills.
#[derive(Clone, Debug)]
pub(super) struct Billed {
    pub(super) metering: Metering,
    pub(super) accounts: Accounts,
    /// The length of a billing window.
    pub(super) interval: Duration,
}

/// The incarnation of a log, the tenant's share of the node's memory, the limits of its plan, and its bill.
pub(super) struct TenantTerms {
    pub(super) incarnation: Option<Incarnation>,
    pub(super) share: Share,
    pub(super) tenant_limits: Arc<TenantLimits>,
    pub(super) bill: Option<(Bill, BillingRecorder)>,
    pub(super) history: Arc<HistoryHandle>,
}

/// The state computed from a log, and the folder of the log.
pub(super) struct OpenedTenant {
    folder: TenantFolder,
    /// Whether its log was created now.
    is_new: bool,
    checkpoints: Checkpoints,
    /// `None` if the log did not have to be opened.
    log: Option<TenantLog>,
    reader: LogReader,
    projection: Projection,
    head: Head,
    log_bytes: u64,
}

/// Computes the tenant's state from its log. A cleanly closed log is read without opening it; otherwise the log is
/// opened. If there is no log, a log for `incarnation` is created. Returns early if `stop` is cancelled.
/// `after_failure` is set if a write to the log has failed in this process. A log in `deleted` is not woken.
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
    // An error is ignored here, because opening the log reports it.
    let closed = (!is_new && !after_failure).then(|| folder.closed().ok().flatten()).flatten();
    let mut restored = restored;
    if let Some(Asleep { projection, head, log_bytes, behind }) =
        closed.and_then(|closed| fold_closed(closed, &mut restored))
    {
        let reader = LogReader::closed(log_id, head);
        checkpoints.opened(log_bytes, behind);
        return Ok(OpenedTenant {
            folder,
            is_new,
            checkpoints,
            log: None,
            reader,
            projection,
            head,
            log_bytes,
        });
    }
    if stopping() {
        return Err(WakeError::Stopping);
    }
    let opening = Opening { folder: &folder, after_failure, stop };
    let opened = or_put_back(&folder, || opening.open(log_id, &checkpoints, restored, waking));
    let (log, projection, behind) = match opened {
        Err(WakeError::Log(error)) if error.is_storage_full() && !is_new => {
            warn!(%error, "the log cannot be opened and is read from a copy elsewhere; it takes no writes for now");
            return read_copy(folder, checkpoints, log_id, stop);
        }
        opened => opened?,
    };
    let (reader, head, log_bytes) = (log.reader(), log.head(), log.bytes());
    checkpoints.opened(log_bytes, behind);
    Ok(OpenedTenant { folder, is_new, checkpoints, log: Some(log), reader, projection, head, log_bytes })
}

/// Reads a copy of a log that cannot be opened in place because the disk is full. The log is opened at the next write.
fn read_copy(
    folder: TenantFolder,
    checkpoints: Checkpoints,
    log_id: LogId,
    stop: &CancellationToken,
) -> Result<OpenedTenant, WakeError> {
    let base = folder.base()?;
    let mut projection = Projection::of_beginning(log_id, base.as_ref(), &|| stop.is_cancelled())?;
    let (head, log_bytes) = folder.read_copy(|record| {
        if stop.is_cancelled() {
            return Err(WakeError::Stopping);
        }
        Ok(projection.apply(&record).map(drop)?)
    })?;
    // The checkpoint was not checked against the records.
    checkpoints.forget();
    let reader = LogReader::closed(log_id, head);
    let is_new = false;
    Ok(OpenedTenant { folder, is_new, checkpoints, log: None, reader, projection, head, log_bytes })
}

/// The state computed from a closed log.
struct Asleep {
    projection: Projection,
    head: Head,
    log_bytes: u64,
    /// The stored bytes of the records after the checkpoint.
    behind: u64,
}

/// Applies the records of the closed log to the `restored` checkpoint. If the checkpoint does not end where the records
/// begin, returns `None` and leaves `restored` unchanged.
fn fold_closed(closed: ClosedLog, restored: &mut Option<Restored>) -> Option<Asleep> {
    let ClosedLog { log_id, base, head, bytes, records, records_bytes } = closed;
    if restored.as_ref().map_or(Head::genesis(log_id), |restored| restored.head) != base {
        return None;
    }
    let mut projection =
        restored.take().map_or_else(|| Projection::new(log_id), |restored| restored.projection);
    for record in &records {
        projection.apply(record).ok()?;
    }
    Some(Asleep { projection, head, log_bytes: bytes, behind: records_bytes })
}

/// A log that is being opened.
struct Opening<'a> {
    folder: &'a TenantFolder,
    after_failure: bool,
    stop: &'a CancellationToken,
}

impl Opening<'_> {
    /// Opens the log and applies its records, after the `restored` checkpoint if that belongs to the log's history. Also
    /// returns the stored bytes of these records.
    fn open(
        &self,
        log_id: LogId,
        checkpoints: &Checkpoints,
        restored: Option<Restored>,
        mut waking: Waking,
    ) -> Result<(TenantLog, Projection, u64), WakeError> {
        if let Some(Restored { mut projection, head, .. }) = restored {
            match self.fold(&mut projection, head, &mut waking) {
                Err(WakeError::Log(Error::Damaged(damage))) if is_other_history(&damage, head) => {
                    warn!("the checkpoint is not of this log's history, and the log is folded instead");
                    checkpoints.forget();
                }
                Err(WakeError::Log(Error::HistoryDropped { .. })) => {
                    warn!("the checkpoint is older than the log, and the log is folded instead");
                    checkpoints.forget();
                }
                opened => {
                    let (log, behind) = opened?;
                    return Ok((log, projection, behind));
                }
            }
        }
        let base = self.folder.base()?;
        let mut projection = Projection::of_beginning(log_id, base.as_ref(), &|| self.stop.is_cancelled())?;
        let beginning = base.map_or_else(|| Head::genesis(log_id), |base| base.head());
        let (log, behind) = self.fold(&mut projection, beginning, &mut waking)?;
        Ok((log, projection, behind))
    }

    fn fold(
        &self,
        projection: &mut Projection,
        base: Head,
        waking: &mut Waking,
    ) -> Result<(TenantLog, u64), WakeError> {
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
        Ok((recovered.log, recovered.folded_bytes))
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

    /// Returns the tenant's bill, and the recorder with which the writer keeps it.
    pub(super) fn keep_bill(
        &self,
        tenant: &TenantId,
        billed: &Billed,
        node_store: &NodeStore,
    ) -> (Bill, BillingRecorder) {
        let Billed { metering, accounts, interval } = billed;
        let billing = *self.projection.billing();
        let meter = metering.wakes(tenant, self.reader.log_id(), billing.journal());
        // A closed log is known completely, so nothing has to be searched for in it after a crash.
        let account = accounts.wakes(tenant, self.reader.clone(), self.log.is_some(), billing, node_store);
        let recorder =
            BillingRecorder::new(Arc::clone(&meter), Arc::clone(&account), accounts.clone(), *interval);
        (Bill { meter, account }, recorder)
    }

    /// Returns what the tenant's tasks share about its history. Reads the retention in effect, or stores it for a new
    /// log, in which that of the plan is in effect from the beginning.
    pub(super) fn keep_history(
        &self,
        limits: HistoryLimits,
        clock: &Arc<Mutex<RetentionClock>>,
    ) -> Arc<HistoryHandle> {
        let history = HistoryHandle::new(&self.folder, self.is_new, Arc::clone(clock));
        history.horizon(limits.keep);
        Arc::new(history)
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
        let Self { folder, is_new: _, checkpoints, log, reader, projection, head, log_bytes } = self;
        let TenantTerms { incarnation, share, tenant_limits, bill, history } = terms;
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
            history: Arc::clone(&history),
            limiter: permits.openings.clone(),
        };
        let (commands, queue) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (publish, published) = watch::channel(head);
        // The span has no parent: the writer outlives the request that wakes the tenant, and serves other requests
        // too.
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
            Arc::clone(&tenant_limits),
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
            history,
            tenant_limits,
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
