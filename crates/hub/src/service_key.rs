//! A service key, as the hub stores it.

use serde::{Deserialize, Serialize};
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_hivehub::rfc3339;
use vectorizer_log::Timestamp;

/// How many service keys are valid at the same time: one for each rotation whose overlap has not ended.
pub const SERVICE_KEYS_MAX: usize = 16;

/// A service key. Of the key itself only its hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeyEntry {
    /// Its SHA-256.
    pub(super) sha256: KeyHash,
    /// When it was made, if that is known.
    #[serde(default, with = "rfc3339")]
    pub created_at: Option<Timestamp>,
    /// When it expires. `None`: never.
    #[serde(default, with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// Whether it was revoked.
    #[serde(default)]
    pub revoked: bool,
}

impl ServiceKeyEntry {
    pub(super) fn new(sha256: KeyHash, created_at: Option<Timestamp>) -> Self {
        Self { sha256, created_at, expires_at: None, revoked: false }
    }

    /// Its public name: the first half of its hash, since a service key may have any form and contains no id.
    pub fn id(&self) -> KeyId {
        let hash = self.sha256.to_string();
        KeyId::try_from(hash[..hash.len() / 2].to_owned()).expect("hexadecimal digits are an id")
    }

    /// Whether it is valid at this moment.
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.revoked && self.expires_at.is_none_or(|end| end > now)
    }
}
