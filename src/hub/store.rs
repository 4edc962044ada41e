//! What the hub knows, in `hub.json`.
//!
//! Every change writes the whole file anew (temporary file, fsync, rename, fsync of the folder) before
//! it is seen by anyone: a hub is small, and its file is to be whole at every moment. A file that does
//! not read is an error and is left as it is.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use vectorizer_log::{TenantId, Timestamp};

use crate::auth::{ApiKey, Environment, KeyHash, KeyId};
use crate::config::Secret;
use crate::hivehub::{
    KeyFacts, Open, Permission, Reason, Scope, TenantFacts, TenantStatus, ValidateAnswer, rfc3339,
};

const STATE_FILE: &str = "hub.json";
const LOCK_FILE: &str = "lock";
const FORMAT_VERSION: u32 = 1;

/// Some hundred thousand keys.
const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A hub and its folder. Cheap to clone; the clones are the same hub.
///
/// Methods that change something return once the change is durable. They write files: call them where
/// blocking is allowed.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    /// What readers see. Replaced as a whole, so nobody waits for the disk to answer a question.
    state: RwLock<Arc<State>>,
    /// One change at a time.
    change: Mutex<()>,
    /// Locked as long as the hub lives: two hubs on one folder would undo each other's changes.
    _lock: File,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    service_key_sha256: Option<KeyHash>,
    tenants: BTreeMap<TenantId, TenantEntry>,
    keys: BTreeMap<KeyHash, KeyEntry>,
}

/// A tenant in the hub's books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// Its name for people.
    pub name: String,
    /// Its plan's name.
    pub plan: String,
    /// Whether it may be served.
    pub status: TenantStatus,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: KeyId,
    permission: Permission,
    /// `None`: cluster scope.
    tenant: Option<TenantId>,
    #[serde(with = "rfc3339")]
    expires_at: Option<Timestamp>,
    revoked: bool,
}

/// A key to be entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it may do.
    pub permission: Permission,
    /// Whose it is; `None` is the operator's, of cluster scope.
    pub tenant: Option<TenantId>,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// Why the hub did not open or a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum HubStoreError {
    /// The disk failed. The change may or may not be found at the next start; nobody was told of it.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was written. Nothing is changed or reset.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process runs a hub on this folder.
    #[error("another hub is running on {}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A tenant of this id exists.
    #[error("tenant {0} exists")]
    TenantExists(TenantId),
    /// No tenant has this id.
    #[error("there is no tenant {0}")]
    NoSuchTenant(TenantId),
    /// No key has this id.
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
    /// This key, or another one of its id, is entered already.
    #[error("key {0} exists")]
    KeyExists(KeyId),
    /// A key of cluster scope that is not an admin's has no meaning.
    #[error("a key of cluster scope has to be ADMIN")]
    LesserClusterKey,
    /// The system gave no random bytes.
    #[error("no random bytes for a new key")]
    NoEntropy(#[source] getrandom::Error),
}

impl Hub {
    /// The hub whose state is in `folder`, which is created if need be. An empty folder is a hub without
    /// tenants, keys, and service key: it refuses every call until it has one.
    pub fn open(folder: &Path) -> Result<Self, HubStoreError> {
        let at_folder = |source| HubStoreError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(at_folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(at_folder)?;
        }
        let lock = File::create(folder.join(LOCK_FILE)).map_err(at_folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HubStoreError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(at_folder(source)),
        }
        let path = folder.join(STATE_FILE);
        let state = match read_bounded(&path, STATE_BYTES_MAX)? {
            None => State { version: FORMAT_VERSION, ..State::default() },
            Some(bytes) => {
                State::from_json(&bytes).map_err(|reason| HubStoreError::Damaged { path, reason })?
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                folder: folder.to_owned(),
                state: RwLock::new(Arc::new(state)),
                change: Mutex::default(),
                _lock: lock,
            }),
        })
    }

    /// Sets the key by which Vectorizer servers are known here, in place of the one before.
    pub fn set_service_key(&self, key: &Secret) -> Result<(), HubStoreError> {
        let hash = KeyHash::of(key.expose());
        self.change(|state| {
            state.service_key_sha256 = Some(hash);
            Ok(())
        })
    }

    /// Whether `key` is the service key. Takes as long for a wrong key as for the right one, as far as
    /// the key is concerned: hashes are compared.
    pub fn is_service_key(&self, key: &str) -> bool {
        self.state().service_key_sha256 == Some(KeyHash::of(key))
    }

    /// Enters a new, active tenant.
    pub fn create_tenant(&self, id: &TenantId, name: &str, plan: &str) -> Result<(), HubStoreError> {
        self.change(|state| {
            if state.tenants.contains_key(id) {
                return Err(HubStoreError::TenantExists(id.clone()));
            }
            let entry =
                TenantEntry { name: name.to_owned(), plan: plan.to_owned(), status: TenantStatus::Active };
            state.tenants.insert(id.clone(), entry);
            Ok(())
        })
    }

    /// Suspends, resumes or deletes a tenant. A deleted one is kept by name, so that its keys are
    /// refused for the right reason; it can be resumed here, its data cannot.
    pub fn set_tenant_status(&self, id: &TenantId, status: TenantStatus) -> Result<(), HubStoreError> {
        self.change(|state| {
            let entry = state.tenants.get_mut(id).ok_or_else(|| HubStoreError::NoSuchTenant(id.clone()))?;
            entry.status = status;
            Ok(())
        })
    }

    /// The tenants, by id.
    pub fn tenants(&self) -> BTreeMap<TenantId, TenantEntry> {
        self.state().tenants.clone()
    }

    /// Makes a key. Only its hash is kept: this is the one time the key is seen.
    pub fn create_key(&self, environment: Environment, new: &NewKey) -> Result<ApiKey, HubStoreError> {
        let mut entropy = [0; ApiKey::ENTROPY_BYTES];
        getrandom::fill(&mut entropy).map_err(HubStoreError::NoEntropy)?;
        let key = ApiKey::generate(environment, &entropy);
        self.enter_key(&key, new)?;
        Ok(key)
    }

    /// Enters a key made elsewhere.
    pub fn enter_key(&self, key: &ApiKey, new: &NewKey) -> Result<(), HubStoreError> {
        self.change(|state| state.enter_key(key, new))
    }

    /// Revokes a key for good.
    pub fn revoke_key(&self, id: &KeyId) -> Result<(), HubStoreError> {
        self.change(|state| {
            let entry = state
                .keys
                .values_mut()
                .find(|entry| entry.id == *id)
                .ok_or_else(|| HubStoreError::NoSuchKey(id.clone()))?;
            entry.revoked = true;
            Ok(())
        })
    }

    /// Whether a key of this hash was entered, whatever became of it.
    pub fn knows_key(&self, key: &KeyHash) -> bool {
        self.state().keys.contains_key(key)
    }

    /// The answer to the question who holds the key of this hash.
    ///
    /// A suspended tenant's key is answered as valid, with the tenant's status: the key is genuine,
    /// and the server has to tell "suspended" (403) from "unknown" (401). A deleted tenant's key is
    /// refused like a revoked one, because nothing can come of it any more.
    pub fn validate(&self, key: &KeyHash) -> ValidateAnswer {
        self.state().validate(key, Timestamp::now())
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes one change: to a copy, then to the file, then visible.
    fn change<F>(&self, change: F) -> Result<(), HubStoreError>
    where
        F: FnOnce(&mut State) -> Result<(), HubStoreError>,
    {
        let _one_at_a_time = self.shared.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&self.state());
        change(&mut state)?;
        let path = self.shared.folder.join(STATE_FILE);
        write_private(&path, &state)?;
        *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        Ok(())
    }
}

impl State {
    fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if state.version != FORMAT_VERSION {
            return Err(format!("its version is {}, this program reads {FORMAT_VERSION}", state.version));
        }
        let orphan = state
            .keys
            .values()
            .find(|key| key.tenant.as_ref().is_some_and(|tenant| !state.tenants.contains_key(tenant)));
        match orphan {
            Some(key) => Err(format!("key {} belongs to a tenant that is not there", key.id)),
            None => Ok(state),
        }
    }

    fn enter_key(&mut self, key: &ApiKey, new: &NewKey) -> Result<(), HubStoreError> {
        match &new.tenant {
            Some(id) if !self.tenants.contains_key(id) => {
                return Err(HubStoreError::NoSuchTenant(id.clone()));
            }
            None if new.permission != Permission::Admin => return Err(HubStoreError::LesserClusterKey),
            Some(_) | None => {}
        }
        let id = key.id();
        if self.keys.values().any(|entry| entry.id == id) {
            return Err(HubStoreError::KeyExists(id));
        }
        let entry = KeyEntry {
            id,
            permission: new.permission,
            tenant: new.tenant.clone(),
            expires_at: new.expires_at,
            revoked: false,
        };
        self.keys.insert(key.sha256(), entry);
        Ok(())
    }

    fn validate(&self, key: &KeyHash, now: Timestamp) -> ValidateAnswer {
        let refused = |reason| ValidateAnswer::Refused { reason: Open::Known(reason), policy_cursor: None };
        let Some(key) = self.keys.get(key) else { return refused(Reason::Unknown) };
        if key.revoked {
            return refused(Reason::Revoked);
        }
        if key.expires_at.is_some_and(|end| end <= now) {
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
                        name: tenant.name.clone(),
                        plan: tenant.plan.clone(),
                        status: Open::Known(tenant.status),
                    }),
                ),
            },
        };
        ValidateAnswer::Valid(KeyFacts {
            key_id: key.id.clone(),
            permission: Open::Known(key.permission),
            scope: Open::Known(scope),
            expires_at: key.expires_at,
            tenant,
            policy_cursor: None,
        })
    }
}

/// The file's content, or `None` if there is no such file.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, HubStoreError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HubStoreError::Io { path: path.to_owned(), source }),
        Ok(_) if bytes.len() as u64 > bytes_max => {
            let reason = format!("it is larger than {bytes_max} bytes");
            Err(HubStoreError::Damaged { path: path.to_owned(), reason })
        }
        Ok(_) => Ok(Some(bytes)),
    }
}

/// Writes `content` as JSON to a file that only its owner may read. Either the whole of it is there
/// afterwards, on stable storage, or what was there before.
pub(super) fn write_private(path: &Path, content: &impl Serialize) -> Result<(), HubStoreError> {
    let write = || {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut json = serde_json::to_vec_pretty(content)?;
        json.push(b'\n');
        // Temporary files are created with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&json)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| HubStoreError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    fn reader() -> NewKey {
        NewKey { permission: Permission::ReadOnly, tenant: Some(acme()), expires_at: None }
    }

    #[test]
    fn what_a_hub_was_told_it_knows_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(folder.path()).unwrap();
        hub.set_service_key(&Secret::new("service")).unwrap();
        hub.create_tenant(&acme(), "Acme", "pro").unwrap();
        let kept = hub.create_key(Environment::Live, &reader()).unwrap();
        let revoked = hub.create_key(Environment::Live, &reader()).unwrap();
        hub.revoke_key(&revoked.id()).unwrap();
        let answers = [hub.validate(&kept.sha256()), hub.validate(&revoked.sha256())];
        assert!(matches!(answers[0], ValidateAnswer::Valid(_)), "{:?}", answers[0]);
        let no = ValidateAnswer::Refused { reason: Open::Known(Reason::Revoked), policy_cursor: None };
        assert_eq!(answers[1], no);
        drop(hub);

        let hub = Hub::open(folder.path()).unwrap();
        assert_eq!([hub.validate(&kept.sha256()), hub.validate(&revoked.sha256())], answers);
        assert!(hub.is_service_key("service") && !hub.is_service_key("servicf"));
        assert_eq!(hub.tenants()[&acme()].plan, "pro");
    }

    #[test]
    fn the_file_is_its_owners_and_holds_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(folder.path()).unwrap();
        hub.create_tenant(&acme(), "Acme", "pro").unwrap();
        let key = hub.create_key(Environment::Live, &reader()).unwrap();
        let path = folder.path().join(STATE_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(path).unwrap();
        let secret = key.expose().split('_').nth(3).unwrap();
        assert!(text.contains(&key.sha256().to_string()) && !text.contains(secret));
    }

    #[test]
    fn damage_is_an_error_and_not_a_reset() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(folder.path()).unwrap();
        hub.create_tenant(&acme(), "Acme", "pro").unwrap();
        hub.create_key(Environment::Live, &reader()).unwrap();
        drop(hub);
        let path = folder.path().join(STATE_FILE);
        let whole = fs::read_to_string(&path).unwrap();
        for damaged in [
            String::new(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"version\": 1", "\"version\": 2"),
            whole.replace("READ_ONLY", "READ_ALL"),
            whole.replace("\"acme\": {", "\"other\": {"),
        ] {
            fs::write(&path, &damaged).unwrap();
            let refusal = Hub::open(folder.path()).err().unwrap();
            assert!(matches!(refusal, HubStoreError::Damaged { .. }), "{refusal}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
        fs::write(&path, whole).unwrap();
        assert!(Hub::open(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_has_one_hub_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(folder.path()).unwrap();
        assert!(matches!(Hub::open(folder.path()), Err(HubStoreError::InUse { .. })));
        drop(hub);
        assert!(Hub::open(folder.path()).is_ok());
    }

    #[test]
    fn a_change_that_was_not_written_was_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("hub");
        let hub = Hub::open(&inner).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        assert!(matches!(hub.create_tenant(&acme(), "Acme", "pro"), Err(HubStoreError::Io { .. })));
        assert!(hub.tenants().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(folder.path()).unwrap();
        let create = |new: &NewKey| hub.create_key(Environment::Test, new);
        assert!(matches!(create(&reader()), Err(HubStoreError::NoSuchTenant(_))));
        assert!(matches!(create(&NewKey { tenant: None, ..reader() }), Err(HubStoreError::LesserClusterKey)));
        let status = hub.set_tenant_status(&acme(), TenantStatus::Suspended);
        assert!(matches!(status, Err(HubStoreError::NoSuchTenant(_))));
        hub.create_tenant(&acme(), "Acme", "pro").unwrap();
        assert!(matches!(hub.create_tenant(&acme(), "Acme", "pro"), Err(HubStoreError::TenantExists(_))));
        let key = create(&reader()).unwrap();
        assert!(matches!(hub.enter_key(&key, &reader()), Err(HubStoreError::KeyExists(_))));
        let absent = ApiKey::generate(Environment::Test, &[1; ApiKey::ENTROPY_BYTES]).id();
        assert!(matches!(hub.revoke_key(&absent), Err(HubStoreError::NoSuchKey(_))));
    }

    #[test]
    fn a_key_ends_at_its_time_and_with_its_tenant() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(folder.path()).unwrap();
        hub.create_tenant(&acme(), "Acme", "pro").unwrap();
        let end = Timestamp::from_micros(1_000_000);
        let key = hub.create_key(Environment::Live, &NewKey { expires_at: Some(end), ..reader() }).unwrap();
        let reason = |micros| match hub.state().validate(&key.sha256(), Timestamp::from_micros(micros)) {
            ValidateAnswer::Valid(facts) => Err(facts.tenant.unwrap().status),
            ValidateAnswer::Refused { reason, .. } => Ok(reason),
        };
        assert_eq!(reason(999_999), Err(Open::Known(TenantStatus::Active)));
        assert_eq!(reason(1_000_000), Ok(Open::Known(Reason::Expired)));
        hub.set_tenant_status(&acme(), TenantStatus::Suspended).unwrap();
        assert_eq!(reason(1), Err(Open::Known(TenantStatus::Suspended)));
        hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
        assert_eq!(reason(1), Ok(Open::Known(Reason::TenantDeleted)));
    }
}
