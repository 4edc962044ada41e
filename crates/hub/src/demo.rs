//! A demo: two tenants with all their keys, the same ones at every start.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vectorizer_access::{ApiKey, Environment, Secret};
use vectorizer_hivehub::{Permission, TenantStatus};
use vectorizer_log::TenantId;

use super::error::HubStoreError;
use super::files::{read_bounded, write_private};
use super::limits::{Limit, Limits, PlanName};
use super::service_keys::new_service_key;
use super::store::{self, Hub, NewKey, NewTenant};

/// The hub's folder within the data folder. No tenant can have this name.
pub const HUB_FOLDER: &str = "_hub";
/// The file in the data folder with the keys, for scripts. Mode 0600.
pub const KEYS_FILE: &str = "dev-keys.json";

/// The demo tenants' plan.
pub const PLAN: &str = "generous";

const KEYS_BYTES_MAX: u64 = 64 * 1024;

/// A hub with the demo's tenants, and all keys.
pub struct Demo {
    /// The hub.
    pub hub: Hub,
    /// The keys. `None` if the hub has keys that are not in [`KEYS_FILE`]: of those only hashes exist.
    pub keys: Option<DemoKeys>,
}

/// All the keys of a demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoKeys {
    /// The operator's key: ADMIN, of cluster scope.
    pub operator: ApiKey,
    /// The service key of a Vectorizer server.
    pub hivehub_api_key: Secret,
    /// The tenants.
    pub tenants: Vec<DemoTenant>,
}

/// A tenant of a demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoTenant {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// Its keys.
    pub keys: DemoTenantKeys,
}

/// A tenant's keys, one of every permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoTenantKeys {
    /// ADMIN.
    pub admin: ApiKey,
    /// `READ_WRITE`.
    pub read_write: ApiKey,
    /// `READ_ONLY`.
    pub read_only: ApiKey,
    /// MCP.
    pub mcp: ApiKey,
}

impl Demo {
    /// Opens the demo in `data_dir`, or makes it if the hub has no keys yet.
    ///
    /// The keys are written before they are entered into the hub, and each start enters those that are missing, so
    /// that a start completes an interrupted one. Existing entries stay: a revoked key stays revoked, a suspended
    /// tenant suspended, and a service key is never replaced.
    pub fn open(data_dir: &Path) -> Result<Self, HubStoreError> {
        let hub = Hub::open(&data_dir.join(HUB_FOLDER))?;
        let path = data_dir.join(KEYS_FILE);
        let found = read_bounded(&path, KEYS_BYTES_MAX)?.map(|bytes| {
            let file = serde_json::from_slice::<KeysFile>(&bytes).ok();
            // Without the parser's message, which may quote a key.
            let reason = "it does not hold the demo's keys".to_owned();
            file.and_then(KeysFile::parsed).ok_or(HubStoreError::Damaged { path: path.clone(), reason })
        });
        let keys = match found.transpose()? {
            Some(keys) if !hub.is_initialised() || keys.are_of(&hub) => Some(keys),
            None if !hub.is_initialised() => {
                let keys = DemoKeys::generate()?;
                write_private(&path, &KeysFile::of(&keys))?;
                Some(keys)
            }
            // Existing keys stay valid, and are not replaced.
            Some(_) | None => None,
        };
        if let Some(keys) = &keys {
            keys.enter_into(&hub)?;
        }
        Ok(Self { hub, keys })
    }
}

impl DemoKeys {
    fn generate() -> Result<Self, HubStoreError> {
        let tenants = [("acme", "Acme"), ("globex", "Globex")].into_iter().map(|(id, name)| {
            let keys = DemoTenantKeys {
                admin: new_key()?,
                read_write: new_key()?,
                read_only: new_key()?,
                mcp: new_key()?,
            };
            let id = id.parse().expect("the demo's tenant ids are valid");
            Ok(DemoTenant { id, name: name.to_owned(), keys })
        });
        Ok(Self {
            operator: new_key()?,
            hivehub_api_key: new_service_key()?,
            tenants: tenants.collect::<Result<_, HubStoreError>>()?,
        })
    }

    /// Whether they were made for this hub.
    fn are_of(&self, hub: &Hub) -> bool {
        hub.knows_service_key(&self.hivehub_api_key) || hub.knows_key(&self.operator.sha256())
    }

    fn enter_into(&self, hub: &Hub) -> Result<(), HubStoreError> {
        if hub.service_keys().is_empty() {
            hub.set_service_key(&self.hivehub_api_key)?;
        }
        enter(hub, &self.operator, Permission::Admin, None)?;
        let plan: PlanName = PLAN.parse().expect("the demo's plan has a name");
        if let Err(HubStoreError::NoSuchPlan(_)) = hub.plan(&plan) {
            hub.set_plan(&plan, generous())?;
        }
        for tenant in &self.tenants {
            if let Err(HubStoreError::NoSuchTenant(_)) = hub.tenant(&tenant.id) {
                let damaged = |_| HubStoreError::Damaged {
                    path: KEYS_FILE.into(),
                    reason: "a tenant has a name that is none".to_owned(),
                };
                let name = tenant.name.parse().map_err(damaged)?;
                let (id, plan, overrides) = (tenant.id.clone(), plan.clone(), Limits::default());
                hub.create_tenant(&NewTenant { id, name, plan, overrides, deployment: None })?;
            }
            let keys = &tenant.keys;
            enter(hub, &keys.admin, Permission::Admin, Some(&tenant.id))?;
            enter(hub, &keys.read_write, Permission::ReadWrite, Some(&tenant.id))?;
            enter(hub, &keys.read_only, Permission::ReadOnly, Some(&tenant.id))?;
            enter(hub, &keys.mcp, Permission::Mcp, Some(&tenant.id))?;
        }
        Ok(())
    }
}

fn generous() -> Limits {
    Limits {
        storage_bytes: Limit::new(100 << 30),
        log_bytes: Limit::new(1 << 40),
        vectors: Limit::new(100_000_000),
        collections: Limit::new(10_000),
        requests_per_minute: Limit::new(6_000_000),
        requests_per_hour: Limit::new(360_000_000),
        history_days: None,
    }
}

fn enter(
    hub: &Hub,
    key: &ApiKey,
    permission: Permission,
    tenant: Option<&TenantId>,
) -> Result<(), HubStoreError> {
    // An ended key stays ended, and a deleted tenant deleted.
    let is_over = tenant
        .is_some_and(|id| hub.tenant(id).is_ok_and(|(tenant, _)| tenant.status == TenantStatus::Deleted));
    if is_over || hub.knows_key(&key.sha256()) {
        return Ok(());
    }
    hub.enter_key(key, &NewKey { permission, tenant: tenant.cloned(), expires_at: None })
}

fn new_key() -> Result<ApiKey, HubStoreError> {
    store::new_key(Environment::Test)
}

/// The content of [`KEYS_FILE`]. It is the only type with keys in plain text, so it is private to this file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    operator: String,
    hivehub_api_key: String,
    tenants: Vec<TenantInFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantInFile {
    id: TenantId,
    name: String,
    keys: TenantKeysInFile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantKeysInFile {
    admin: String,
    read_write: String,
    read_only: String,
    mcp: String,
}

impl KeysFile {
    fn of(keys: &DemoKeys) -> Self {
        let text = |key: &ApiKey| key.expose().to_owned();
        let tenants = keys.tenants.iter().map(|tenant| TenantInFile {
            id: tenant.id.clone(),
            name: tenant.name.clone(),
            keys: TenantKeysInFile {
                admin: text(&tenant.keys.admin),
                read_write: text(&tenant.keys.read_write),
                read_only: text(&tenant.keys.read_only),
                mcp: text(&tenant.keys.mcp),
            },
        });
        Self {
            operator: text(&keys.operator),
            hivehub_api_key: keys.hivehub_api_key.expose().to_owned(),
            tenants: tenants.collect(),
        }
    }

    fn parsed(self) -> Option<DemoKeys> {
        let key = |text: &str| ApiKey::parse(text).ok();
        let tenants = self.tenants.into_iter().map(|tenant| {
            let keys = DemoTenantKeys {
                admin: key(&tenant.keys.admin)?,
                read_write: key(&tenant.keys.read_write)?,
                read_only: key(&tenant.keys.read_only)?,
                mcp: key(&tenant.keys.mcp)?,
            };
            Some(DemoTenant { id: tenant.id, name: tenant.name, keys })
        });
        Some(DemoKeys {
            operator: key(&self.operator)?,
            hivehub_api_key: Secret::new(self.hivehub_api_key),
            tenants: tenants.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::Value;
    use vectorizer_hivehub::{Extensible, Reason, ValidateAnswer};

    use super::*;

    fn opened(folder: &Path) -> (Hub, DemoKeys) {
        let Demo { hub, keys } = Demo::open(folder).unwrap();
        (hub, keys.unwrap())
    }

    fn is_valid(hub: &Hub, key: &ApiKey) -> bool {
        matches!(hub.validate(&key.sha256()), ValidateAnswer::Valid(_))
    }

    #[test]
    fn the_next_start_finds_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, keys) = opened(folder.path());
        assert!(is_valid(&hub, &keys.operator));
        let [acme, globex] = &keys.tenants[..] else { panic!("{keys:?}") };
        assert_eq!((acme.id.as_str(), globex.id.as_str()), ("acme", "globex"));
        let revoked = &acme.keys.mcp;
        hub.revoke_key(&revoked.id()).unwrap();
        drop(hub);

        let (hub, again) = opened(folder.path());
        assert_eq!(again, keys);
        assert!(is_valid(&hub, &globex.keys.read_only));
        let answer = hub.validate(&revoked.sha256());
        let policy_cursor = Some(hub.policy_cursor());
        assert_eq!(
            answer,
            ValidateAnswer::Refused { reason: Extensible::Known(Reason::Revoked), policy_cursor }
        );
    }

    #[test]
    fn a_start_whose_keys_file_is_gone_or_another_hubs_replaces_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, keys) = opened(folder.path());
        let rotated = hub.rotate_service_key(0).unwrap();
        drop(hub);
        // The file has the old service key.
        let (hub, _) = opened(folder.path());
        assert!(hub.is_service_key(rotated.expose()) && !hub.is_service_key(keys.hivehub_api_key.expose()));
        drop(hub);
        let elsewhere = tempfile::tempdir().unwrap();
        drop(opened(elsewhere.path()));
        let path = folder.path().join(KEYS_FILE);
        for is_there in [false, true] {
            fs::remove_file(&path).unwrap();
            if is_there {
                fs::copy(elsewhere.path().join(KEYS_FILE), &path).unwrap();
            }
            let Demo { hub, keys: none } = Demo::open(folder.path()).unwrap();
            assert_eq!(none, None);
            assert_eq!(path.exists(), is_there, "keys were made");
            assert!(hub.is_service_key(rotated.expose()) && is_valid(&hub, &keys.operator));
            // The one that the rotation has ended is listed, too.
            assert_eq!((hub.service_keys().len(), hub.keys(None, None, 99).len()), (2, 9));
            drop(hub);
            fs::write(&path, "").unwrap();
        }
    }

    #[test]
    fn a_start_that_was_cut_short_is_made_good() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, keys) = opened(folder.path());
        drop(hub);
        fs::remove_dir_all(folder.path().join(HUB_FOLDER)).unwrap();
        let (hub, again) = opened(folder.path());
        assert_eq!(again, keys);
        assert!(hub.is_service_key(keys.hivehub_api_key.expose()));
        assert!(is_valid(&hub, &keys.operator) && is_valid(&hub, &keys.tenants[1].keys.mcp));
    }

    #[test]
    fn the_keys_file_is_its_owners_and_has_exactly_the_documented_shape() {
        let folder = tempfile::tempdir().unwrap();
        let (_, keys) = opened(folder.path());
        let path = folder.path().join(KEYS_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&file), ["hivehub_api_key", "operator", "tenants"]);
        assert_eq!(names(&file["tenants"][0]), ["id", "keys", "name"]);
        assert_eq!(names(&file["tenants"][1]["keys"]), ["admin", "mcp", "read_only", "read_write"]);
        assert_eq!(file["operator"], keys.operator.expose());
    }

    #[test]
    fn a_damaged_keys_file_is_an_error_that_quotes_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, keys) = opened(folder.path());
        drop(hub);
        let path = folder.path().join(KEYS_FILE);
        let text = fs::read_to_string(&path).unwrap();
        let operator = keys.operator.expose();
        fs::write(&path, text.replace(operator, &operator[1..])).unwrap();
        let error = Demo::open(folder.path()).err().unwrap();
        assert!(matches!(error, HubStoreError::Damaged { .. }));
        assert!(!format!("{error:?}").contains(&operator[1..]));
    }
}
