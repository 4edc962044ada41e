//! Tenants fall asleep when they have not been used for a while, and sooner where memory is short.
//!
//! First, everything that waits for the tenant's log is written to it, and the log is closed. This takes most of the
//! time, and searches are answered meanwhile. Then the memory is freed in one step, so no request has to wait until a
//! tenant is asleep before it can wake again.
//!
//! How much a tenant takes up is counted by its structures as they change (`vectorizer_replay`), with what an open log
//! takes. The memory that the system reports for the process is not used: it does not distinguish tenants, and it falls
//! later than tenants fall asleep, so it does not show when enough memory is free.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, error_span, info, warn};
use vectorizer_hivehub::Call;
use vectorizer_log::{Error, TenantFolder, TenantId};
use vectorizer_metrics::Metrics;

use super::history::{TAIL_BYTES_MAX, prepare_drop};
use super::live_tenant::{LiveTenant, WakeError};
use super::{NicePool, NiceValue, Tenancy, TenantSlot};

/// What an open log takes up, as measured with segments of 512 KiB: tables and buffers, and with what is in it the
/// pages that sled keeps, up to a bound. It takes more for the moment in which all of it is read.
const OPEN_LOG_BYTES_MIN: u64 = 2 << 20;
const OPEN_LOG_BYTES_MAX: u64 = 7 << 20;
const LOG_BYTES_FOR_EACH: u64 = 32;
/// Gaps between small allocations, which the allocator cannot use for other tenants: none of a tenant that has just
/// woken, and up to a third more where all was written in small pieces. A tenth lies between (`benches/memory.rs`).
const GAPS_SHARE: u64 = 10;
/// The memory of a tenant that stores nothing.
const AWAKE_BYTES: u64 = 64 << 10;
/// What a tenant takes up for each byte of its checkpoint, or stored byte, where what it took up is not known: of one
/// that has not been awake in this version. Vectors take 1.5 times their bytes; many distinct words or values more.
const BYTES_FOR_EACH: u64 = 2;

/// How many times tenants are checked within the idle time after which they are put to sleep.
const LOOKS: u32 = 4;
const LOOK_EVERY_MIN: Duration = Duration::from_millis(50);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// The factor by which the idle time is longer for a tenant with a bill that is being delivered to `HiveHub`.
const OWING_IDLES: u32 = 3;
/// The pause before tenants are checked again while memory is short and logs are opened.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a log that may be used again is left open where memory is short: at least this, and
/// as long as it would take to open it again, which reads all of it.
const LOG_PATIENCE: Duration = Duration::from_millis(50);
const LOG_BYTES_EACH_MILLISECOND: u64 = 128 << 10;
/// The pause between checks for tenants whose logs have grown much since their checkpoints.
const CHECKPOINTS_EVERY: Duration = Duration::from_secs(5);
/// The pause between checks for tails to seal and history to drop.
const HISTORY_EVERY: Duration = Duration::from_secs(2);
/// How long a tenant waits for others to fall asleep, and how often it looks.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
const ROOM_POLL: Duration = Duration::from_millis(50);

/// When tenants sleep.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// After so long without a request; `None` is never.
    pub idle: Option<Duration>,
    /// Sooner, if all of them take up more.
    pub memory_bytes_max: u64,
    /// How long a deleted tenant can be restored.
    pub delete_grace: Duration,
}

/// What tenants in memory take up.
#[derive(Debug)]
pub(super) struct Budget {
    rules: Rules,
    /// The memory at the last check, and that of tenants that have woken since.
    taken: AtomicU64,
}

impl Budget {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, taken: AtomicU64::new(0) }
    }

    /// Whether the budget is exceeded if this many logs were opened since the last check.
    fn is_short_with(&self, opened: u64) -> bool {
        let opened = opened.saturating_mul(OPEN_LOG_BYTES_MAX);
        self.taken.load(Ordering::Relaxed).saturating_add(opened) > self.rules.memory_bytes_max
    }

    fn excess(&self) -> u64 {
        self.taken.load(Ordering::Relaxed).saturating_sub(self.rules.memory_bytes_max)
    }
}

/// A tenant that might sleep.
struct Candidate {
    tenant: TenantId,
    slot: Arc<TenantSlot>,
    live: Arc<LiveTenant>,
    last_use: Instant,
    bytes: u64,
}

impl LiveTenant {
    /// What it takes up.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.closed_bytes() + self.open_log_bytes()
    }

    /// What its log takes up of that.
    fn open_log_bytes(&self) -> u64 {
        if !self.log_handle.is_open() {
            return 0;
        }
        // Only the tails are read.
        let stored = self.state.figures().log_bytes.min(2 * TAIL_BYTES_MAX);
        (OPEN_LOG_BYTES_MIN + stored / LOG_BYTES_FOR_EACH).min(OPEN_LOG_BYTES_MAX)
    }

    /// What it takes up with its log closed.
    pub(super) fn closed_bytes(&self) -> u64 {
        let (small, large) = self.state.memory_bytes();
        AWAKE_BYTES + small + small / GAPS_SHARE + large
    }
}

impl Tenancy {
    /// Puts tenants to sleep, until `stop`.
    pub async fn put_to_sleep(self, stop: CancellationToken) {
        let idle = self.shared.budget.rules.idle.unwrap_or(LOOK_EVERY_MAX);
        let every = (idle / LOOKS).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
                () = self.shortage() => {}
            }
            let tenancy = self.clone();
            if tokio::task::spawn_blocking(move || tenancy.look_for_sleepers()).await.is_err() {
                error!("looking for tenants to put to sleep panicked");
            }
            if timeout(LOOK_AGAIN, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Ready when logs are opened for which there is no room.
    async fn shortage(&self) {
        while !self.shared.budget.is_short_with(self.shared.permits.openings.opening().await) {}
    }

    /// Writes checkpoints of tenants in memory, one after the other, on what others leave of the cores, until `stop`.
    pub async fn keep_checkpoints(self, stop: CancellationToken) {
        let background = NicePool::new(1, NiceValue::Ten);
        while timeout(CHECKPOINTS_EVERY, stop.cancelled()).await.is_err() {
            let tenancy = self.clone();
            if background.run(move || tenancy.write_checkpoints()).await.is_none() {
                error!("writing checkpoints panicked");
            }
        }
    }

    /// One look at all tenants in memory.
    fn look_for_sleepers(&self) {
        self.shared.listed.forget_unused();
        let budget = &self.shared.budget;
        let idle = budget.rules.idle;
        let delivers = self.shared.metrics.hivehub_answers(Call::Usage);
        // Before the tenants are checked, so that no opened log is missed.
        self.shared.permits.openings.counted();
        let mut candidates = self.candidates();
        budget.taken.store(candidates.iter().map(|it| it.bytes).sum(), Ordering::Relaxed);
        candidates.retain(|candidate| {
            let Candidate { live, last_use, .. } = candidate;
            let is_idle = |since: Duration, times: u32| idle.is_some_and(|idle| since >= idle * times);
            let unused = last_use.elapsed();
            // The lines that are being delivered are read from the log. The log stays open only for a while, because
            // the lines may never be delivered.
            if delivers && live.owes() && !is_idle(unused, OWING_IDLES) {
                if live.log_handle.is_closed() {
                    live.log_handle.want();
                }
                return true;
            }
            if is_idle(unused, 1) {
                return !self.put_down(candidate);
            }
            if live.log_handle.idle_for().is_some_and(|unused| is_idle(unused, 1)) {
                live.log_handle.close();
            }
            true
        });
        self.keep_within_budget(candidates);
        // IMPORTANT: with the list locked, so that a slot that only the list has stays so.
        self.slots().retain(|_, slot| Arc::strong_count(slot) > 1 || !slot.lock().is_empty());
    }

    /// Closes logs, and then puts tenants to sleep, the least recently used first, until there is room.
    fn keep_within_budget(&self, mut candidates: Vec<Candidate>) {
        let excess = self.shared.budget.excess();
        if excess == 0 {
            return;
        }
        candidates.retain(|candidate| !candidate.live.is_in_use());
        candidates.sort_unstable_by_key(|candidate| candidate.last_use);
        // The most recently used tenant stays: a tenant larger than the budget would be woken again at once.
        candidates.pop();
        let mut freed = 0;
        let idle_logs = |candidate: &&Candidate| {
            candidate.live.log_handle.idle_for() >= Some(candidate.live.log_patience())
        };
        for candidate in candidates.iter().filter(idle_logs) {
            if freed >= excess {
                return;
            }
            freed += candidate.live.open_log_bytes();
            candidate.live.log_handle.close();
        }
        freed = 0;
        for candidate in &candidates {
            if freed >= excess {
                return;
            }
            self.put_down(candidate);
            freed += candidate.bytes;
        }
    }

    /// Waits until what the tenant's folder holds has room in memory, and takes it.
    pub(super) async fn make_room(&self, tenant: &TenantId, folder: &TenantFolder) -> Result<(), WakeError> {
        let node_store = &self.shared.node_store;
        // The first requests after a start do not wait for the notes about all tenants.
        let noted = node_store.is_open().then(|| node_store.size(tenant).ok().flatten()).flatten();
        let estimated = |stored: u64| AWAKE_BYTES + BYTES_FOR_EACH * stored;
        let bytes = match noted {
            Some(size) => size.memory_bytes.unwrap_or_else(|| estimated(size.storage_bytes)),
            None => estimated(folder.file_bytes()),
        };
        let budget = &self.shared.budget;
        let started = Instant::now();
        loop {
            let taken = budget.taken.fetch_add(bytes, Ordering::Relaxed);
            // One that is larger than all there is may be there alone.
            if taken == 0 || taken.saturating_add(bytes) <= budget.rules.memory_bytes_max {
                return Ok(());
            }
            let tenancy = self.clone();
            let look = move || {
                // With what is wanted still counted: so much has to go.
                let candidates = tenancy.candidates();
                tenancy.keep_within_budget(candidates);
                let taken: u64 = tenancy.candidates().iter().map(|it| it.bytes).sum();
                tenancy.shared.budget.taken.store(taken, Ordering::Relaxed);
            };
            if tokio::task::spawn_blocking(look).await.is_err() || started.elapsed() >= ROOM_PATIENCE {
                return Err(WakeError::NoRoom);
            }
            if budget.taken.load(Ordering::Relaxed).saturating_add(bytes) > budget.rules.memory_bytes_max {
                tokio::time::sleep(ROOM_POLL).await;
            }
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let slots: Vec<_> =
            self.slots().iter().map(|(tenant, slot)| (tenant.clone(), Arc::clone(slot))).collect();
        let candidate = |(tenant, slot): (TenantId, Arc<TenantSlot>)| {
            let live = slot.live()?;
            let (last_use, bytes) = (live.last_use().0, live.memory_bytes());
            Some(Candidate { tenant, slot, live, last_use, bytes })
        };
        slots.into_iter().filter_map(candidate).collect()
    }

    /// Puts an unused tenant to sleep if nothing of it waits for its log; otherwise its writer is asked to close the
    /// log. Returns whether the tenant sleeps.
    fn put_down(&self, candidate: &Candidate) -> bool {
        let Candidate { tenant, slot, live, .. } = candidate;
        let mut locked = slot.lock();
        let is_it = locked.state.live().is_some_and(|it| Arc::ptr_eq(it, live));
        // IMPORTANT: looked at while the slot is locked, where others begin to use it.
        if !is_it || locked.moving || locked.state.waking().is_some() || live.is_in_use() {
            return false;
        }
        let has_failed = live.has_failed();
        let rests = has_failed || (live.is_settled() && live.log_handle.retire());
        if !rests {
            drop(locked);
            live.log_handle.close();
            return false;
        }
        let is_begun = !live.is_unbegun();
        locked.write_failed |= is_begun && has_failed && !live.log_handle.is_stuck();
        // The candidate holds it until the lock is given back.
        drop(locked.state.leave());
        live.stop.cancel();
        // IMPORTANT: before anybody can wake it again, and counts anew.
        if is_begun {
            self.store_size(live);
        }
        self.shared.audit.sleeps(tenant);
        self.shared.metrics.forget_tenant(tenant);
        if let Some(billed) = &self.shared.billed {
            billed.metering.sleeps(live.log.log_id());
            billed.accounts.sleeps(tenant);
        }
        if let Some(bill) = live.bill.as_ref().filter(|_| !has_failed) {
            bill.account.sleeps();
        }
        drop(locked);
        info!(%tenant, "asleep");
        // Dropping a whole projection takes time.
        let live = Arc::clone(live);
        self.shared.tasks.spawn(async move {
            live.tasks.close();
            live.tasks.wait().await;
            let _ = tokio::task::spawn_blocking(move || drop(live)).await;
        });
        true
    }

    /// Seals, merges and drops the history of tenants in memory, one after the other, on what others leave of the cores,
    /// until `stop`.
    pub async fn keep_history(self, stop: CancellationToken) {
        let background = NicePool::new(1, NiceValue::Ten);
        while timeout(HISTORY_EVERY, stop.cancelled()).await.is_err() {
            let (tenancy, stop) = (self.clone(), stop.clone());
            if background.run(move || tenancy.change_histories(&|| stop.is_cancelled())).await.is_none() {
                error!("keeping the history of logs panicked");
            }
        }
    }

    fn change_histories(&self, stop: &dyn Fn() -> bool) {
        for Candidate { tenant, live, .. } in self.candidates() {
            if stop() {
                return;
            }
            if !live.log_handle.is_open() || !live.is_readable() {
                continue;
            }
            let _span = error_span!("history", %tenant).entered();
            let stop = || stop() || live.stop.is_cancelled();
            if let Err(error) = live.keep_history(&self.shared.metrics, &stop) {
                warn!(%error, "old history could not be dropped");
            }
        }
        self.shared.permits.clock.lock().unwrap_or_else(PoisonError::into_inner).store_now_and_then();
    }

    /// Writes checkpoints of tenants whose logs have grown much since the last one, one after the other.
    fn write_checkpoints(&self) {
        let is_due = |live: &LiveTenant| {
            let log_bytes = live.state.figures().log_bytes;
            live.is_readable() && live.log_handle.is_open() && live.checkpoints.is_due(log_bytes)
        };
        for Candidate { tenant, live, .. } in self.candidates() {
            if self.shared.stop.is_cancelled() {
                return;
            }
            if is_due(&live)
                && let Err(error) = live.checkpoints.write(&live.state, &live.stop)
                && !live.stop.is_cancelled()
            {
                warn!(%tenant, %error, "the checkpoint could not be written: waking will take longer");
            }
        }
    }
}

impl LiveTenant {
    /// Seals and merges what waits for it, and prepares to drop what is old.
    fn keep_history(&self, metrics: &Metrics, stop: &dyn Fn() -> bool) -> Result<(), WakeError> {
        let keep = self.tenant_limits.current().history.keep;
        self.history.seal(&self.log, keep, metrics, stop);
        let Some(horizon) = self.history.horizon(keep) else {
            return Ok(());
        };
        let state = self.state.read();
        let through = state.projection.billing().droppable(state.head.seq);
        let live_bytes = state.projection.usage().logical_bytes();
        drop(state);
        match prepare_drop(&self.log, &self.history, horizon, through, live_bytes, stop) {
            Err(WakeError::Log(Error::Closed) | WakeError::Stopping) => Ok(()),
            prepared => prepared,
        }
    }

    /// How long its log is left open unused where memory is short.
    fn log_patience(&self) -> Duration {
        let bytes = self.state.figures().log_bytes;
        // Only the tail is read.
        LOG_PATIENCE + Duration::from_millis(bytes.min(TAIL_BYTES_MAX) / LOG_BYTES_EACH_MILLISECOND)
    }

    /// Whether `HiveHub` has not been told all of what is closed of its bill.
    fn owes(&self) -> bool {
        self.bill.as_ref().is_some_and(|bill| bill.account.is_behind())
    }
}
