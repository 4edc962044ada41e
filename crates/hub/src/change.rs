//! The changes of a hub, as they are in its journal.

use serde::{Deserialize, Serialize};
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_hivehub::{DeploymentName, Permission, TenantStatus, moment, rfc3339};
use vectorizer_log::{TenantId, Timestamp};

use super::limits::{DisplayName, Limits, PlanName};

/// The longest overlap of two keys of a rotation: 30 days.
pub const OVERLAP_SECONDS_MAX: u32 = 30 * 24 * 60 * 60;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// The time in microseconds since 1970, since the fold has no clock.
    pub(super) at: Timestamp,
    pub(super) change: Change,
}

/// A change of the hub's state. Each change in the journal was valid when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    /// This service key replaces all earlier ones.
    ServiceKeySet { sha256: KeyHash },
    /// The hub has its first service key and its first operator's key.
    Initialised { service_key_sha256: KeyHash, sha256: KeyHash, key: KeyEntry },
    /// This service key is added. The earlier ones end at `old_end_at`.
    ServiceKeyRotated {
        sha256: KeyHash,
        #[serde(with = "moment")]
        old_end_at: Timestamp,
    },
    /// A service key is revoked.
    ServiceKeyRevoked { id: KeyId },
    /// A plan has these limits.
    PlanSet { name: PlanName, limits: Limits },
    /// A tenant is created, and active.
    TenantCreated {
        id: TenantId,
        name: DisplayName,
        plan: PlanName,
        overrides: Limits,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentName>,
    },
    /// A tenant has this name, plan, overrides and deployment.
    TenantSet {
        id: TenantId,
        name: DisplayName,
        plan: PlanName,
        overrides: Limits,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentName>,
    },
    /// A tenant has this status.
    TenantStatusSet { id: TenantId, status: TenantStatus },
    /// A tenant's deletion is undone.
    TenantUndeleted { id: TenantId },
    /// A key is added.
    KeyEntered { sha256: KeyHash, key: KeyEntry },
    /// A key is rotated: a new one has the same rights, and the old one ends.
    KeyRotated {
        id: KeyId,
        #[serde(with = "rfc3339")]
        expires_at: Option<Timestamp>,
        sha256: KeyHash,
        key: KeyEntry,
    },
    /// A key is revoked.
    KeyRevoked { id: KeyId },
}

/// A key. Of the key itself only its hash is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Its public name.
    pub id: KeyId,
    /// Its permission.
    pub permission: Permission,
    /// Its tenant. `None`: the operator's, of cluster scope.
    pub tenant: Option<TenantId>,
    /// When it expires. `None`: never.
    #[serde(with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it was made, if that is known.
    #[serde(default, with = "rfc3339")]
    pub created_at: Option<Timestamp>,
    /// Whether it was rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Rotated>,
}

/// The rotation of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotated {
    /// When the key would expire without the rotation. `None`: never.
    #[serde(with = "rfc3339")]
    pub would_end: Option<Timestamp>,
}

impl KeyEntry {
    /// When it expires, without regard to a rotation: a new key expires at the same time.
    pub fn term(&self) -> Option<Timestamp> {
        self.rotated.map_or(self.expires_at, |rotated| rotated.would_end)
    }

    /// Whether the key itself is valid at this moment.
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.revoked && self.expires_at.is_none_or(|end| end > now)
    }
}
