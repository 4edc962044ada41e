//! The hub's state: a fold of its changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_hivehub::{
    DeploymentName, Extensible, KeyFacts, Permission, PolicyChange, QuotaAnswer, Reason, Scope, TenantFacts,
    TenantStatus, ValidateAnswer, rfc3339,
};
use vectorizer_log::{Incarnation, TenantId, Timestamp};

use super::change::{Change, KeyEntry, Rotated, Told};
use super::error::HubStoreError;
use super::feed::Feed;
use super::limits::{DisplayName, Limits, PlanName};
use super::service_key::ServiceKeyEntry;

const FORMAT_VERSION: u32 = 2;
/// The first format, without plans, overrides, feed and journal.
const FIRST_FORMAT_VERSION: u32 = 1;

/// Everything except the ledger; the content of `hub.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    /// The last line of the journal that is included.
    #[serde(default)]
    pub(super) through: u64,
    #[serde(default = "Feed::new")]
    pub(super) feed: Feed,
    /// The service key of hubs without rotation. Always `None` after reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_key_sha256: Option<KeyHash>,
    /// In the order of their creation.
    #[serde(default)]
    pub(super) service_keys: Vec<ServiceKeyEntry>,
    #[serde(default)]
    pub(super) plans: BTreeMap<PlanName, Limits>,
    pub(super) tenants: BTreeMap<TenantId, TenantEntry>,
    pub(super) keys: BTreeMap<KeyHash, KeyEntry>,
    #[serde(skip)]
    by_id: BTreeMap<KeyId, KeyHash>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// Its name for people.
    pub name: DisplayName,
    /// Its plan's name.
    pub plan: PlanName,
    /// Its status.
    pub status: TenantStatus,
    /// Its overrides of the plan.
    #[serde(default)]
    pub overrides: Limits,
    /// When it was created, if that is known.
    #[serde(default, with = "rfc3339")]
    pub created_at: Option<Timestamp>,
    /// Its incarnation. Always `Some` after reading.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// The deployment that serves it; `None` is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentName>,
    /// The deletion of a deleted tenant, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

/// How a tenant was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// When.
    pub at: Timestamp,
    /// Whether it was suspended then.
    pub was_suspended: bool,
}

/// The effect of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing.
    Nothing,
    /// It changes the state.
    Something,
}

impl State {
    /// The state of an empty hub.
    pub(super) fn new() -> Self {
        Self {
            version: FORMAT_VERSION,
            through: 0,
            feed: Feed::new(),
            service_key_sha256: None,
            service_keys: Vec::new(),
            plans: BTreeMap::new(),
            tenants: BTreeMap::new(),
            keys: BTreeMap::new(),
            by_id: BTreeMap::new(),
        }
    }

    /// Reads the state, and whether it has an older format.
    pub(super) fn from_json(bytes: &[u8]) -> Result<(Self, bool), String> {
        let mut state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if ![FIRST_FORMAT_VERSION, FORMAT_VERSION].contains(&state.version) {
            return Err(format!("its version is {}, this program reads {FORMAT_VERSION}", state.version));
        }
        let is_old = std::mem::replace(&mut state.version, FORMAT_VERSION) != FORMAT_VERSION;
        let only = state.service_key_sha256.take();
        state.service_keys.extend(only.map(|sha256| ServiceKeyEntry::new(sha256, None)));
        let orphan = state
            .keys
            .values()
            .find(|key| key.tenant.as_ref().is_some_and(|tenant| !state.tenants.contains_key(tenant)));
        if let Some(key) = orphan {
            return Err(format!("key {} belongs to a tenant that is not there", key.id));
        }
        if !state.feed.is_whole() {
            return Err("the feed has other events than it says".to_owned());
        }
        // Existing tenants get an incarnation, which differs from later ones.
        for (id, tenant) in &mut state.tenants {
            tenant.incarnation = tenant
                .incarnation
                .or_else(|| Some(incarnation(id, tenant.created_at.unwrap_or_default(), None)));
        }
        state.date_deletions();
        state.by_id = state.keys.iter().map(|(hash, key)| (key.id.clone(), *hash)).collect();
        if state.by_id.len() != state.keys.len() {
            return Err("two keys have the same id".to_owned());
        }
        Ok((state, is_old))
    }

    /// Whether the change is valid, and changes the state. A valid change can always be applied.
    pub(super) fn check(&self, change: &Change) -> Result<Effect, HubStoreError> {
        let differs = match change {
            Change::ServiceKeySet { sha256 } => {
                let is_it =
                    |key: &ServiceKeyEntry| key.sha256 == *sha256 && !key.revoked && key.expires_at.is_none();
                !matches!(&self.service_keys[..], [only] if is_it(only))
            }
            Change::Initialised { sha256, key, .. } => {
                if self.is_initialised() {
                    return Err(HubStoreError::Initialised);
                }
                self.check_new_key(*sha256, key)?;
                true
            }
            Change::ServiceKeyRotated { .. } => true,
            Change::ServiceKeyRevoked { id } => !self.service_key(id)?.revoked,
            Change::PlanSet { name, limits } => self.plans.get(name) != Some(limits),
            Change::TenantCreated { id, plan, .. } => {
                if self.tenants.get(id).is_some_and(|tenant| tenant.status != TenantStatus::Deleted) {
                    return Err(HubStoreError::TenantExists(id.clone()));
                }
                self.check_plan(plan)?;
                true
            }
            Change::TenantSet { id, name, plan, overrides, deployment } => {
                let tenant = self.living_tenant(id)?;
                if tenant.plan != *plan {
                    self.check_plan(plan)?;
                }
                (&tenant.name, &tenant.plan, &tenant.overrides, &tenant.deployment)
                    != (name, plan, overrides, deployment)
            }
            Change::TenantStatusSet { id, status } => {
                let tenant = self.tenant(id)?;
                if tenant.status == TenantStatus::Deleted && *status != TenantStatus::Deleted {
                    return Err(HubStoreError::TenantDeleted(id.clone()));
                }
                tenant.status != *status
            }
            Change::TenantUndeleted { id } => {
                if self.tenant(id)?.status != TenantStatus::Deleted {
                    return Err(HubStoreError::TenantNotDeleted(id.clone()));
                }
                true
            }
            Change::KeyEntered { sha256, key } => {
                self.check_new_key(*sha256, key)?;
                true
            }
            Change::KeyRotated { id, sha256, key, .. } => {
                self.key(id)?;
                self.check_new_key(*sha256, key)?;
                true
            }
            Change::KeyRevoked { id } => !self.key(id)?.1.revoked,
        };
        Ok(if differs { Effect::Something } else { Effect::Nothing })
    }

    /// Applies a change that [`Self::check`] has found valid. Depends only on the state and the change.
    pub(super) fn apply(&mut self, Told { at, change }: Told) {
        match change {
            Change::ServiceKeySet { sha256 } => {
                self.service_keys = vec![ServiceKeyEntry::new(sha256, Some(at))];
            }
            Change::Initialised { service_key_sha256, sha256, key } => {
                self.service_keys = vec![ServiceKeyEntry::new(service_key_sha256, Some(at))];
                self.insert_key(sha256, key);
            }
            Change::ServiceKeyRotated { sha256, old_end_at } => {
                self.service_keys.retain(|key| key.is_live(at));
                for key in &mut self.service_keys {
                    key.expires_at = Some(key.expires_at.map_or(old_end_at, |end| end.min(old_end_at)));
                }
                self.service_keys.push(ServiceKeyEntry::new(sha256, Some(at)));
            }
            Change::ServiceKeyRevoked { id } => {
                for key in self.service_keys.iter_mut().filter(|key| key.id() == id) {
                    key.revoked = true;
                }
            }
            Change::PlanSet { name, limits } => {
                let before = self.plans.insert(name.clone(), limits).unwrap_or_default();
                for (id, tenant) in &self.tenants {
                    let changes = tenant.overrides.over(before) != tenant.overrides.over(limits);
                    if tenant.plan == name && changes && tenant.status != TenantStatus::Deleted {
                        self.feed.push(at, PolicyChange::QuotaChanged { tenant: id.clone() });
                    }
                }
            }
            Change::TenantCreated { id, name, plan, overrides, deployment } => {
                let (status, created_at) = (TenantStatus::Active, Some(at));
                let before = self.tenants.get(&id).and_then(|tenant| tenant.incarnation);
                let incarnation = Some(incarnation(&id, at, before));
                let entry = TenantEntry {
                    name,
                    plan,
                    status,
                    overrides,
                    created_at,
                    incarnation,
                    deployment,
                    deletion: None,
                };
                if self.tenants.insert(id.clone(), entry).is_some() {
                    // Keys of the deleted tenant give no access to the new one with its id.
                    for key in self.keys.values_mut().filter(|key| key.tenant.as_ref() == Some(&id)) {
                        key.revoked = true;
                    }
                    self.feed.push(at, PolicyChange::TenantResumed { tenant: id });
                }
            }
            Change::TenantSet { id, name, plan, overrides, deployment } => {
                let before = self.quota(&id);
                if let Some(tenant) = self.tenants.get_mut(&id) {
                    let moves = tenant.plan != plan;
                    (tenant.name, tenant.plan, tenant.overrides) = (name, plan, overrides);
                    let is_elsewhere =
                        std::mem::replace(&mut tenant.deployment, deployment) != tenant.deployment;
                    if is_elsewhere {
                        self.feed.push(at, PolicyChange::TenantChanged { tenant: id.clone() });
                    }
                    if moves || self.quota(&id) != before {
                        self.feed.push(at, PolicyChange::QuotaChanged { tenant: id });
                    }
                }
            }
            Change::TenantStatusSet { id, status } => self.set_status(at, id, status),
            Change::TenantUndeleted { id } => self.undelete(at, id),
            Change::KeyEntered { sha256, key } => self.insert_key(sha256, key),
            Change::KeyRotated { id, expires_at, sha256, key } => {
                if let Some((key_sha256, old)) = self.key_mut(&id) {
                    old.rotated = Some(Rotated { would_end: old.term() });
                    old.expires_at = expires_at;
                    let tenant = old.tenant.clone();
                    self.feed.push(at, PolicyChange::KeyChanged { key_id: id, key_sha256, tenant });
                }
                self.insert_key(sha256, key);
            }
            Change::KeyRevoked { id } => {
                if let Some((key_sha256, key)) = self.key_mut(&id) {
                    key.revoked = true;
                    let tenant = key.tenant.clone();
                    self.feed.push(at, PolicyChange::KeyRevoked { key_id: id, key_sha256, tenant });
                }
            }
        }
    }

    fn set_status(&mut self, at: Timestamp, id: TenantId, status: TenantStatus) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let was_suspended = tenant.status == TenantStatus::Suspended;
        let is_deleted = status == TenantStatus::Deleted;
        tenant.deletion = is_deleted.then_some(Deletion { at, was_suspended });
        tenant.status = status;
        let (tenant, incarnation) = (id, tenant.incarnation);
        let change = match status {
            TenantStatus::Active => PolicyChange::TenantResumed { tenant },
            TenantStatus::Suspended => PolicyChange::TenantSuspended { tenant },
            TenantStatus::Deleted => PolicyChange::TenantDeleted { tenant, incarnation },
        };
        self.feed.push(at, change);
    }

    fn undelete(&mut self, at: Timestamp, id: TenantId) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let was_suspended = tenant.deletion.take().is_some_and(|it| it.was_suspended);
        tenant.status = if was_suspended { TenantStatus::Suspended } else { TenantStatus::Active };
        let incarnation = tenant.incarnation;
        self.feed.push(at, PolicyChange::TenantUndeleted { tenant: id, incarnation });
    }

    /// Takes the times of deletions from the feed, for tenants that an older hub has deleted.
    fn date_deletions(&mut self) {
        for event in self.feed.kept() {
            let PolicyChange::TenantDeleted { tenant, incarnation } = &event.change else { continue };
            if let Some(entry) = self.tenants.get_mut(tenant)
                && entry.status == TenantStatus::Deleted
                && entry.deletion.is_none()
                && entry.incarnation == *incarnation
            {
                entry.deletion = Some(Deletion { at: event.at, was_suspended: false });
            }
        }
    }

    /// Whether there is or was a service key or an operator's key.
    pub(super) fn is_initialised(&self) -> bool {
        !self.service_keys.is_empty() || self.keys.values().any(|key| key.tenant.is_none())
    }

    pub(super) fn service_key(&self, id: &KeyId) -> Result<&ServiceKeyEntry, HubStoreError> {
        let found = self.service_keys.iter().find(|key| key.id() == *id);
        found.ok_or_else(|| HubStoreError::NoSuchKey(id.clone()))
    }

    pub(super) fn tenant(&self, id: &TenantId) -> Result<&TenantEntry, HubStoreError> {
        self.tenants.get(id).ok_or_else(|| HubStoreError::NoSuchTenant(id.clone()))
    }

    pub(super) fn living_tenant(&self, id: &TenantId) -> Result<&TenantEntry, HubStoreError> {
        let tenant = self.tenant(id)?;
        match tenant.status {
            TenantStatus::Active | TenantStatus::Suspended => Ok(tenant),
            TenantStatus::Deleted => Err(HubStoreError::TenantDeleted(id.clone())),
        }
    }

    /// The quota of a tenant: its overrides, and then its plan. A missing plan has no limits.
    pub(super) fn quota(&self, id: &TenantId) -> Option<Limits> {
        let tenant = self.tenants.get(id)?;
        Some(tenant.overrides.over(self.plans.get(&tenant.plan).copied().unwrap_or_default()))
    }

    pub(super) fn key(&self, id: &KeyId) -> Result<(KeyHash, &KeyEntry), HubStoreError> {
        let found = self.by_id.get(id).and_then(|hash| Some((*hash, self.keys.get(hash)?)));
        found.ok_or_else(|| HubStoreError::NoSuchKey(id.clone()))
    }

    /// The keys in the order of their ids, after `after`.
    pub(super) fn keys_behind(&self, after: Option<&KeyId>) -> impl Iterator<Item = &KeyEntry> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range((from, Bound::Unbounded)).filter_map(|(_, hash)| self.keys.get(hash))
    }

    /// Who holds the key of this hash.
    pub(super) fn validate(&self, key: &KeyHash, now: Timestamp) -> ValidateAnswer {
        let policy_cursor = Some(self.feed.cursor());
        let refused = |reason| ValidateAnswer::Refused { reason: Extensible::Known(reason), policy_cursor };
        let Some(key) = self.keys.get(key) else { return refused(Reason::Unknown) };
        if key.revoked {
            return refused(Reason::Revoked);
        }
        if !key.is_live(now) {
            return refused(Reason::Expired);
        }
        let (scope, tenant) = match &key.tenant {
            None => (Scope::Cluster, None),
            Some(id) => match self.tenants.get(id) {
                None => return refused(Reason::TenantDeleted),
                Some(tenant) if tenant.status == TenantStatus::Deleted => {
                    return refused(Reason::TenantDeleted);
                }
                Some(tenant) => (
                    Scope::Tenant,
                    Some(TenantFacts {
                        id: id.clone(),
                        name: tenant.name.to_string(),
                        plan: tenant.plan.to_string(),
                        status: Extensible::Known(tenant.status),
                        incarnation: tenant.incarnation,
                        deployment: tenant.deployment.clone(),
                    }),
                ),
            },
        };
        ValidateAnswer::Valid(KeyFacts {
            key_id: key.id.clone(),
            permission: Extensible::Known(key.permission),
            scope: Extensible::Known(scope),
            expires_at: key.expires_at,
            tenant,
            policy_cursor,
        })
    }

    /// The answer about a tenant's quota.
    pub(super) fn quota_answer(&self, id: &TenantId) -> Result<QuotaAnswer, HubStoreError> {
        let TenantEntry { status, incarnation, .. } = *self.tenant(id)?;
        let limits = self.quota(id).unwrap_or_default();
        Ok(QuotaAnswer {
            numbers: limits.into(),
            status: Some(Extensible::Known(status)),
            incarnation,
            policy_cursor: Some(self.feed.cursor()),
        })
    }

    fn key_mut(&mut self, id: &KeyId) -> Option<(KeyHash, &mut KeyEntry)> {
        let hash = *self.by_id.get(id)?;
        Some((hash, self.keys.get_mut(&hash)?))
    }

    fn insert_key(&mut self, sha256: KeyHash, key: KeyEntry) {
        self.by_id.insert(key.id.clone(), sha256);
        self.keys.insert(sha256, key);
    }

    fn check_plan(&self, plan: &PlanName) -> Result<(), HubStoreError> {
        if self.plans.contains_key(plan) { Ok(()) } else { Err(HubStoreError::NoSuchPlan(plan.clone())) }
    }

    fn check_new_key(&self, sha256: KeyHash, key: &KeyEntry) -> Result<(), HubStoreError> {
        match &key.tenant {
            Some(id) => drop(self.living_tenant(id)?),
            None if key.permission != Permission::Admin => return Err(HubStoreError::LesserClusterKey),
            None => {}
        }
        if self.by_id.contains_key(&key.id) || self.keys.contains_key(&sha256) {
            return Err(HubStoreError::KeyExists(key.id.clone()));
        }
        Ok(())
    }
}

/// The incarnation of a tenant that is created at `at`, later than `before` whatever the clock says. It depends on
/// nothing else, so the fold of the journal makes the same one again.
fn incarnation(id: &TenantId, at: Timestamp, before: Option<Incarnation>) -> Incarnation {
    let milliseconds = u64::try_from(at.micros() / 1_000).unwrap_or_default();
    let after_that = before.map_or(0, |before| before.millis().saturating_add(1));
    let hash = blake3::hash(format!("{id} {}", at.micros()).as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hash.as_bytes()[..10]);
    Incarnation::at_millis(milliseconds.max(after_that), &random)
}
