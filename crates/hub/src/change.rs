//! What can be told a hub. In this form it is kept in the journal.

use serde::{Deserialize, Serialize};
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_hivehub::{DeploymentName, Permission, TenantStatus, moment, rfc3339};
use vectorizer_log::{TenantId, Timestamp};

use super::limits::{DisplayName, Limits, PlanName};

/// For how long the two keys of a rotation may both work: 30 days.
pub const OVERLAP_SECONDS_MAX: u32 = 30 * 24 * 60 * 60;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// When, in microseconds since 1970: the fold has no clock.
    pub(super) at: Timestamp,
    pub(super) change: Change,
}

/// One change of what the hub knows. Whatever stands in the journal was possible when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    /// Servers are known by this key, in place of all before.
    ServiceKeySet { sha256: KeyHash },
    /// The hub has its first service key and its first operator's key.
    Initialised { service_key_sha256: KeyHash, sha256: KeyHash, key: KeyEntry },
    /// Servers are known by this key, too, and by those before until `old_end_at`.
    ServiceKeyRotated {
        sha256: KeyHash,
        #[serde(with = "moment")]
        old_end_at: Timestamp,
    },
    /// A service key is accepted no more.
    ServiceKeyRevoked { id: KeyId },
    /// A plan exists, with these limits.
    PlanSet { name: PlanName, limits: Limits },
    /// A tenant exists, and is active.
    TenantCreated {
        id: TenantId,
        name: DisplayName,
        plan: PlanName,
        overrides: Limits,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentName>,
    },
    /// A tenant is called so, and may use so much.
    TenantSet {
        id: TenantId,
        name: DisplayName,
        plan: PlanName,
        overrides: Limits,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentName>,
    },
    /// A tenant is served, or not.
    TenantStatusSet { id: TenantId, status: TenantStatus },
    /// A tenant's deletion is taken back.
    TenantUndeleted { id: TenantId },
    /// A key gives rights.
    KeyEntered { sha256: KeyHash, key: KeyEntry },
    /// A key has another one beside it, with the same rights, and ends.
    KeyRotated {
        id: KeyId,
        #[serde(with = "rfc3339")]
        expires_at: Option<Timestamp>,
        sha256: KeyHash,
        key: KeyEntry,
    },
    /// A key gives no rights any more.
    KeyRevoked { id: KeyId },
}

/// A key in the hub's books. Of the key itself only its hash is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// What may be shown of it.
    pub id: KeyId,
    /// What it may do.
    pub permission: Permission,
    /// Whose it is. `None`: the operator's, of cluster scope.
    pub tenant: Option<TenantId>,
    /// When it ends. `None`: never.
    #[serde(with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it was made, as far as that is known.
    #[serde(default, with = "rfc3339")]
    pub created_at: Option<Timestamp>,
    /// Whether another key has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Rotated>,
}

/// What a rotation has changed of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotated {
    /// When the key would have ended without. `None`: never.
    #[serde(with = "rfc3339")]
    pub would_end: Option<Timestamp>,
}

impl KeyEntry {
    /// When it ends, or would have ended had no other key taken its place: when one does that takes its place.
    pub fn term(&self) -> Option<Timestamp> {
        self.rotated.map_or(self.expires_at, |rotated| rotated.would_end)
    }

    /// Whether it gives rights at this moment, as far as the key itself is concerned.
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.revoked && self.expires_at.is_none_or(|end| end > now)
    }
}
