//! What is said between the operator and the hub (`docs/hivehub.openapi.yaml`, tag `admin`).

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use vectorizer_access::{ApiKey, Environment, KeyId};
use vectorizer_hivehub::{DeploymentName, Permission, Scope, TenantStatus, Unit, present, rfc3339};
use vectorizer_log::{Incarnation, LogId, Meter, Seq, TenantId, Timestamp};

use crate::change::KeyEntry;
use crate::ledger::{Totals, UsageFilter};
use crate::limits::{DisplayName, Limit, Limits, PlanName};
use crate::service_key::ServiceKeyEntry;
use crate::state::TenantEntry;
use crate::store::until;

/// The most that one answer lists.
pub const PAGE_MAX: usize = 1_000;

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// Its name.
    pub name: PlanName,
    /// What it allows; null is left to the server's configuration.
    pub quota: Limits,
}

/// Some plans, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlansAnswer {
    /// The plans.
    pub plans: Vec<PlanView>,
    /// Behind which to go on; null if there are no more.
    #[serde(deserialize_with = "present")]
    pub next: Option<PlanName>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantView {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: DisplayName,
    /// Its plan.
    pub plan: PlanName,
    /// Whether it is served.
    pub status: TenantStatus,
    /// What it may use instead of what the plan says; null is what the plan says.
    pub overrides: Limits,
    /// What it may use in the end; null is left to the server's configuration.
    pub quota: Limits,
    /// When it was created; null if that is not known.
    #[serde(with = "rfc3339")]
    pub created_at: Option<Timestamp>,
    /// Which of those who have had the id.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// The deployment that serves it; null is any.
    #[serde(default)]
    pub deployment: Option<DeploymentName>,
    /// Of a deleted tenant: when it was; null if that is not known.
    #[serde(default, with = "rfc3339")]
    pub deleted_at: Option<Timestamp>,
    /// Of a deleted tenant: until when the deletion can be taken back.
    #[serde(default, with = "rfc3339")]
    pub undelete_until: Option<Timestamp>,
}

/// Some tenants, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantsAnswer {
    /// The tenants.
    pub tenants: Vec<TenantView>,
    /// Behind which to go on; null if there are no more.
    #[serde(deserialize_with = "present")]
    pub next: Option<TenantId>,
}

/// A tenant to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its id.
    pub id: TenantId,
    /// Its name for people; its id if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// Its plan.
    pub plan: PlanName,
    /// What it may use instead of what the plan says.
    #[serde(default)]
    pub overrides: Limits,
    /// The deployment that serves it; any if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentName>,
}

/// What is to change of a tenant; what is not there stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetTenant {
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// Its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanName>,
    /// Its overrides.
    pub overrides: SetOverrides,
    /// The deployment that serves it; null is any.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Option<DeploymentName>>,
}

/// What is to change of a tenant's overrides: a number overrides the plan's, null goes back to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetOverrides {
    /// Logical bytes of vectors, ids and payloads.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<Option<Limit>>,
    /// Bytes of the tenant's log.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<Option<Limit>>,
    /// Vectors in all collections.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub vectors: Option<Option<Limit>>,
    /// Collections.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub collections: Option<Option<Limit>>,
    /// Requests in a minute.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<Option<Limit>>,
    /// Requests in an hour.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub requests_per_hour: Option<Option<Limit>>,
    /// Days for which history is kept.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub history_days: Option<Option<Limit>>,
}

/// A key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// What may be shown of it.
    pub id: KeyId,
    /// What it may do.
    pub permission: Permission,
    /// On whose data.
    pub scope: Scope,
    /// Whose it is; null for a key of cluster scope.
    #[serde(deserialize_with = "present")]
    pub tenant: Option<TenantId>,
    /// Whether it gives rights, as far as the key itself is concerned.
    pub status: KeyStatus,
    /// When it ends; null is never.
    #[serde(with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// When it was made; null if that is not known.
    #[serde(with = "rfc3339")]
    pub created_at: Option<Timestamp>,
}

/// Whether a key gives rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// Some keys, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysAnswer {
    /// The keys.
    pub keys: Vec<KeyView>,
    /// Behind which to go on; null if there are no more.
    #[serde(deserialize_with = "present")]
    pub next: Option<KeyId>,
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What it may do.
    pub permission: Permission,
    /// On whose data. Said in so many words, so that a tenant forgotten is no operator's key.
    pub scope: Scope,
    /// Whose it is, of tenant scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// When it ends; never if not given.
    #[serde(default, with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether it begins with `hh_live_` or `hh_test_`.
    #[serde(default)]
    pub environment: KeyEnvironment,
}

/// How a key begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyEnvironment {
    /// `hh_live_…`
    #[default]
    Live,
    /// `hh_test_…`
    Test,
}

/// A key to be made in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// For how long the old key goes on working.
    pub overlap_seconds: u32,
    /// How the new key begins.
    #[serde(default)]
    pub environment: KeyEnvironment,
}

/// A new key: the one time that it is seen.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewKeyAnswer {
    /// The key itself. A secret.
    pub secret: String,
    /// What is kept of it.
    pub key: KeyView,
}

/// A service key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKeyView {
    /// What may be shown of it: the first half of its SHA-256.
    pub id: KeyId,
    /// Whether servers that show it are known.
    pub status: KeyStatus,
    /// When it ends; null is never.
    #[serde(with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// When it was made; null if that is not known.
    #[serde(with = "rfc3339")]
    pub created_at: Option<Timestamp>,
}

/// The service keys, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKeysAnswer {
    /// The keys.
    pub keys: Vec<ServiceKeyView>,
}

/// A service key to be made beside those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateServiceKey {
    /// For how long those of before are still accepted.
    pub overlap_seconds: u32,
}

/// A new service key: the one time that it is seen.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewServiceKeyAnswer {
    /// The key itself. A secret.
    pub secret: String,
    /// What is kept of it.
    pub key: ServiceKeyView,
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageQuery {
    /// Those of this meter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<Meter>,
    /// Those of this log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_id: Option<LogId>,
    /// Those whose window ends after this moment.
    #[serde(with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Those whose window ends at this moment or before.
    #[serde(with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Those that count this record or later ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<Seq>,
    /// Those that count no later record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_seq: Option<Seq>,
    /// Behind which event to go on: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
}

/// What the events add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageTotalsAnswer {
    /// By meter; of a meter without events nothing.
    pub totals: Vec<MeterTotals>,
}

/// What one meter's events add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterTotals {
    /// What was measured.
    pub meter: Meter,
    /// In what.
    pub unit: Unit,
    /// How many events there are.
    pub events: u64,
    /// Their sum, of readings the latest one. A text, whatever its size: sums outgrow what readers of
    /// JSON take for a number.
    pub value: String,
}

impl SetOverrides {
    /// Makes the changes.
    pub fn apply(self, to: &mut Limits) {
        let set = |to: &mut Option<Limit>, given: Option<Option<Limit>>| {
            if let Some(limit) = given {
                *to = limit;
            }
        };
        set(&mut to.storage_bytes, self.storage_bytes);
        set(&mut to.log_bytes, self.log_bytes);
        set(&mut to.vectors, self.vectors);
        set(&mut to.collections, self.collections);
        set(&mut to.requests_per_minute, self.requests_per_minute);
        set(&mut to.requests_per_hour, self.requests_per_hour);
        set(&mut to.history_days, self.history_days);
    }
}

impl UsageQuery {
    /// Which events fit.
    pub fn filter(&self) -> UsageFilter {
        let Self { meter, log_id, from, to, from_seq, to_seq, .. } = *self;
        UsageFilter { meter, log_id, from, to, from_seq, to_seq }
    }
}

impl TenantView {
    pub(crate) fn new(id: TenantId, entry: TenantEntry, quota: Limits, grace: Duration) -> Self {
        let TenantEntry { name, plan, status, overrides, created_at, incarnation, deployment, deletion } =
            entry;
        let (deleted_at, undelete_until) = (deletion.map(|it| it.at), deletion.map(|it| until(it, grace)));
        Self {
            id,
            name,
            plan,
            status,
            overrides,
            quota,
            created_at,
            incarnation,
            deployment,
            deleted_at,
            undelete_until,
        }
    }
}

impl KeyView {
    pub(crate) fn new(key: KeyEntry, now: Timestamp) -> Self {
        let status = if key.revoked {
            KeyStatus::Revoked
        } else if key.is_live(now) {
            KeyStatus::Active
        } else {
            KeyStatus::Expired
        };
        let scope = if key.tenant.is_some() { Scope::Tenant } else { Scope::Cluster };
        let KeyEntry { id, permission, tenant, expires_at, created_at, revoked: _, rotated: _ } = key;
        Self { id, permission, scope, tenant, status, expires_at, created_at }
    }
}

impl ServiceKeyView {
    pub(crate) fn new(key: &ServiceKeyEntry, now: Timestamp) -> Self {
        let status = if key.revoked {
            KeyStatus::Revoked
        } else if key.is_live(now) {
            KeyStatus::Active
        } else {
            KeyStatus::Expired
        };
        Self { id: key.id(), status, expires_at: key.expires_at, created_at: key.created_at }
    }
}

impl NewKeyAnswer {
    pub(crate) fn new(secret: &ApiKey, key: KeyEntry) -> Self {
        Self { secret: secret.expose().to_owned(), key: KeyView::new(key, Timestamp::now()) }
    }
}

/// Without the secret.
impl std::fmt::Debug for NewKeyAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKeyAnswer").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Without the secret.
impl std::fmt::Debug for NewServiceKeyAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewServiceKeyAnswer").field("key", &self.key).finish_non_exhaustive()
    }
}

impl From<KeyEnvironment> for Environment {
    fn from(environment: KeyEnvironment) -> Self {
        match environment {
            KeyEnvironment::Live => Self::Live,
            KeyEnvironment::Test => Self::Test,
        }
    }
}

impl From<Totals> for MeterTotals {
    fn from(Totals { meter, unit, events, value, .. }: Totals) -> Self {
        Self { meter, unit, events, value: value.to_string() }
    }
}

/// Tells null from what is not there.
#[expect(clippy::option_option, reason = "that is the difference")]
fn given<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Deserialize::deserialize(deserializer).map(Some)
}
