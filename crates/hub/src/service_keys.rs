//! Service keys, by which the hub knows Vectorizer servers, and their rotation.
//!
//! A service key is replaced only by an explicit command. After a rotation the old and the new key are valid until
//! the overlap ends, so that servers can get the new one without an outage.

use std::sync::PoisonError;

use vectorizer_access::{ApiKey, Environment, KeyHash, KeyId, Secret};
use vectorizer_hivehub::Permission;
use vectorizer_log::Timestamp;

use super::change::{Change, KeyEntry, OVERLAP_SECONDS_MAX};
use super::error::HubStoreError;
use super::service_key::{SERVICE_KEYS_MAX, ServiceKeyEntry};
use super::store::{Hub, NewKey, entry, new_key};

/// The first keys of a hub. They are shown once.
#[derive(Clone, Debug)]
pub struct FirstKeys {
    /// The service key.
    pub service: Secret,
    /// The operator's key.
    pub operator: ApiKey,
}

impl Hub {
    /// Whether the hub has, or has had, a service key or an operator's key.
    pub fn is_initialised(&self) -> bool {
        self.state().is_initialised()
    }

    /// Makes the first service key and the first operator's key, both or neither. They are returned once only.
    pub fn init(&self) -> Result<FirstKeys, HubStoreError> {
        let (service, operator) = (new_service_key()?, new_key(Environment::Live)?);
        let new = NewKey { permission: Permission::Admin, tenant: None, expires_at: None };
        let key: KeyEntry = entry(&operator, new);
        self.change(|_| {
            Ok(Change::Initialised {
                service_key_sha256: KeyHash::of(service.expose()),
                sha256: operator.sha256(),
                key,
            })
        })?;
        Ok(FirstKeys { service, operator })
    }

    /// Sets the service key. It replaces all earlier ones.
    pub fn set_service_key(&self, key: &Secret) -> Result<(), HubStoreError> {
        self.change(|_| Ok(Change::ServiceKeySet { sha256: KeyHash::of(key.expose()) })).map(drop)
    }

    /// Makes a service key. The present ones stay valid for `overlap_seconds`.
    pub fn rotate_service_key(&self, overlap_seconds: u32) -> Result<Secret, HubStoreError> {
        if overlap_seconds > OVERLAP_SECONDS_MAX {
            return Err(HubStoreError::OverlapTooLong);
        }
        let key = new_service_key()?;
        let now = Timestamp::now();
        let old_end_at = Timestamp::from_micros(now.micros() + i64::from(overlap_seconds) * 1_000_000);
        self.change(|state| {
            let live = state.service_keys.iter().filter(|key| key.is_live(now)).count();
            if overlap_seconds > 0 && live >= SERVICE_KEYS_MAX {
                return Err(HubStoreError::TooManyServiceKeys);
            }
            Ok(Change::ServiceKeyRotated { sha256: KeyHash::of(key.expose()), old_end_at })
        })?;
        Ok(key)
    }

    /// Revokes a service key. The last valid one cannot be revoked, only rotated.
    pub fn revoke_service_key(&self, id: &KeyId) -> Result<(), HubStoreError> {
        let now = Timestamp::now();
        self.change(|state| {
            let is_other = |key: &&ServiceKeyEntry| key.id() != *id && key.is_live(now);
            if state.service_key(id)?.is_live(now) && !state.service_keys.iter().any(|key| is_other(&key)) {
                return Err(HubStoreError::OnlyServiceKey(id.clone()));
            }
            Ok(Change::ServiceKeyRevoked { id: id.clone() })
        })
        .map(drop)
    }

    /// The valid service keys, and those that have ended since the last rotation.
    pub fn service_keys(&self) -> Vec<ServiceKeyEntry> {
        self.state().service_keys.clone()
    }

    /// Whether `key` is a valid service key. Hashes are compared, so the time does not depend on how much of a wrong
    /// key is right.
    pub fn is_service_key(&self, key: &str) -> bool {
        let (hash, now) = (KeyHash::of(key), Timestamp::now());
        let is_kept = self.state().service_keys.iter().any(|key| key.sha256 == hash && key.is_live(now));
        is_kept || *self.shared.lent_service_key.read().unwrap_or_else(PoisonError::into_inner) == Some(hash)
    }

    /// Whether `key` is or was a service key.
    pub fn knows_service_key(&self, key: &Secret) -> bool {
        let hash = KeyHash::of(key.expose());
        self.state().service_keys.iter().any(|key| key.sha256 == hash)
    }

    /// Makes a service key for a server in this process. It replaces an earlier one, is in memory only, and ends with
    /// the hub.
    pub fn lend_service_key(&self) -> Result<Secret, HubStoreError> {
        let key = new_service_key()?;
        *self.shared.lent_service_key.write().unwrap_or_else(PoisonError::into_inner) =
            Some(KeyHash::of(key.expose()));
        Ok(key)
    }
}

/// A new service key. It has no structure.
pub(super) fn new_service_key() -> Result<Secret, HubStoreError> {
    Ok(Secret::new(format!("hh_service_{}", KeyHash::of(new_key(Environment::Live)?.expose()))))
}

#[cfg(test)]
#[path = "service_keys_tests.rs"]
mod tests;
