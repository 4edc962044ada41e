//! The limits of all tenants.
//!
//! A tenant's limits are asked for with its first request, then every `quota_check_interval` in the background while
//! it makes requests, and at once when the policy feed announces a change. While `HiveHub` cannot be asked, the last
//! known limits hold, also those of an earlier run of the node. No tenant is served without limits: the first request
//! waits for them.

use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vectorizer_hivehub::{
    Clock, Garbage, HiveHubClient, HubError, PolicyChange, PolicyCursor, PolicySubscriber, QuotaAnswer,
    QuotaVerdict,
};
use vectorizer_journal::JournalError;
use vectorizer_log::{Incarnation, TenantId, Timestamp};
use vectorizer_node_store::{NodeStore, StoredQuota};

use super::limits::{DefaultLimits, HistoryLimits, Limits};
use super::rate_limiter::{RateReport, RequestLimiter, RequestRefused, Used};
use super::request_journal::{Entry as JournalEntry, RequestJournal, Wanted};

/// How many tenants' limits are in memory. Each of these tenants has shown a valid key.
const TENANTS_MAX: usize = 1_000_000;
/// After how long without a request a tenant is removed from memory. It is longer than the longest window, so that no
/// used limit is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(2);
/// How many answers lie between two searches for tenants to remove.
const FORGET_EVERY: u64 = 4_096;
/// How many calls of `HiveHub` run at the same time.
const CALLS_MAX: usize = 32;
/// The longest a call takes, including the wait for a permit.
const CALL_TIME_MAX: Duration = Duration::from_secs(6);
/// How long a request waits for an answer if there are stored limits.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the used limits are written. A crash forgets what was used since.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often a failure to do so is logged.
const SHOUT_EVERY: Duration = Duration::from_mins(1);
/// The pause after a failed call, and the `Retry-After` of requests.
const PAUSE: Duration = Duration::from_secs(2);

/// A source of quotas: `HiveHub`, or a test double.
pub trait QuotaSource: Send + Sync + 'static {
    /// The quota of a tenant. Ends within bounded time.
    fn quota<'call>(&'call self, tenant: &'call TenantId) -> BoxFuture<'call, Result<StoredQuota, HubError>>;
}

impl QuotaSource for HiveHubClient {
    fn quota<'call>(&'call self, tenant: &'call TenantId) -> BoxFuture<'call, Result<StoredQuota, HubError>> {
        Box::pin(async move {
            // The tenant's key is valid, so an unknown tenant is an error of the hub.
            let QuotaVerdict::Quota(answer) = Self::quota(self, tenant).await? else {
                return Err(HubError::Garbage(Garbage::Status(404)));
            };
            // The answer about the key and the policy feed decide whether the tenant is served, and an answer from
            // before a change is asked for again.
            let QuotaAnswer { numbers, status: _, incarnation, policy_cursor: _ } = answer;
            Ok(StoredQuota { numbers, incarnation })
        })
    }
}

/// The limits of one tenant, and what it has used of those on requests. All keys of a tenant share them.
#[derive(Debug)]
pub struct TenantLimits {
    limits: RwLock<Limits>,
    requests: RequestLimiter,
    /// Where admitted requests are recorded for the next run of the node.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    tenant: TenantId,
    journal: RequestJournal,
    /// Whether a request was recorded since the last write.
    is_told: AtomicBool,
}

/// Why there are no limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsUnavailable {
    /// The tenant's limits are unknown, and `HiveHub` cannot be asked.
    #[error("the tenant's limits cannot be asked for at the moment")]
    Unknown {
        /// When to retry.
        retry_after: Duration,
    },
    /// A later tenant has the id.
    #[error("another tenant has this id by now")]
    Outdated,
}

/// The limits of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct QuotaManager {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<dyn QuotaSource>,
    node_store: NodeStore,
    defaults: DefaultLimits,
    interval: Duration,
    clock: Arc<dyn Clock>,
    tenants: RwLock<HashMap<TenantId, Arc<Entry>>>,
    calls: Semaphore,
    answers: AtomicU64,
    /// Where used limits are stored, if they are.
    journal: OnceLock<RequestJournal>,
}

/// The limits of a tenant, and the state of calls about them.
struct Entry {
    /// The tenant's incarnation, once it is known.
    incarnation: OnceLock<Incarnation>,
    /// Empty until the first answer.
    known: OnceLock<Arc<TenantLimits>>,
    /// Notified when limits are known and when a call has ended.
    told: Notify,
    state: Mutex<EntryState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct EntryState {
    /// When the limits were last answered, or read from disk.
    heard_at: Option<Duration>,
    /// No call is made before this.
    not_before: Duration,
    used_at: Duration,
    /// The number of announced changes.
    changes: u64,
    /// Whether a call is running.
    asking: bool,
}

impl TenantLimits {
    /// With these limits, and nothing used.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self::with(limits, None))
    }

    fn with(limits: Limits, kept: Option<Kept>) -> Self {
        Self { requests: RequestLimiter::new(limits.requests), limits: RwLock::new(limits), kept }
    }

    /// The same, with what was used in an earlier run of the node, and recorded for the next one.
    fn keeping(
        limits: Limits,
        tenant: &TenantId,
        incarnation: Option<Incarnation>,
        journal: &RequestJournal,
        now: Duration,
    ) -> Self {
        let kept = Kept { tenant: tenant.clone(), journal: journal.clone(), is_told: AtomicBool::new(false) };
        let tenant_limits = Self::with(limits, Some(kept));
        if let Some(used) = journal.take_before(tenant, incarnation) {
            tenant_limits.requests.restore(now, used);
        }
        tenant_limits
    }

    /// No limits: for a tenant that is woken without a request.
    pub fn unlimited() -> Arc<Self> {
        Self::new(Limits::default())
    }

    /// Limits on history only: for the tenant of a server without keys.
    pub fn of_history(history: HistoryLimits) -> Arc<Self> {
        Self::new(Limits { history, ..Limits::default() })
    }

    /// The current limits.
    pub fn current(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges a request at `now`, the uptime of the node, unless it exceeds a limit. Also returns the state of the
    /// limits, if there are any.
    pub fn charge(&self, now: Duration) -> (Option<RateReport>, Result<(), RequestRefused>) {
        let (report, outcome) = self.requests.charge(now);
        if report.is_some()
            && outcome.is_ok()
            && let Some(kept) = &self.kept
            && !kept.is_told.swap(true, Ordering::AcqRel)
        {
            kept.journal.changed(kept.tenant.clone());
        }
        (report, outcome)
    }

    /// What is used at `now`, for the journal. Later requests are recorded again.
    fn used(&self, now: Duration) -> Used {
        if let Some(kept) = &self.kept {
            kept.is_told.store(false, Ordering::Release);
        }
        self.requests.used(now)
    }

    /// The state of the limits on requests.
    pub fn report(&self, now: Duration) -> Option<RateReport> {
        self.requests.report(now)
    }

    fn change(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        self.requests.change(limits.requests);
    }
}

impl QuotaManager {
    /// Asks `source`, at most every `interval` for each tenant, and stores the answers in `node_store`.
    pub fn new(
        source: Arc<dyn QuotaSource>,
        node_store: NodeStore,
        defaults: DefaultLimits,
        interval: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                node_store,
                defaults,
                interval,
                clock,
                tenants: RwLock::default(),
                calls: Semaphore::new(CALLS_MAX),
                answers: AtomicU64::new(0),
                journal: OnceLock::new(),
            }),
        }
    }

    /// Stores used limits in the `node` folder, and reads those of an earlier run. Must be called before the first
    /// request.
    #[must_use]
    pub fn keeping_requests_in(self, node: &Path) -> Self {
        let _ = self.shared.journal.set(RequestJournal::open(node));
        self
    }

    /// Writes used limits once a second until `stop` is cancelled, and once more at the end.
    pub async fn keep_requests(self, stop: CancellationToken) {
        let mut shouted: Option<Instant> = None;
        loop {
            let is_ending = tokio::time::timeout(KEEP_EVERY, stop.cancelled()).await.is_ok();
            let shared = Arc::clone(&self.shared);
            let failure = match tokio::task::spawn_blocking(move || shared.write_requests()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error}: {:?}", std::error::Error::source(&error))),
                Err(panic) => Some(panic.to_string()),
            };
            if let Some(failure) = failure
                && shouted.is_none_or(|at| at.elapsed() >= SHOUT_EVERY)
            {
                warn!(failure, "used limits cannot be written: a restart would forget them");
                shouted = Some(Instant::now());
            }
            if is_ending {
                return;
            }
        }
    }

    /// The node's uptime, by which requests are charged.
    pub fn uptime(&self) -> Duration {
        self.shared.clock.uptime()
    }

    /// The limits of a tenant whose key is valid; of this incarnation, if it is known. Waits only if none are in
    /// memory.
    pub async fn limits_of(
        &self,
        tenant: &TenantId,
        incarnation: Option<Incarnation>,
    ) -> Result<Arc<TenantLimits>, LimitsUnavailable> {
        let shared = &self.shared;
        let known = shared.tenants().get(tenant).cloned();
        let entry = match known.filter(|entry| entry.is_of(incarnation)) {
            Some(entry) => entry,
            None => shared.enter(tenant, incarnation)?,
        };
        let now = shared.clock.uptime();
        let is_due = {
            let mut state = entry.state();
            state.used_at = now;
            now >= state.not_before
                && state.heard_at.is_none_or(|heard_at| now.saturating_sub(heard_at) >= shared.interval)
        };
        if is_due {
            shared.ask(tenant, &entry);
        }
        if let Some(tenant_limits) = entry.known.get() {
            return Ok(Arc::clone(tenant_limits));
        }
        let answered = tokio::time::timeout(CALL_TIME_MAX, async {
            loop {
                // Subscribe before reading the state, or a notification is lost.
                let mut told = pin!(entry.told.notified());
                told.as_mut().enable();
                let is_asked = entry.state().asking;
                if entry.known.get().is_some() || !is_asked {
                    return;
                }
                told.await;
            }
        });
        // The limits are known now, or the call has failed.
        let _ = answered.await;
        entry.known.get().cloned().ok_or(LimitsUnavailable::Unknown { retry_after: PAUSE })
    }

    /// The known limits of a tenant, without a call.
    pub fn known(&self, tenant: &TenantId) -> Option<Limits> {
        let entry = self.shared.tenants().get(tenant).cloned();
        let in_memory =
            entry.and_then(|entry| entry.known.get().map(|tenant_limits| tenant_limits.current()));
        in_memory.or_else(|| {
            self.shared.remembered(tenant).map(|answer| self.shared.defaults.complete(&answer.numbers))
        })
    }

    /// The state of a tenant's limits on requests, if they are known. Makes no call and charges nothing.
    pub fn report(&self, tenant: &TenantId) -> Option<RateReport> {
        let entry = self.shared.tenants().get(tenant).cloned()?;
        entry.known.get()?.report(self.shared.clock.uptime())
    }

    /// The limits of this tenant have changed. They are asked for at once if the tenant is in memory.
    pub fn changed(&self, tenant: &TenantId) {
        let entry = self.shared.tenants().get(tenant).cloned();
        if let Some(entry) = entry {
            entry.outdate();
            self.shared.ask(tenant, &entry);
        }
    }

    /// Any limits may have changed. They are asked for with the next request of each tenant.
    pub fn all_changed(&self) {
        for entry in self.shared.tenants().values() {
            entry.outdate();
        }
    }

    /// How many tenants are in memory.
    pub fn tenants_known(&self) -> usize {
        self.shared.tenants().len()
    }
}

impl PolicySubscriber for QuotaManager {
    fn changed(&self, change: &PolicyChange, _: PolicyCursor) {
        match change {
            PolicyChange::QuotaChanged { tenant }
            | PolicyChange::TenantResumed { tenant }
            | PolicyChange::TenantUndeleted { tenant, .. } => {
                self.changed(tenant);
            }
            PolicyChange::KeyRevoked { .. }
            | PolicyChange::KeyChanged { .. }
            | PolicyChange::TenantSuspended { .. }
            | PolicyChange::TenantChanged { .. }
            | PolicyChange::TenantDeleted { .. } => {}
            PolicyChange::NotUnderstood => self.all_changed(),
        }
    }

    fn lost(&self) {
        self.all_changed();
    }
}

impl Entry {
    /// Whether the entry is about this incarnation, or one of the two is unknown.
    fn is_of(&self, incarnation: Option<Incarnation>) -> bool {
        incarnation.is_none() || self.incarnation.get() == incarnation.as_ref()
    }

    fn state(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outdate(&self) {
        let mut state = self.state();
        state.heard_at = None;
        state.not_before = Duration::ZERO;
        state.changes += 1;
    }
}

impl Shared {
    fn tenants(&self) -> RwLockReadGuard<'_, HashMap<TenantId, Arc<Entry>>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tenants_mut(&self) -> RwLockWriteGuard<'_, HashMap<TenantId, Arc<Entry>>> {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of this incarnation. It replaces the entry of an earlier one.
    fn enter(
        &self,
        tenant: &TenantId,
        incarnation: Option<Incarnation>,
    ) -> Result<Arc<Entry>, LimitsUnavailable> {
        let mut tenants = self.tenants_mut();
        if let Some(entry) = tenants.get(tenant) {
            let Some(incarnation) = incarnation else { return Ok(Arc::clone(entry)) };
            let known = *entry.incarnation.get_or_init(|| incarnation);
            if known > incarnation {
                return Err(LimitsUnavailable::Outdated);
            }
            if known == incarnation {
                return Ok(Arc::clone(entry));
            }
        } else if tenants.len() >= TENANTS_MAX {
            return Err(LimitsUnavailable::Unknown { retry_after: PAUSE });
        }
        let entry = Arc::new(Entry {
            incarnation: incarnation.map_or_else(OnceLock::new, OnceLock::from),
            known: OnceLock::new(),
            told: Notify::new(),
            state: Mutex::default(),
        });
        tenants.insert(tenant.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    /// Starts a call about a tenant, unless one is running.
    fn ask(self: &Arc<Self>, tenant: &TenantId, entry: &Arc<Entry>) {
        if std::mem::replace(&mut entry.state().asking, true) {
            return;
        }
        let question = Question {
            shared: Arc::clone(self),
            tenant: tenant.clone(),
            entry: Arc::clone(entry),
            settled: false,
        };
        tokio::spawn(question.put());
    }

    /// Writes used limits once.
    fn write_requests(&self) -> Result<(), JournalError> {
        let Some(journal) = self.journal.get() else { return Ok(()) };
        let (now, at) = (self.clock.uptime(), Timestamp::now());
        for tenant in journal.read() {
            let entry = self.tenants().get(&tenant).cloned();
            if let Some(entry) = entry
                && let Some(tenant_limits) = entry.known.get()
                && let Some(used) = journal.take_before(&tenant, entry.incarnation.get().copied())
            {
                tenant_limits.requests.restore(now, used);
            }
        }
        let (mut changed, wanted) = (journal.take_changed(), journal.wanted());
        // After a failure some tenants are listed twice.
        changed.sort_unstable();
        changed.dedup();
        let entry_of = |tenant: &TenantId, entry: &Entry| {
            let used = entry.known.get()?.used(now);
            let incarnation = entry.incarnation.get().copied();
            (used != Used::default()).then(|| JournalEntry::new(tenant.clone(), incarnation, at, used))
        };
        let entries: Vec<JournalEntry> = {
            let tenants = self.tenants();
            match wanted {
                Wanted::Changed => {
                    changed.iter().filter_map(|tenant| entry_of(tenant, tenants.get(tenant)?)).collect()
                }
                Wanted::All if changed.is_empty() => return Ok(()),
                Wanted::All => tenants.iter().filter_map(|(tenant, entry)| entry_of(tenant, entry)).collect(),
            }
        };
        if entries.is_empty() {
            return Ok(());
        }
        journal.write(wanted, &entries).inspect_err(|_| {
            // Retry even if no more requests come.
            for tenant in changed {
                journal.changed(tenant);
            }
        })
    }

    fn remembered(&self, tenant: &TenantId) -> Option<StoredQuota> {
        self.node_store.quota(tenant).unwrap_or_else(|error| {
            warn!(%tenant, %error, "the stored limits cannot be read");
            None
        })
    }

    /// Removes tenants without recent requests whose limits are not in use.
    fn forget_some(&self) {
        if !self.answers.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            return;
        }
        let now = self.clock.uptime();
        self.tenants_mut().retain(|_, entry| {
            let is_held = Arc::strong_count(entry) > 1
                || entry.known.get().is_some_and(|tenant_limits| Arc::strong_count(tenant_limits) > 1);
            is_held || now.saturating_sub(entry.state().used_at) < FORGOTTEN_AFTER
        });
    }
}

/// A running call. Dropping it allows the next one.
struct Question {
    shared: Arc<Shared>,
    tenant: TenantId,
    entry: Arc<Entry>,
    settled: bool,
}

impl Question {
    async fn put(mut self) {
        // Repeat only if a change was announced during the call.
        loop {
            let changes = self.entry.state().changes;
            let outcome = self.ask_hub().await;
            if self.settle(changes, outcome) {
                break;
            }
        }
        self.shared.forget_some();
    }

    /// The limits that an earlier run has stored, if none are in memory.
    async fn fallback(&self) -> Option<StoredQuota> {
        if self.entry.known.get().is_some() {
            return None;
        }
        let (shared, tenant) = (Arc::clone(&self.shared), self.tenant.clone());
        let remembered = tokio::task::spawn_blocking(move || shared.remembered(&tenant)).await.ok().flatten();
        remembered.filter(|fallback| self.is_meant(fallback))
    }

    /// Applies `HiveHub`'s answer. Returns its time, or how long to make no call. Waiting requests get the stored
    /// limits if the answer is late.
    async fn ask_hub(&self) -> Result<Duration, Duration> {
        let mut answering = pin!(self.answer());
        let soon = tokio::time::timeout(PATIENCE, &mut answering).await;
        let answer = if let Ok(answer) = soon {
            answer
        } else {
            join(self.publish_fallback_if_unknown(), answering).await.1
        };
        match answer {
            // The answer is about another incarnation: either this one or the answer's is an earlier one.
            Ok(answer) if !self.is_meant(&answer) => {
                warn!(tenant = %self.tenant, "the answered limits are those of another tenant with this id");
                Err(PAUSE)
            }
            Ok(answer) => {
                let heard_at = self.shared.clock.uptime();
                self.publish(&answer);
                self.remember(answer).await;
                Ok(heard_at)
            }
            Err(error) => {
                self.publish_fallback_if_unknown().await;
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                warn!(tenant = %self.tenant, %error, cause, "the tenant's limits cannot be asked for");
                let pause = error.retry_after().unwrap_or(PAUSE);
                Err(pause.clamp(PAUSE, self.shared.interval.max(PAUSE)))
            }
        }
    }

    /// Ends the call, unless more changes than `changes` were announced: then the answer may be outdated.
    fn settle(&mut self, changes: u64, outcome: Result<Duration, Duration>) -> bool {
        let mut state = self.entry.state();
        match outcome {
            Ok(heard_at) if state.changes == changes => state.heard_at = Some(heard_at),
            Ok(_) => return false,
            Err(pause) => state.not_before = self.shared.clock.uptime() + pause,
        }
        // INVARIANT: changes are counted under the same lock, so a change is either seen above, or finds no running
        // call and starts one.
        state.asking = false;
        drop(state);
        self.settled = true;
        true
    }

    async fn answer(&self) -> Result<StoredQuota, HubError> {
        let call = async {
            // The semaphore is never closed. If it were, a call without a permit would be better than none.
            let _turn = self.shared.calls.acquire().await;
            self.shared.source.quota(&self.tenant).await
        };
        tokio::time::timeout(CALL_TIME_MAX, call)
            .await
            .unwrap_or_else(|elapsed| Err(HubError::Unreachable(elapsed.into())))
    }

    /// Whether these are the limits of the incarnation that was asked about.
    fn is_meant(&self, answer: &StoredQuota) -> bool {
        answer.incarnation.is_none_or(|of| *self.entry.incarnation.get_or_init(|| of) == of)
    }

    fn publish(&self, answer: &StoredQuota) {
        let limits = self.shared.defaults.complete(&answer.numbers);
        let tenant_limits = self.entry.known.get_or_init(|| match self.shared.journal.get() {
            Some(journal) => {
                let (incarnation, now) = (self.entry.incarnation.get().copied(), self.shared.clock.uptime());
                Arc::new(TenantLimits::keeping(limits, &self.tenant, incarnation, journal, now))
            }
            None => TenantLimits::new(limits),
        });
        if tenant_limits.current() != limits {
            tenant_limits.change(limits);
            info!(tenant = %self.tenant, ?limits, "the tenant's limits have changed");
        }
        self.entry.told.notify_waiters();
    }

    async fn publish_fallback_if_unknown(&self) {
        if let Some(fallback) = self.fallback().await
            && self.entry.known.get().is_none()
        {
            self.publish(&fallback);
        }
    }

    /// Stores the limits for a start of the node without `HiveHub`.
    async fn remember(&self, answer: StoredQuota) {
        let (shared, tenant) = (Arc::clone(&self.shared), self.tenant.clone());
        let kept = tokio::task::spawn_blocking(move || shared.node_store.store_quota(&tenant, &answer)).await;
        if let Ok(Err(error)) = kept {
            warn!(tenant = %self.tenant, %error, "the tenant's limits cannot be stored for a restart");
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.settled {
            self.entry.state().asking = false;
        }
        // Waiting requests see that the call has ended.
        self.entry.told.notify_waiters();
    }
}
