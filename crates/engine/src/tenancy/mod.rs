//! Tenants: one writer each, woken by the first request that was let in.
//!
//! - `tenant`: the handle through which alone a tenant's data is reached.
//! - `live_tenant`: a tenant in memory, and how it gets there.
//! - `slot`: where a tenant is: asleep, waking or in memory.
//! - `sleeping`: when tenants are put to sleep; `checkpoints`: files that make waking fast.
//! - `writer`, `decision`, `group`, `command`: the way of a write; `failure`: why a writer has ended; `log_handle`,
//!   `log_opener`: the log, which is open only while it is used.
//! - `billing_recorder`: the writer's records for the bill; `bills`: the bills of tenants that sleep or are deleted.
//! - `linker`: links and compaction behind the writer; `graph_files`: graphs stored for the next waking;
//!   `backpressure`: upserts wait when linking does not keep up; `searches`: which collections are searched;
//!   `nice_pool`: threads at a higher nice value; `replaced_file`: files that save time.
//! - `tenant_list`: the tenants, for the operator; `deletion`: deleted tenants; `ending`: who deleted a tenant;
//!   `incarnation`: binds a folder to one incarnation; `reconciliation`: deletions by `HiveHub` that the feed has
//!   missed.
//! - `kept`: snapshots that callers may come back for.
//! - `merge_patch`: changes a payload.
//! - `share`: the limits of one tenant on the node.

mod backpressure;
mod billing_recorder;
mod bills;
mod checkpoints;
mod command;
mod decision;
mod deletion;
mod ending;
mod failure;
mod graph_files;
mod group;
mod history;
#[cfg(test)]
mod history_tests;
mod incarnation;
mod kept;
mod linker;
mod linking_task;
#[cfg(test)]
mod listing_tests;
mod live_tenant;
mod log_handle;
mod log_opener;
mod merge_patch;
mod nice_pool;
mod reconciliation;
mod replaced_file;
mod retention;
mod scrubbing;
mod searches;
mod share;
mod shared_state;
mod sleeping;
mod slot;
mod tenant;
mod tenant_list;
mod unread_graphs;
mod writer;
#[cfg(test)]
mod writer_tests;

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info, warn};
use vectorizer_durable::{create_private_folder, sync_folder};
use vectorizer_index::Collection;
use vectorizer_log::{DeletedTenants, Incarnation, TenantFolder, TenantId, TierSizes, Timestamp};

pub use self::bills::{BillFacts, WindowFacts};
pub use self::command::{
    CollectionChange, Committed, HeldPermits, Precondition, VectorChange, Write, WriteError,
};
use self::deletion::FolderMove;
pub use self::deletion::{AtHiveHub, DeletedFacts, DeletionError};
pub use self::ending::EndedBy;
use self::ending::Endings;
use self::incarnation::{Ownership, ownership};
pub use self::kept::{Kept, KeptKey};
use self::live_tenant::{Billed, LiveTenant, NodePermits, TenantGuard, TenantTerms, TenantWatchers, wake};
pub use self::live_tenant::{OpenLog, WakeError};
pub use self::merge_patch::MergePatch;
pub use self::nice_pool::{NicePool, NiceValue};
use self::retention::RetentionClock;
pub use self::retention::{Retention, ShortenedRetention};
use self::share::Shares;
pub use self::share::{Share, ShareSize};
use self::sleeping::Budget;
pub use self::sleeping::Rules;
use self::slot::{Slot, TenantSlot, Waiter, WakeOutcome, WakeReceiver};
pub use self::tenant::{CollectionFacts, ResolvedSearch, SearchState, Tenant};
use self::tenant_list::Listed;
pub use self::tenant_list::{ReportedState, TenantFacts};
use vectorizer_access::Operation;
use vectorizer_billing::{Accounts, Metering};
use vectorizer_limits::TenantLimits;
use vectorizer_metrics::{Metrics, Reading, TenantReading};
use vectorizer_node_store::NodeStore;
use vectorizer_scheduling::run_blocking;

use crate::admission::{Pass, Reach};
use crate::audit::Audit;

/// The node's own entry in the data folder. No tenant can have this name.
const NODE_FOLDER: &str = "_node";

/// How long a node that has just started only answers: going through all tenants takes a core for as long as there are
/// tenants, and requests that have waited for this node come first.
const FIRST_ANSWERS: Duration = Duration::from_millis(500);

/// How many tenants are read from disk at the same time: of those with large logs, and of the others, which must not
/// wait for them. Reading is work for one core each, and must not keep other requests from being served.
const WAKING_LARGE_MAX: usize = 1;
const WAKING_MAX: usize = 2;
/// A log's file from here on is large: it may take a second to read.
const LARGE_BYTES: u64 = 256 << 20;
/// How long a request waits for its tenant to wake. The waking goes on.
const WAKE_PATIENCE: Duration = Duration::from_mins(1);
/// How many requests may wait for one tenant to wake.
const WAITING_MAX: usize = 256;
/// How often a request begins anew that finds its tenant asleep again the moment it woke.
const ENTRIES_MAX: usize = 3;
/// How long a request waits for the folder of an earlier incarnation to be moved away.
const MOVING_PATIENCE: Duration = Duration::from_secs(10);

/// How long a tenant that could not be woken is left alone, at least, and how many times as long as trying it took:
/// damage does not heal by being read again, and its owner's retries must not keep the disk busy.
const WAKE_BACKOFF: Duration = Duration::from_secs(5);
const WAKE_BACKOFF_TIMES: u32 = 4;

/// How long writers, linkers and wakings may take to end, and how often those left are told of. All of them
/// ask often whether they are to stop; what takes long is a disk that does.
const STOPPING_PATIENCE: Duration = Duration::from_mins(1);
const STOPPING_REPORT: Duration = Duration::from_secs(5);

/// All tenants of this node.
#[derive(Clone, Debug)]
pub struct Tenancy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    data: PathBuf,
    node_store: NodeStore,
    deleted: DeletedTenants,
    listed: Listed,
    /// One folder at a time is bound to an incarnation.
    binding: Mutex<()>,
    /// How often `HiveHub`'s feed had a gap, and word of it.
    gaps: AtomicU64,
    gap_found: Notify,
    /// Tenants about whose deletion HiveHub has to be asked.
    doubted: Mutex<BTreeSet<TenantId>>,
    endings: Endings,
    /// How long a deleted tenant can be had back.
    delete_grace: Duration,
    tenants: Mutex<HashMap<TenantId, Arc<TenantSlot>>>,
    waking: Semaphore,
    waking_large: Semaphore,
    permits: NodePermits,
    budget: Budget,
    shares: Shares,
    metrics: Metrics,
    audit: Audit,
    /// In cluster mode.
    billed: Option<Billed>,
    /// Writers and wakings: what has to end before the node has stopped.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Locked for as long as this node uses the folder.
    _lock: File,
}

/// What a request finds that wants to enter.
enum EntryState<'slot> {
    /// The tenant is in memory and serves the request.
    Live(TenantGuard),
    /// The folder is bound to no incarnation. It has to be bound to this one first.
    Unbound(Arc<LiveTenant>, Incarnation),
    /// The tenant is waking, and the request has a place among those that wait.
    Waking(WakeReceiver, Waiter<'slot>),
    /// The folder is being moved.
    Moving,
}

/// What a tenant is woken for.
struct WakeRequest {
    tenant: TenantId,
    /// Which incarnation of the id; `None` is the one that the folder is bound to.
    incarnation: Option<Incarnation>,
    tenant_limits: Arc<TenantLimits>,
    /// Whether a log is made if there is none. A request that only reads makes none.
    begins: bool,
}

/// Whether this pass makes a log if its tenant has none. Reading the log does not, though it takes an administrator.
fn begins_log<L: Reach>(pass: &Pass<L>) -> bool {
    L::WRITES && pass.asked().operation != Operation::ReadLog
}

/// All else that a node has in its data folder.
fn open_beside_the_node_store(
    data: &Path,
    node: &Path,
    billed: Option<Duration>,
) -> io::Result<(DeletedTenants, Option<Billed>)> {
    sync_folder(data)?;
    if let Some(parent) = data.canonicalize()?.parent() {
        sync_folder(parent)?;
    }
    TenantFolder::remove_unfinished(data)?;
    let deleted = DeletedTenants::open(data).map_err(io::Error::other)?;
    let billed = billed.map(|interval| {
        let metering = Metering::open(node)?;
        io::Result::Ok(Billed { metering, accounts: Accounts::open(node)?, interval })
    });
    Ok((deleted, billed.transpose()?))
}

impl Tenancy {
    /// The tenants in `data`, all asleep. Reads no tenant's folder, so it does not matter how many
    /// there are. The folder is this node's alone until the last clone is gone. Each gets a `share`, and a bill
    /// whose windows are as long as `billed` says, if it does. They sleep by these `rules`.
    pub fn new(
        data: &Path,
        share: ShareSize,
        rules: Rules,
        billed: Option<Duration>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let node = data.join(NODE_FOLDER);
        create_private_folder(&node)?;
        let lock = File::create(node.join("lock"))?;
        lock.try_lock().map_err(|locked| match locked {
            TryLockError::WouldBlock => io::Error::other("another server uses it"),
            TryLockError::Error(error) => error,
        })?;
        // What it has of tenants is opened beside all else: of very many it takes longest.
        let node_store = NodeStore::open(&node).map_err(io::Error::other)?;
        let (deleted, billed) = open_beside_the_node_store(data, &node, billed)?;
        let shared = Shared {
            data: data.to_owned(),
            node_store,
            deleted,
            listed: Listed::default(),
            binding: Mutex::default(),
            gaps: AtomicU64::new(0),
            gap_found: Notify::new(),
            doubted: Mutex::default(),
            endings: Endings::new(data),
            delete_grace: rules.delete_grace,
            tenants: Mutex::default(),
            waking: Semaphore::new(WAKING_MAX),
            waking_large: Semaphore::new(WAKING_LARGE_MAX),
            permits: NodePermits {
                clock: Arc::new(Mutex::new(RetentionClock::open(&node, Timestamp::now()))),
                ..NodePermits::default()
            },
            budget: Budget::new(rules),
            shares: Shares::new(share),
            audit: Audit::new(&node, metrics.clone()),
            metrics,
            billed,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            _lock: lock,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The node's own entry in the data folder.
    pub fn node_folder(&self) -> PathBuf {
        self.shared.data.join(NODE_FOLDER)
    }

    /// Whether what the node notes down is in memory only, since the data folder does not take it for now.
    pub fn keeps_notes_in_memory(&self) -> bool {
        self.shared.node_store.is_wanting() || self.metering().is_some_and(Metering::is_failing)
    }

    /// What the node has noted down about its tenants.
    pub fn node_store(&self) -> &NodeStore {
        &self.shared.node_store
    }

    /// What this tenant may take up, asleep or awake.
    pub fn share(&self, tenant: &TenantId) -> Share {
        self.shared.shares.of(tenant)
    }

    /// Where refused requests are reported.
    pub fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    /// What the tenants in memory have, for the metrics. Waits for the writer of each, on a thread that may block.
    pub fn read_into(&self, reading: &mut Reading) {
        let slots: Vec<Arc<TenantSlot>> = self.slots().values().map(Arc::clone).collect();
        let live: Vec<Arc<LiveTenant>> = slots.iter().filter_map(|slot| slot.live()).collect();
        reading.awake_tenants = live.len();
        self.shared.metrics.notes_in_memory(self.keeps_notes_in_memory());
        if let Some(backlog) = self.backlog() {
            self.shared.metrics.oldest_unreported_usage(backlog.age().unwrap_or_default());
        }
        for live in live {
            let state = live.state.read();
            reading.unlinked_vectors +=
                state.projection.index().collections().map(Collection::unlinked).sum::<usize>();
            let bytes = state.projection.usage().logical_bytes();
            drop(state);
            let memory_bytes = live.memory_bytes();
            if let Ok(TierSizes { frozen_tails, sealed_file_bytes, sealed_bytes, .. }) = live.log.tier_sizes()
            {
                reading.tiers.frozen_tails += frozen_tails as u64;
                reading.tiers.sealed_file_bytes += sealed_file_bytes;
                reading.tiers.hot_bytes += live.state.figures().log_bytes.saturating_sub(sealed_bytes);
            }
            reading.tenants.push(TenantReading::new(Arc::clone(&live.metrics), bytes, memory_bytes));
        }
    }

    /// The tenant that `pass` is for, woken if it sleeps and created if it has never been here. A waking goes on when
    /// its caller has gone: the next request needs it.
    pub async fn enter<L: Reach>(&self, pass: Pass<L>) -> Result<Tenant<L>, Arc<WakeError>> {
        let moving_patience = tokio::time::Instant::now() + MOVING_PATIENCE;
        let mut wakings = 0;
        loop {
            if self.shared.stop.is_cancelled() {
                return Err(Arc::new(WakeError::Stopping));
            }
            let slot = self.slot(pass.tenant());
            // Enabled before the state is read, so that no notification is missed.
            let mut moved = pin!(slot.moved.notified());
            moved.as_mut().enable();
            match self.entry_state::<L>(&slot, &pass)? {
                EntryState::Live(live) => {
                    let tenant = Tenant::new(live, pass);
                    tenant.ready().await?;
                    return Ok(tenant);
                }
                EntryState::Unbound(live, comes) => match self.bind_awake(&live, comes).await {
                    // Which is seen at the next look.
                    Ok(()) | Err(WakeError::OfThePast | WakeError::Outdated) => {}
                    Err(error) => return Err(Arc::new(error)),
                },
                EntryState::Moving => {
                    if timeout_at(moving_patience, moved).await.is_err() {
                        return Err(Arc::new(WakeError::Moving));
                    }
                }
                EntryState::Waking(mut waking, _waiter) => {
                    wakings += 1;
                    let Ok(outcome) = timeout(WAKE_PATIENCE, waking.wait_for(Option::is_some)).await else {
                        return Err(Arc::new(WakeError::Waking));
                    };
                    let outcome = outcome.ok().and_then(|outcome| outcome.clone());
                    match outcome.unwrap_or_else(|| Err(Arc::new(WakeError::Stopping))) {
                        // Unless it is asleep again by now.
                        Ok(_) if wakings <= ENTRIES_MAX => {}
                        Ok(_) => return Err(Arc::new(WakeError::Waking)),
                        Err(failure) => {
                            // A request of another incarnation may have begun the waking.
                            let is_of_another =
                                matches!(*failure, WakeError::OfThePast | WakeError::Outdated);
                            if !is_of_another || wakings > ENTRIES_MAX {
                                return Err(failure);
                            }
                            if matches!(*failure, WakeError::OfThePast)
                                && let Some(comes) = pass.incarnation()
                                && let Ok(moving) = FolderMove::begin(Arc::clone(&slot))
                            {
                                self.supersede(moving, pass.tenant().clone(), comes);
                            }
                        }
                    }
                }
            }
        }
    }

    /// What a request with this pass finds.
    fn entry_state<'slot, L: Reach>(
        &self,
        slot: &'slot Arc<TenantSlot>,
        pass: &Pass<L>,
    ) -> Result<EntryState<'slot>, Arc<WakeError>> {
        let comes = pass.incarnation();
        let mut locked = slot.lock();
        if comes.is_some() && comes <= locked.ended {
            if comes == locked.ended {
                // HiveHub may have undeleted it, and its feed not have told of that.
                self.doubt(pass.tenant());
            }
            return Err(Arc::new(WakeError::Outdated));
        }
        if locked.moving {
            // Without incarnations, a request that enters meanwhile may be of the deleted tenant.
            return comes.map(|_| EntryState::Moving).ok_or_else(|| Arc::new(WakeError::Moving));
        }
        let begins = begins_log(pass);
        let serves = |live: &&Arc<LiveTenant>| {
            if live.is_unbegun() {
                // It says nothing of another incarnation.
                !begins && live.incarnation() == comes
            } else {
                live.is_readable() && (!L::WRITES || !live.has_failed())
            }
        };
        if let Some(live) = locked.state.live().filter(serves) {
            match (ownership(live.incarnation(), comes), comes) {
                (Ownership::Unbound, Some(comes)) => {
                    return Ok(EntryState::Unbound(Arc::clone(live), comes));
                }
                (Ownership::Previous, Some(comes)) => {
                    locked.moving = true;
                    drop(locked);
                    self.supersede(FolderMove::begun(Arc::clone(slot)), pass.tenant().clone(), comes);
                    return Ok(EntryState::Moving);
                }
                (Ownership::Later, _) => return Err(Arc::new(WakeError::Outdated)),
                (Ownership::Theirs | Ownership::Unbound | Ownership::Previous, _) => {
                    return Ok(EntryState::Live(TenantGuard::new(live)));
                }
            }
        }
        let waking = self.waking(slot, &mut locked, pass.tenant(), comes, pass.tenant_limits(), begins)?;
        Ok(EntryState::Waking(waking, Waiter::join(slot, &mut locked)?))
    }

    /// The waking that is under way, or one that begins.
    fn waking(
        &self,
        slot: &Arc<TenantSlot>,
        locked: &mut Slot,
        tenant: &TenantId,
        comes: Option<Incarnation>,
        tenant_limits: &Arc<TenantLimits>,
        begins: bool,
    ) -> Result<WakeReceiver, Arc<WakeError>> {
        match (locked.state.waking(), locked.state.left_alone()) {
            // The outcome of a waking whose task has panicked is never published.
            (Some(waking), _) if waking.has_changed().is_ok() => Ok(waking.clone()),
            (_, Some(failure)) => Err(Arc::clone(failure)),
            (Some(_) | None, None) => {
                let (publish, waking) = watch::channel(None);
                locked.state.begin_waking(waking.clone());
                locked.stop = self.shared.stop.child_token();
                let (slot, stop) = (Arc::clone(slot), locked.stop.clone());
                let (tenant, tenant_limits) = (tenant.clone(), Arc::clone(tenant_limits));
                let request = WakeRequest { tenant, incarnation: comes, tenant_limits, begins };
                let work = self.clone().wake(request, slot, stop, publish);
                self.shared.tasks.spawn(work.in_current_span());
                Ok(waking)
            }
        }
    }

    /// Lets every writer finish its queue and closes the logs. No request enters any more. Work that does not end in
    /// time is left to the end of the process: acknowledged writes are durable, and logs are recovered as after a
    /// crash.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        let tasks = &self.shared.tasks;
        tasks.close();
        self.note_sizes();
        let started = Instant::now();
        while timeout(STOPPING_REPORT, tasks.wait()).await.is_err() {
            let (left, seconds) = (tasks.len(), started.elapsed().as_secs());
            if started.elapsed() >= STOPPING_PATIENCE {
                warn!(left, seconds, "writers and linkers have not ended and are left behind");
                return;
            }
            info!(left, seconds, "waiting for writers and linkers to end");
        }
        self.slots().clear();
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<TenantSlot>>> {
        self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, tenant: &TenantId) -> Arc<TenantSlot> {
        Arc::clone(self.slots().entry(tenant.clone()).or_default())
    }

    async fn wake(
        self,
        request: WakeRequest,
        slot: Arc<TenantSlot>,
        stop: CancellationToken,
        publish: watch::Sender<Option<WakeOutcome>>,
    ) {
        let after_failure = {
            let locked = slot.lock();
            let is_begun = locked.state.live().is_some_and(|live| !live.is_unbegun());
            is_begun || locked.write_failed
        };
        let started = Instant::now();
        let outcome = self.open(request, after_failure, stop).await.map_err(Arc::new);
        let replaced = {
            let mut locked = slot.lock();
            match &outcome {
                Ok(live) => {
                    locked.write_failed = false;
                    locked.state.woke(Arc::clone(live))
                }
                Err(failure) if failure.is_of_who_comes() => {
                    locked.state.waking_was_void();
                    None
                }
                Err(failure) => {
                    error!(error = %failure, "the tenant cannot be woken");
                    let pause = WAKE_BACKOFF.max(started.elapsed() * WAKE_BACKOFF_TIMES);
                    locked.state.waking_failed(Instant::now() + pause, Arc::clone(failure));
                    None
                }
            }
        };
        publish.send_replace(Some(outcome));
        // A whole projection: not while the slot is locked.
        drop(replaced);
    }

    /// Opens the tenant's log.
    async fn open(
        &self,
        WakeRequest { tenant, incarnation: comes, tenant_limits, begins }: WakeRequest,
        after_failure: bool,
        stop: CancellationToken,
    ) -> Result<Arc<LiveTenant>, WakeError> {
        let folder = TenantFolder::new(&self.shared.data, &tenant);
        let (tenancy, id, place) = (self.clone(), tenant.clone(), folder.clone());
        let is_there = tokio::task::spawn_blocking(move || {
            if place.exists() { Ok(true) } else { tenancy.may_begin(&id, comes).map(|()| false) }
        });
        if !is_there.await.map_err(|panic| WakeError::Panicked(panic.to_string()))?? && !begins {
            let share = self.shared.shares.of(&tenant);
            let metrics = self.shared.metrics.tenant(&tenant);
            return Ok(LiveTenant::unbegun(&folder, tenant, comes, share, metrics, stop));
        }
        self.make_room(&tenant, &folder).await?;
        let is_large = folder.file_bytes() >= LARGE_BYTES;
        let permits = if is_large { &self.shared.waking_large } else { &self.shared.waking };
        let permit = permits.acquire().await.map_err(|_| WakeError::Stopping)?;
        let (deleted, stopping) = (self.shared.deleted.clone(), stop.clone());
        let started = Instant::now();
        let waking = self.shared.metrics.waking();
        let tenancy = self.clone();
        let work = move || {
            if folder.try_exists()? {
                incarnation::admit(&folder, comes)?;
            }
            let woken = wake(folder.clone(), comes, &deleted, after_failure, waking, &stopping)?;
            // IMPORTANT: after its records were read, which prove that the manifest is theirs.
            let bound = tenancy.bind(&folder, comes)?;
            Ok::<_, WakeError>((woken, bound))
        };
        // Within the span of the request that wakes it, which knows tenant and request.
        let done = run_blocking(work).await;
        let (woken, bound) = done.map_err(|panic| WakeError::Panicked(panic.to_string()))??;
        drop(permit);
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(seq = %woken.head().seq, open = woken.is_open(), milliseconds, "awake");
        let (tenancy, id, limits) = (self.clone(), tenant.clone(), tenant_limits.current());
        // What was noted down of it may have to be waited for.
        let (woken, bill, history) = tokio::task::spawn_blocking(move || {
            let Shared { billed, node_store, permits, .. } = &*tenancy.shared;
            let bill = billed.as_ref().map(|billed| woken.keep_bill(&id, billed, node_store));
            let history = woken.keep_history(limits.history, &permits.clock);
            (woken, bill, history)
        })
        .await
        .map_err(|panic| WakeError::Panicked(panic.to_string()))?;
        let share = self.shared.shares.of(&tenant);
        let watched = TenantWatchers {
            metrics: self.shared.metrics.clone(),
            of_tenant: self.shared.metrics.tenant(&tenant),
            denials: self.shared.audit.wakes(&tenant),
        };
        Ok(woken.start(
            tenant,
            TenantTerms { incarnation: bound, share, tenant_limits, bill, history },
            watched,
            &self.shared.tasks,
            self.shared.permits.clone(),
            stop,
        ))
    }
}
