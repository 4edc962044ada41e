//! Which limits hold for which tenant.
//!
//! A tenant's limits are asked for when it first comes, and then every `quota_check_interval` for as
//! long as it comes, behind the answer; and at once when the policy feed says that they have changed. While
//! `HiveHub` cannot be asked the last known ones hold, those of an earlier life of the node too. Nobody is
//! ever served without limits: a tenant of which nothing is known waits.

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

use super::limits::{DefaultLimits, Limits};
use super::rate_limiter::{RateReport, RequestLimiter, RequestRefused, Used};
use super::request_journal::{Entry as JournalEntry, RequestJournal, Wanted};

/// Tenants whose limits are in memory. Customers, not strangers: each came with a valid key.
const TENANTS_MAX: usize = 1_000_000;
/// A tenant that has not come for so long is forgotten here. Longer than the longest window, so that it
/// cannot win anything by staying away.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(2);
/// How many answers are taken in between two looks for tenants to forget.
const FORGET_EVERY: u64 = 4_096;
/// Questions to `HiveHub` under way at the same time.
const CALLS_MAX: usize = 32;
/// How long a question may take, waiting for its turn included.
const CALL_TIME_MAX: Duration = Duration::from_secs(6);
/// How long an answer is waited for where an older one could do.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often what was used of the limits is written down. A crash gives back what was used since.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often is said that it cannot be.
const SHOUT_EVERY: Duration = Duration::from_mins(1);
/// How long after a failure the next question is asked, and when whoever waits should come back.
const PAUSE: Duration = Duration::from_secs(2);

/// Who knows the limits: `HiveHub`, or a double of it.
pub trait QuotaSource: Send + Sync + 'static {
    /// The limits of a tenant's plan. Ends within a bounded time.
    fn quota<'call>(&'call self, tenant: &'call TenantId) -> BoxFuture<'call, Result<StoredQuota, HubError>>;
}

impl QuotaSource for HiveHubClient {
    fn quota<'call>(&'call self, tenant: &'call TenantId) -> BoxFuture<'call, Result<StoredQuota, HubError>> {
        Box::pin(async move {
            // A tenant whose key is valid and whose plan nobody knows: as good as no answer.
            let QuotaVerdict::Quota(answer) = Self::quota(self, tenant).await? else {
                return Err(HubError::Garbage(Garbage::Status(404)));
            };
            let QuotaAnswer {
                storage_bytes,
                log_bytes,
                vectors,
                collections,
                requests_per_minute,
                requests_per_hour,
                // Who may be served is the key's answer and the feed's, and what is older than a change is
                // asked for again.
                status: _,
                incarnation,
                policy_cursor: _,
            } = answer;
            Ok(StoredQuota {
                storage_bytes,
                log_bytes,
                vectors,
                collections,
                requests_per_minute,
                requests_per_hour,
                incarnation,
            })
        })
    }
}

/// What one tenant may use and what it has used of its requests. All keys of a tenant share it.
#[derive(Debug)]
pub struct TenantLimits {
    limits: RwLock<Limits>,
    requests: RequestLimiter,
    /// Where is told that a request was let in, for the next life of the node.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    tenant: TenantId,
    journal: RequestJournal,
    /// Whether that was told since it was written down last.
    is_told: AtomicBool,
}

/// Why there are no limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsUnavailable {
    /// Nothing is known of the tenant's limits, and `HiveHub` cannot be asked.
    #[error("the tenant's limits cannot be asked for at the moment")]
    Unknown {
        /// When to come back.
        retry_after: Duration,
    },
    /// Another tenant has the id by now.
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
    /// Where what was used of the limits is kept, if it is.
    journal: OnceLock<RequestJournal>,
}

/// What is known of a tenant, and what is being asked.
struct Entry {
    /// Of those who have had the tenant's id, the one this is about, once that is known.
    incarnation: OnceLock<Incarnation>,
    /// Empty until the first answer.
    known: OnceLock<Arc<TenantLimits>>,
    /// Wakes who waits, when the answer is known and when a question has ended.
    told: Notify,
    state: Mutex<EntryState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct EntryState {
    /// When the limits were last heard of, or found on disk with no age known.
    heard_at: Option<Duration>,
    /// Before this nobody is asked again.
    not_before: Duration,
    used_at: Duration,
    /// Counts the changes that were announced.
    changes: u64,
    /// Whether a question is under way.
    asking: bool,
}

impl TenantLimits {
    /// Of these limits.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self::with(limits, None))
    }

    fn with(limits: Limits, kept: Option<Kept>) -> Self {
        Self { requests: RequestLimiter::new(limits.requests), limits: RwLock::new(limits), kept }
    }

    /// The same, with what was used in an earlier life of the node, and kept for the next one.
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

    /// Of a tenant that nobody counts: the one of a server without keys.
    pub fn unlimited() -> Arc<Self> {
        Self::new(Limits::default())
    }

    /// The limits as they are now.
    pub fn current(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges a request at `now`, the uptime of the node, unless it comes too early; and how the limits
    /// stand then, if there are any.
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

    /// What is used at `now`, for the journal: what is used later is told anew.
    fn used(&self, now: Duration) -> Used {
        if let Some(kept) = &self.kept {
            kept.is_told.store(false, Ordering::Release);
        }
        self.requests.used(now)
    }

    /// How the limits on requests stand.
    pub fn report(&self, now: Duration) -> Option<RateReport> {
        self.requests.report(now)
    }

    fn change(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        self.requests.change(limits.requests);
    }
}

impl QuotaManager {
    /// Asks `source`, at most every `interval` for each tenant, and remembers what it says in `node_store`.
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

    /// What was used of the limits outlasts the process, in the `node` folder. Reads what an earlier life of the node
    /// has left there. Before any tenant comes.
    #[must_use]
    pub fn keeping_requests_in(self, node: &Path) -> Self {
        let _ = self.shared.journal.set(RequestJournal::open(node));
        self
    }

    /// Writes down what was used of the limits, once a second, until `stop` is cancelled, and then once more.
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
                warn!(
                    failure,
                    "what tenants use of their limits cannot be written down: a restart would give it back"
                );
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

    /// The limits of a tenant that came with a valid key; of this one of those who have had its id, if that
    /// is known. Waits only if nothing is known of it in memory.
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
                // Before looking, so that nothing is told unheard.
                let mut told = pin!(entry.told.notified());
                told.as_mut().enable();
                let is_asked = entry.state().asking;
                if entry.known.get().is_some() || !is_asked {
                    return;
                }
                told.await;
            }
        });
        // It is known now, or the question has failed.
        let _ = answered.await;
        entry.known.get().cloned().ok_or(LimitsUnavailable::Unknown { retry_after: PAUSE })
    }

    /// What is known of a tenant, without asking anyone.
    pub fn known(&self, tenant: &TenantId) -> Option<Limits> {
        let entry = self.shared.tenants().get(tenant).cloned();
        let in_memory =
            entry.and_then(|entry| entry.known.get().map(|tenant_limits| tenant_limits.current()));
        in_memory
            .or_else(|| self.shared.remembered(tenant).map(|answer| self.shared.defaults.complete(&answer)))
    }

    /// How a tenant's limits on requests stand, as far as they are known. Asks nobody and charges nothing.
    pub fn report(&self, tenant: &TenantId) -> Option<RateReport> {
        let entry = self.shared.tenants().get(tenant).cloned()?;
        entry.known.get()?.report(self.shared.clock.uptime())
    }

    /// The limits of this tenant have changed: they are asked for at once, if it is known here.
    pub fn changed(&self, tenant: &TenantId) {
        let entry = self.shared.tenants().get(tenant).cloned();
        if let Some(entry) = entry {
            entry.outdate();
            self.shared.ask(tenant, &entry);
        }
    }

    /// Any limits may have changed: each is asked for when its tenant comes next.
    pub fn all_changed(&self) {
        for entry in self.shared.tenants().values() {
            entry.outdate();
        }
    }

    /// How many tenants are known in memory.
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
    /// Whether it is about this one of those who have had the id, for certain or as far as anybody says.
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

    /// The entry of this one of those who have had the id. What is known of an earlier one is forgotten: it
    /// says nothing about this one.
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

    /// Asks about a tenant, unless that is being done.
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

    /// One writing of what was used of the limits.
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
        // After a failure some are there once more.
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
            // So that it is tried again when nothing more comes.
            for tenant in changed {
                journal.changed(tenant);
            }
        })
    }

    fn remembered(&self, tenant: &TenantId) -> Option<StoredQuota> {
        self.node_store.quota(tenant).unwrap_or_else(|error| {
            warn!(%tenant, %error, "the limits known before cannot be read");
            None
        })
    }

    /// Forgets tenants that have not come for long and that nobody holds.
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

/// A question under way. However it ends, the tenant can be asked about again.
struct Question {
    shared: Arc<Shared>,
    tenant: TenantId,
    entry: Arc<Entry>,
    settled: bool,
}

impl Question {
    async fn put(mut self) {
        // Once more for each change that is announced meanwhile, and no more often.
        loop {
            let changes = self.entry.state().changes;
            let outcome = self.ask_hub().await;
            if self.settle(changes, outcome) {
                break;
            }
        }
        self.shared.forget_some();
    }

    /// What an earlier life of the node knew of a tenant that this one knows nothing of.
    async fn fallback(&self) -> Option<StoredQuota> {
        if self.entry.known.get().is_some() {
            return None;
        }
        let (shared, tenant) = (Arc::clone(&self.shared), self.tenant.clone());
        let remembered = tokio::task::spawn_blocking(move || shared.remembered(&tenant)).await.ok().flatten();
        remembered.filter(|fallback| self.is_meant(fallback))
    }

    /// Takes in `HiveHub`'s answer, and says when it came or how long to leave `HiveHub` alone. Whoever waits
    /// is given the fallback when it does not come soon.
    async fn ask_hub(&self) -> Result<Duration, Duration> {
        let mut answering = pin!(self.answer());
        let soon = tokio::time::timeout(PATIENCE, &mut answering).await;
        let answer = if let Ok(answer) = soon {
            answer
        } else {
            join(self.publish_fallback_if_unknown(), answering).await.1
        };
        match answer {
            // Of another tenant of this id: either this is one of the past, or the answer is.
            Ok(answer) if !self.is_meant(&answer) => {
                warn!(tenant = %self.tenant, "the limits that were answered are those of another tenant of this id");
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

    /// Ends the question, unless limits have changed since `changes` were counted: then the answer is not
    /// the last word.
    fn settle(&mut self, changes: u64, outcome: Result<Duration, Duration>) -> bool {
        let mut state = self.entry.state();
        match outcome {
            Ok(heard_at) if state.changes == changes => state.heard_at = Some(heard_at),
            Ok(_) => return false,
            Err(pause) => state.not_before = self.shared.clock.uptime() + pause,
        }
        // INVARIANT: under the lock that changes are counted under, so one is either seen above or finds
        // nobody asking and asks itself.
        state.asking = false;
        drop(state);
        self.settled = true;
        true
    }

    async fn answer(&self) -> Result<StoredQuota, HubError> {
        let call = async {
            // Never closed; and if it were, asking without a permit would be the lesser harm.
            let _turn = self.shared.calls.acquire().await;
            self.shared.source.quota(&self.tenant).await
        };
        tokio::time::timeout(CALL_TIME_MAX, call)
            .await
            .unwrap_or_else(|elapsed| Err(HubError::Unreachable(elapsed.into())))
    }

    /// Whether these are the limits of the one of those who have had the id that was asked about.
    fn is_meant(&self, answer: &StoredQuota) -> bool {
        answer.incarnation.is_none_or(|of| *self.entry.incarnation.get_or_init(|| of) == of)
    }

    fn publish(&self, answer: &StoredQuota) {
        let limits = self.shared.defaults.complete(answer);
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

    /// For a life of the node that begins without `HiveHub`.
    async fn remember(&self, answer: StoredQuota) {
        let (shared, tenant) = (Arc::clone(&self.shared), self.tenant.clone());
        let kept = tokio::task::spawn_blocking(move || shared.node_store.store_quota(&tenant, &answer)).await;
        if let Ok(Err(error)) = kept {
            warn!(tenant = %self.tenant, %error, "the tenant's limits cannot be kept for a restart");
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.settled {
            self.entry.state().asking = false;
        }
        // Whoever waits sees that nothing will come.
        self.entry.told.notify_waiters();
    }
}
