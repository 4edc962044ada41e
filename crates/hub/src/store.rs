//! The hub: its state in `hub.json` and `hub.journal`, and its ledger.
//!
//! A change is decided against the state, appended to the journal, synced, and only then visible. At the start the
//! journal is folded into the state of `hub.json`. When the journal is large, `hub.json` is replaced (temporary file,
//! fsync, rename, fsync of the folder) and a new journal begun. A file that cannot be read is an error, and is left
//! as it is.

use std::fs::{self, File, TryLockError};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;
use tracing::error;
use vectorizer_access::{ApiKey, Environment, KeyHash, KeyId};
use vectorizer_durable::sync_folder_of;
use vectorizer_hivehub::{
    DeploymentName, POLICY_EVENTS_MAX, Permission, PoliciesAnswer, PolicyCursor, QuotaAnswer, TenantStatus,
    UsageEvent, ValidateAnswer,
};
use vectorizer_journal::Journal;
use vectorizer_log::{TenantId, Timestamp};

use super::change::{Change, KeyEntry, OVERLAP_SECONDS_MAX, Told};
use super::error::HubStoreError;
use super::feed::CursorLost;
use super::files::{read_bounded, write_private};
use super::ledger::{Entry, Ledger, Totals, UsageFilter, UsagePage};
use super::limits::{DisplayName, Limits, PlanName};
use super::state::{Deletion, Effect, State, TenantEntry};

const STATE_FILE: &str = "hub.json";
const JOURNAL_FILE: &str = "hub.journal";
const LEDGER_FILE: &str = "usage.ledger";
const LOCK_FILE: &str = "lock";

/// Room for some hundred thousand keys.
const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The size of the journal, or its size above that of the state, at which a new one is begun.
const JOURNAL_BYTES_USUAL: u64 = 4 * 1024 * 1024;

/// How many events of a tenant are read for one page.
const SEEN_MAX: u64 = 10_000;

/// The default time in which a deletion can be undone: a week, the time for which nodes keep the data of deleted
/// tenants.
pub const DELETE_GRACE_SECONDS: u64 = 7 * 24 * 60 * 60;

/// A hub and its folder. Cheap to clone; the clones are the same hub.
///
/// Methods that change something return when the change is durable. They write files, so they must be called where
/// blocking is allowed.
#[derive(Clone)]
pub struct Hub {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    folder: PathBuf,
    /// Locked while reading or applying, never while a file is written.
    state: RwLock<State>,
    /// One change at a time.
    journal: Mutex<Kept>,
    /// One batch of usage at a time.
    pub(super) ledger: Mutex<Ledger>,
    /// The feed's position, for long polls.
    pub(super) moved: watch::Sender<u64>,
    /// Whether long polls should end.
    pub(super) stopping: watch::Sender<bool>,
    delete_grace_seconds: AtomicU64,
    /// The service key of a server in this process, if it has one.
    pub(super) lent_service_key: RwLock<Option<KeyHash>>,
    /// Locked while the hub exists: two hubs on one folder would overwrite each other's changes.
    _lock: File,
}

struct Kept {
    journal: Journal,
    /// The size at which a new journal is begun.
    bytes_max: u64,
}

/// A key to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it may do.
    pub permission: Permission,
    /// Its tenant; `None` is the operator's, of cluster scope.
    pub tenant: Option<TenantId>,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// The outcome of an event of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It was accepted.
    Accepted,
    /// It had been accepted before.
    Duplicate,
    /// It is rejected for this reason.
    Rejected(String),
}

impl From<Entry> for Reported {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Accepted => Self::Accepted,
            Entry::Duplicate => Self::Duplicate,
            Entry::Rejected(rejection) => Self::Rejected(rejection.to_string()),
        }
    }
}

/// A tenant to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: DisplayName,
    /// Its plan, which must exist.
    pub plan: PlanName,
    /// Its overrides of the plan.
    pub overrides: Limits,
    /// The deployment that serves it; `None` is any.
    pub deployment: Option<DeploymentName>,
}

impl Hub {
    /// Opens the hub in `folder`, which is created if it does not exist. An empty folder is a hub without tenants and
    /// keys, which refuses every call until it has a service key.
    pub fn open(folder: &Path) -> Result<Self, HubStoreError> {
        let at_folder = |source| HubStoreError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).and_then(|()| sync_folder_of(folder)).map_err(at_folder)?;
        let lock = File::create(folder.join(LOCK_FILE)).map_err(at_folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HubStoreError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(at_folder(source)),
        }
        let path = folder.join(STATE_FILE);
        let (found, state_bytes) = match read_bounded(&path, STATE_BYTES_MAX)? {
            None => (None, 0),
            Some(bytes) => {
                let damaged = |reason| HubStoreError::Damaged { path: path.clone(), reason };
                (Some(State::from_json(&bytes).map_err(damaged)?), bytes.len() as u64)
            }
        };
        let (mut state, is_new) = found.unwrap_or_else(|| (State::new(), true));
        if is_new {
            // Written at once, since the feed's id must not change.
            write_private(&path, &state)?;
        }
        let through = state.through;
        let journal = Journal::open(&folder.join(JOURNAL_FILE), through + 1, &mut |line, _| {
            if line.number <= through {
                return Ok(());
            }
            let told: Told = serde_json::from_str(line.text).map_err(|error| error.to_string())?;
            state.check(&told.change).map_err(|error| error.to_string())?;
            state.apply(told);
            state.through = line.number;
            Ok(())
        })?;
        if state.through != journal.last() {
            let reason = format!("it goes to {} and {STATE_FILE} to {through}", journal.last());
            return Err(HubStoreError::Damaged { path: folder.join(JOURNAL_FILE), reason });
        }
        let ledger = Ledger::open(&folder.join(LEDGER_FILE))?;
        let moved = watch::Sender::new(state.feed.cursor().position());
        let bytes_max = JOURNAL_BYTES_USUAL.max(state_bytes);
        let hub = Self {
            shared: Arc::new(Shared {
                folder: folder.to_owned(),
                state: RwLock::new(state),
                journal: Mutex::new(Kept { journal, bytes_max }),
                ledger: Mutex::new(ledger),
                moved,
                stopping: watch::Sender::new(false),
                delete_grace_seconds: AtomicU64::new(DELETE_GRACE_SECONDS),
                lent_service_key: RwLock::default(),
                _lock: lock,
            }),
        };
        Ok(hub)
    }

    /// Whether a hub was ever opened in `folder`.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(STATE_FILE).exists()
    }

    /// Whether `key` is a valid operator's key: ADMIN, of cluster scope.
    pub fn is_operator_key(&self, key: &str) -> bool {
        let Ok(key) = ApiKey::parse(key) else { return false };
        self.state().keys.get(&key.sha256()).is_some_and(|key| {
            key.is_live(Timestamp::now()) && key.tenant.is_none() && key.permission == Permission::Admin
        })
    }

    /// Sets the limits of a plan, which is created if it does not exist.
    pub fn set_plan(&self, name: &PlanName, limits: Limits) -> Result<(), HubStoreError> {
        self.change(|_| Ok(Change::PlanSet { name: name.clone(), limits })).map(drop)
    }

    /// The limits of a plan.
    pub fn plan(&self, name: &PlanName) -> Result<Limits, HubStoreError> {
        self.state().plans.get(name).copied().ok_or_else(|| HubStoreError::NoSuchPlan(name.clone()))
    }

    /// The first `count_max` plans after `after`, by name.
    pub fn plans(&self, after: Option<&PlanName>, count_max: usize) -> Vec<(PlanName, Limits)> {
        let state = self.state();
        let plans = state.plans.iter().filter(|(name, _)| after.is_none_or(|after| *name > after));
        plans.take(count_max).map(|(name, limits)| (name.clone(), *limits)).collect()
    }

    /// Creates an active tenant. A deleted one can be created again, without its earlier keys.
    pub fn create_tenant(&self, new: &NewTenant) -> Result<(), HubStoreError> {
        let NewTenant { id, name, plan, overrides, deployment } = new.clone();
        self.change(|_| Ok(Change::TenantCreated { id, name, plan, overrides, deployment })).map(drop)
    }

    /// Changes a tenant's name, plan, overrides and deployment by `change`.
    pub fn set_tenant(
        &self,
        id: &TenantId,
        change: impl FnOnce(&mut TenantEntry),
    ) -> Result<(), HubStoreError> {
        self.change(|state| {
            let mut tenant = state.living_tenant(id)?.clone();
            change(&mut tenant);
            let TenantEntry { name, plan, overrides, deployment, .. } = tenant;
            Ok(Change::TenantSet { id: id.clone(), name, plan, overrides, deployment })
        })
        .map(drop)
    }

    /// Suspends, resumes or deletes a tenant. The entry of a deleted one stays, so that its keys are refused with the
    /// right reason. It cannot be resumed.
    pub fn set_tenant_status(&self, id: &TenantId, status: TenantStatus) -> Result<(), HubStoreError> {
        self.change(|_| Ok(Change::TenantStatusSet { id: id.clone(), status })).map(drop)
    }

    /// Undoes a tenant's deletion within the grace. The tenant is the same incarnation, with its keys.
    pub fn undelete_tenant(&self, id: &TenantId) -> Result<(), HubStoreError> {
        let (grace, now) = (self.delete_grace(), Timestamp::now());
        self.change(|state| {
            let tenant = state.tenant(id)?;
            if tenant.status != TenantStatus::Deleted {
                return Err(HubStoreError::TenantNotDeleted(id.clone()));
            }
            if tenant.deletion.is_none_or(|deletion| until(deletion, grace) <= now) {
                return Err(HubStoreError::GraceOver { tenant: id.clone(), grace: grace.as_secs() });
            }
            Ok(Change::TenantUndeleted { id: id.clone() })
        })
        .map(drop)
    }

    /// For how long a deletion can be undone.
    pub fn delete_grace(&self) -> Duration {
        Duration::from_secs(self.shared.delete_grace_seconds.load(Ordering::Relaxed))
    }

    /// Sets for how long a deletion can be undone. It should not be longer than nodes keep the data of deleted
    /// tenants.
    pub fn set_delete_grace(&self, grace: Duration) {
        self.shared.delete_grace_seconds.store(grace.as_secs(), Ordering::Relaxed);
    }

    /// A tenant and its quota.
    pub fn tenant(&self, id: &TenantId) -> Result<(TenantEntry, Limits), HubStoreError> {
        let state = self.state();
        Ok((state.tenant(id)?.clone(), state.quota(id).unwrap_or_default()))
    }

    /// The first `count_max` tenants after `after` with their quotas, by id.
    pub fn tenants(
        &self,
        after: Option<&TenantId>,
        count_max: usize,
    ) -> Vec<(TenantId, TenantEntry, Limits)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let tenants = state.tenants.range::<TenantId, _>((from, Bound::Unbounded)).take(count_max);
        tenants
            .map(|(id, tenant)| (id.clone(), tenant.clone(), state.quota(id).unwrap_or_default()))
            .collect()
    }

    /// The answer about a tenant's quota.
    pub fn quota(&self, id: &TenantId) -> Result<QuotaAnswer, HubStoreError> {
        self.state().quota_answer(id)
    }

    /// Makes a key. Only its hash is stored, so the key is returned once only.
    pub fn create_key(&self, environment: Environment, new: &NewKey) -> Result<ApiKey, HubStoreError> {
        let key = new_key(environment)?;
        self.enter_key(&key, new)?;
        Ok(key)
    }

    /// Adds a key that was made elsewhere.
    pub fn enter_key(&self, key: &ApiKey, new: &NewKey) -> Result<(), HubStoreError> {
        self.change(|_| Ok(Change::KeyEntered { sha256: key.sha256(), key: entry(key, new.clone()) }))
            .map(drop)
    }

    /// Rotates the key `id`: makes one with the same rights. The old key stays valid for `overlap_seconds`. The new
    /// key expires when the old one would have, also if that was rotated before.
    pub fn rotate_key(
        &self,
        environment: Environment,
        id: &KeyId,
        overlap_seconds: u32,
    ) -> Result<ApiKey, HubStoreError> {
        if overlap_seconds > OVERLAP_SECONDS_MAX {
            return Err(HubStoreError::OverlapTooLong);
        }
        let key = new_key(environment)?;
        let now = Timestamp::now();
        let overlap_end = Timestamp::from_micros(now.micros() + i64::from(overlap_seconds) * 1_000_000);
        self.change(|state| {
            let (_, old) = state.key(id)?;
            if !old.is_live(now) {
                return Err(HubStoreError::KeyEnded(id.clone()));
            }
            let KeyEntry { permission, tenant, expires_at, .. } = old.clone();
            let term = old.term();
            let ends = expires_at.map_or(overlap_end, |end| end.min(overlap_end));
            Ok(Change::KeyRotated {
                id: id.clone(),
                expires_at: Some(ends),
                sha256: key.sha256(),
                key: entry(&key, NewKey { permission, tenant, expires_at: term }),
            })
        })?;
        Ok(key)
    }

    /// Revokes a key.
    pub fn revoke_key(&self, id: &KeyId) -> Result<(), HubStoreError> {
        self.change(|_| Ok(Change::KeyRevoked { id: id.clone() })).map(drop)
    }

    /// Whether a key of this hash exists, valid or not.
    pub fn knows_key(&self, key: &KeyHash) -> bool {
        self.state().keys.contains_key(key)
    }

    /// The entry of a key.
    pub fn key(&self, id: &KeyId) -> Result<KeyEntry, HubStoreError> {
        self.state().key(id).map(|(_, key)| key.clone())
    }

    /// The first `count_max` keys after `after`, by id: those of one tenant, or all.
    pub fn keys(&self, of: Option<&TenantId>, after: Option<&KeyId>, count_max: usize) -> Vec<KeyEntry> {
        let state = self.state();
        let keys = state.keys_behind(after).filter(|key| of.is_none_or(|id| key.tenant.as_ref() == Some(id)));
        keys.take(count_max).cloned().collect()
    }

    /// The cursor after the policy feed's newest event.
    pub fn policy_cursor(&self) -> PolicyCursor {
        self.state().feed.cursor()
    }

    /// The events of the policy feed after `since`.
    pub(super) fn policies(&self, since: PolicyCursor) -> Result<PoliciesAnswer, CursorLost> {
        let events = self.state().feed.since(since, POLICY_EVENTS_MAX)?;
        let position = events.last().map_or(since.position(), |event| event.position);
        Ok(PoliciesAnswer { cursor: PolicyCursor::new(since.feed(), position), events })
    }

    /// Receivers for long polls: the feed's position, and the hub's stop.
    pub(super) fn waits(&self) -> (watch::Receiver<u64>, watch::Receiver<bool>) {
        (self.shared.moved.subscribe(), self.shared.stopping.subscribe())
    }

    /// Enters usage into the ledger, each event once. Returns the outcome of each. All accepted events are durable
    /// when this returns.
    pub fn report(&self, events: &[UsageEvent]) -> Result<Vec<Reported>, HubStoreError> {
        let known: Vec<_> = {
            let state = self.state();
            // The last bill of a deleted tenant arrives after the deletion.
            events.iter().map(|event| state.tenants.contains_key(&event.source.0)).collect()
        };
        let those_known = events.iter().zip(&known).filter(|(_, known)| **known);
        let mut entries =
            self.ledger().enter(those_known.map(|(event, _)| event))?.into_iter().map(Reported::from);
        let unknown = || Reported::Rejected("there is no such tenant".to_owned());
        Ok(known
            .iter()
            .map(|known| known.then(|| entries.next()).flatten().unwrap_or_else(unknown))
            .collect())
    }

    /// A tenant's events that match `filter`, after the one numbered `after`, at most `count_max`. A page may have
    /// fewer events without being the last one, since the work for a page is bounded.
    pub fn usage(
        &self,
        tenant: &TenantId,
        filter: &UsageFilter,
        after: u64,
        count_max: usize,
    ) -> Result<UsagePage, HubStoreError> {
        self.state().tenant(tenant)?;
        let mut page = UsagePage { events: Vec::new(), next: None };
        let mut seen = after;
        while seen.saturating_sub(after) < SEEN_MAX {
            let stretch = self.ledger().stretch(tenant, seen);
            let Some(stretch) = stretch else { return Ok(page) };
            for (number, event) in stretch.read()? {
                if filter.fits(&event) {
                    if page.events.len() == count_max {
                        page.next = Some(seen);
                        return Ok(page);
                    }
                    page.events.push(event);
                }
                seen = number;
            }
        }
        page.next = Some(seen);
        Ok(page)
    }

    /// The totals of each of a tenant's meters.
    pub fn usage_totals(&self, tenant: &TenantId) -> Result<Vec<Totals>, HubStoreError> {
        self.state().tenant(tenant)?;
        Ok(self.ledger().totals(tenant))
    }

    /// Ends all long polls, also later ones: the hub stops.
    pub fn stop_waiting(&self) {
        self.shared.stopping.send_replace(true);
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change.
    pub(super) fn change(
        &self,
        decide: impl FnOnce(&State) -> Result<Change, HubStoreError>,
    ) -> Result<Effect, HubStoreError> {
        // IMPORTANT, the order: lock, decide, write, sync, apply, notify. Nothing is visible before it is durable.
        let mut kept = self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let change = {
            let state = self.state();
            let change = decide(&state)?;
            if state.check(&change)? == Effect::Nothing {
                return Ok(Effect::Nothing);
            }
            change
        };
        let told = Told { at: Timestamp::now(), change };
        let text = serde_json::to_string(&told).map_err(|error| HubStoreError::Io {
            path: self.shared.folder.join(JOURNAL_FILE),
            source: error.into(),
        })?;
        kept.journal.stage(&text);
        kept.journal.commit()?;
        let position = {
            let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
            state.apply(told);
            state.through = kept.journal.last();
            state.feed.cursor().position()
        };
        self.shared.moved.send_if_modified(|seen| std::mem::replace(seen, position) != position);
        if kept.journal.bytes() > kept.bytes_max
            && let Err(error) = self.begin_journal_again(&mut kept)
        {
            // The change is durable. Replacing the journal is tried again after the next change, or the journal is
            // broken.
            error!(%error, "the hub's journal could not be replaced");
        }
        Ok(Effect::Something)
    }

    /// Writes the whole state, and begins a new journal.
    fn begin_journal_again(&self, kept: &mut Kept) -> Result<(), HubStoreError> {
        let state_path = self.shared.folder.join(STATE_FILE);
        let path = self.shared.folder.join(JOURNAL_FILE);
        // The journal's lock excludes changes, not reads.
        let state = self.state().clone();
        write_private(&state_path, &state)?;
        // From here on a start skips the old lines, so they may be lost.
        let fresh = path.with_extension("journal.fresh");
        let io = |source| HubStoreError::Io { path: path.clone(), source };
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let fresh = Journal::open(&fresh, state.through + 1, &mut |_, _| Ok(()))?;
        fresh.replace(&mut kept.journal, &path)?;
        let bytes = fs::metadata(&state_path).map_err(io)?.len();
        kept.bytes_max = JOURNAL_BYTES_USUAL.max(bytes);
        Ok(())
    }

    /// The answer about the key of this hash.
    ///
    /// The key of a suspended tenant is answered as valid, with the tenant's status: the key is genuine, and servers
    /// distinguish "suspended" (403) from "unknown" (401). The key of a deleted tenant is refused like a revoked one.
    pub fn validate(&self, key: &KeyHash) -> ValidateAnswer {
        self.state().validate(key, Timestamp::now())
    }
}

/// Until when a deletion can be undone.
pub(super) fn until(deletion: Deletion, grace: Duration) -> Timestamp {
    let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(deletion.at.micros().saturating_add(grace))
}

pub(super) fn new_key(environment: Environment) -> Result<ApiKey, HubStoreError> {
    let mut entropy = [0; ApiKey::ENTROPY_BYTES];
    getrandom::fill(&mut entropy).map_err(HubStoreError::NoEntropy)?;
    Ok(ApiKey::generate(environment, &entropy))
}

pub(super) fn entry(key: &ApiKey, NewKey { permission, tenant, expires_at }: NewKey) -> KeyEntry {
    let created_at = Some(Timestamp::now());
    KeyEntry { id: key.id(), permission, tenant, expires_at, revoked: false, created_at, rotated: None }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
