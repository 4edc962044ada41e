//! Deleted tenants. The folder of a deleted tenant moves away at once and is erased later. Until then the tenant can be
//! restored.
//!
//! ```text
//! data/_deleted/{log_id}.json          tombstone: the tenant, and the time of deletion
//! data/_deleted/{log_id}/              the tenant's folder, until it is erased
//! data/_deleted/erased/{log_id}.json   tombstone of an erased folder
//! ```
//!
//! A tombstone is durable before the folder moves, in either direction. After a loss of power,
//! [`DeletedTenants::open`] completes interrupted moves. The tombstone stays when the folder is erased, so that a
//! copy of the log that reappears is recognized.
//!
//! Manifests and tombstones are small files that may be copied over each other. So a folder is stored under its log's
//! id only if the log's records prove that id, and otherwise under a new id. A tombstone is valid only under its own
//! name and for its own tenant, and a folder is erased only if it matches its tombstone.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vectorizer_durable::{self as durable, create_private_folder, remove_tree, sync_folder};

use crate::error::Error;
use crate::folder::{TenantFolder, exists, remove_leftovers};
use crate::manifest::Manifest;
use crate::position::{LogId, Timestamp};
use crate::tenant_id::TenantId;

/// The folder of deleted tenants. No tenant can have this name.
const DELETED: &str = "_deleted";
const ERASED: &str = "erased";
/// The prefix of unfinished tombstones.
const UNFINISHED: &str = ".tmp";

/// The deleted tenants of a data folder. There is one instance for each data folder. Its clones share a lock, so that
/// only one folder moves at a time.
#[derive(Clone, Debug)]
pub struct DeletedTenants {
    data: PathBuf,
    deleted: PathBuf,
    moving: Arc<Mutex<()>>,
}

/// The deletion of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The tenant.
    pub tenant: TenantId,
    /// The id of its log, or a new id if the records do not prove the id in the manifest.
    pub log_id: LogId,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    #[serde(rename = "way")]
    state: TombstoneState,
    /// Whether `log_id` is a new id and not the id of the log.
    #[serde(default, rename = "own_id", skip_serializing_if = "std::ops::Not::not")]
    has_new_id: bool,
}

/// The place where the folder belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TombstoneState {
    Deleted,
    Restored,
}

impl DeletedTenants {
    /// Opens the folder of deleted tenants in `data`, and completes interrupted moves. Unreadable tombstones and
    /// their folders stay; [`all`](Self::all) reports them.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let opened = Self { data: data.to_owned(), deleted: data.join(DELETED), moving: Arc::default() };
        let erased = opened.deleted.join(ERASED);
        create_private_folder(&erased)
            .and_then(|()| sync_folder(&opened.deleted))
            .and_then(|()| sync_folder(data))
            .map_err(failed("create", &erased))?;
        // Unfinished tombstones of a killed process.
        remove_leftovers(&opened.deleted, |name| name.starts_with(UNFINISHED))
            .map_err(failed("sweep", &opened.deleted))?;
        for tombstone in opened.tombstones()?.into_iter().flatten() {
            match opened.end(&tombstone) {
                // This happens on a full disk, for example. The tombstone keeps the log from being served, and the next
                // start completes the move.
                Err(error) if error.is_unavailable() => {}
                ended => ended?,
            }
        }
        Ok(opened)
    }

    /// Moves a tenant's folder away. The log must not be open for writing.
    pub fn delete(&self, tenant: &TenantId, at: Timestamp) -> Result<Tombstone, Error> {
        let _one_at_a_time = self.lock();
        let folder = TenantFolder::new(&self.data, tenant);
        if !folder.try_exists()? {
            return Err(Error::NotFound(folder.path().to_owned()));
        }
        // A damaged folder is deleted like any other. It is never stored under the id of a log that may belong to
        // another tenant.
        let proven = folder.proven_log_id().ok().filter(|log_id| self.is_free(*log_id, &folder));
        let tombstone = Tombstone {
            tenant: tenant.clone(),
            log_id: proven.unwrap_or_else(|| LogId::new(uuid::Uuid::new_v4())),
            deleted_at: at,
            state: TombstoneState::Deleted,
            has_new_id: proven.is_none(),
        };
        let log_id = tombstone.log_id;
        self.write(&tombstone)?;
        Self::move_folder(folder.path(), &self.folder(log_id))?;
        Ok(tombstone)
    }

    /// All tombstones of folders that are not erased, oldest first, and the errors of those that cannot be read.
    pub fn all(&self) -> Result<(Vec<Tombstone>, Vec<Error>), Error> {
        let (mut there, mut unreadable) = (Vec::new(), Vec::new());
        for tombstone in self.tombstones()? {
            match tombstone {
                Ok(tombstone) => there.push(tombstone),
                Err(error) => unreadable.push(error),
            }
        }
        there.sort_by_key(|tombstone| tombstone.deleted_at);
        Ok((there, unreadable))
    }

    /// Whether a log with this id was deleted and not restored.
    pub fn has(&self, log_id: LogId) -> Result<bool, Error> {
        Ok(exists(&self.tombstone(log_id))? || exists(&self.erased(log_id))?)
    }

    /// Whether the log in this folder was deleted and not restored. A tombstone of another tenant does not apply if the
    /// manifest in the folder names this tenant. A tombstone that was copied to another name does not apply either.
    pub fn has_deleted(&self, folder: &TenantFolder) -> Result<bool, Error> {
        let (log_id, tenant) = folder.identity()?;
        for path in [self.tombstone(log_id), self.erased(log_id)] {
            if !exists(&path)? {
                continue;
            }
            let is_another = match (read(&path), &tenant) {
                (Ok(found), _) if found.log_id != log_id => true,
                (Ok(found), Some(tenant)) => found.tenant != *tenant,
                (Err(error), _) if error.is_unavailable() => return Err(error),
                // An unreadable tombstone may be this tenant's.
                (Ok(_), None) | (Err(_), _) => false,
            };
            if !is_another {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Restores a tenant: moves its folder back.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the tenant has a log again, [`Error::NotFound`] if its folder is being erased.
    pub fn restore(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let _one_at_a_time = self.lock();
        let folder = self.folder(tombstone.log_id);
        if !exists(&folder)? {
            return Err(Error::NotFound(folder));
        }
        self.check(tombstone)?;
        let place = TenantFolder::new(&self.data, &tombstone.tenant);
        if place.try_exists()? {
            return Err(Error::AlreadyExists(place.path().to_owned()));
        }
        self.write(&Tombstone { state: TombstoneState::Restored, ..tombstone.clone() })?;
        if let Err(error) = Self::move_folder(&folder, place.path()) {
            // Otherwise the next start would restore the tenant.
            self.write(&Tombstone { state: TombstoneState::Deleted, ..tombstone.clone() })?;
            return Err(error);
        }
        self.remove(tombstone.log_id)
    }

    /// Erases the folder, unless it was restored or deleted again since `tombstone` was read. Also completes an
    /// interrupted erasure.
    pub fn erase(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let _one_at_a_time = self.lock();
        let is_as_it_was = |found: Result<Tombstone, Error>| found.is_ok_and(|found| found == *tombstone);
        if !self.tombstones()?.into_iter().any(is_as_it_was) {
            return Ok(());
        }
        self.check(tombstone)?;
        let folder = self.folder(tombstone.log_id);
        let erasing = folder.with_extension("erasing");
        // Rename first: an incomplete folder must not be restored.
        absent_or(fs::rename(&folder, &erasing))
            .and_then(|()| sync_folder(&self.deleted))
            .and_then(|()| remove_tree(&erasing))
            .map_err(failed("erase", &folder))?;
        let erased = self.erased(tombstone.log_id);
        durable::rename(&self.tombstone(tombstone.log_id), &erased)
            .map_err(failed("move the tombstone to", &erased))
    }

    /// Moves the folder to the place that the tombstone states.
    fn end(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let log_id = tombstone.log_id;
        let place = TenantFolder::new(&self.data, &tombstone.tenant);
        let deleted = self.folder(log_id);
        let is_away = exists(&deleted)?;
        match tombstone.state {
            TombstoneState::Deleted if !is_away && place.log_id().is_ok_and(|found| found == log_id) => {
                match place.proven_log_id() {
                    Ok(_) => Self::move_folder(place.path(), &deleted),
                    Err(error) if error.is_unavailable() => Err(error),
                    // The records do not prove the manifest: another log is there.
                    Err(_) => Ok(()),
                }
            }
            TombstoneState::Deleted => Ok(()),
            // The tenant was created again before its folder could be moved back.
            TombstoneState::Restored if is_away && place.try_exists()? => {
                self.write(&Tombstone { state: TombstoneState::Deleted, ..tombstone.clone() })
            }
            TombstoneState::Restored if is_away => {
                if self.check(tombstone).is_err() {
                    return Ok(());
                }
                Self::move_folder(&deleted, place.path())?;
                self.remove(log_id)
            }
            TombstoneState::Restored => self.remove(log_id),
        }
    }

    /// Checks that the folder stored under the tombstone's id belongs to the tombstone's tenant and log. A folder
    /// without a readable manifest passes the check.
    fn check(&self, tombstone: &Tombstone) -> Result<(), Error> {
        if tombstone.has_new_id {
            return Ok(());
        }
        let folder = self.folder(tombstone.log_id);
        let found = match Manifest::read(folder.join("manifest.json")) {
            Ok(found) => found,
            Err(error) if error.is_unavailable() => return Err(error),
            // A damaged folder is erased like any other.
            Err(_) => return Ok(()),
        };
        let tenant = found.tenant.unwrap_or_else(|| tombstone.tenant.clone());
        if (found.log_id, &tenant) == (tombstone.log_id, &tombstone.tenant) {
            return Ok(());
        }
        let reason = format!(
            "it names log {} of tenant \"{}\", and the folder is that of log {} of tenant \"{tenant}\"",
            tombstone.log_id, tombstone.tenant, found.log_id
        );
        Err(Error::Tombstone { path: self.tombstone(tombstone.log_id), reason })
    }

    /// Whether a folder may be stored under this id: nothing is stored there, and no other tenant has a log with this
    /// id.
    fn is_free(&self, log_id: LogId, folder: &TenantFolder) -> bool {
        let is_filed = |path: PathBuf| exists(&path).unwrap_or(true);
        if is_filed(self.tombstone(log_id)) || is_filed(self.folder(log_id)) {
            return false;
        }
        // A manifest that names its tenant is not valid in the folder of another tenant.
        if folder.identity().is_ok_and(|(_, tenant)| tenant.is_some()) {
            return true;
        }
        let Ok(tenants) = TenantFolder::tenants(&self.data) else { return false };
        let mut others = tenants.iter().map(|tenant| TenantFolder::new(&self.data, tenant));
        !others.any(|other| other.path() != folder.path() && other.log_id().is_ok_and(|it| it == log_id))
    }

    fn remove(&self, log_id: LogId) -> Result<(), Error> {
        let path = self.tombstone(log_id);
        durable::remove_file(&path).map_err(failed("remove", &path))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_folder(from: &Path, to: &Path) -> Result<(), Error> {
        durable::rename(from, to).map_err(failed("move", from))
    }

    fn write(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let path = self.tombstone(tombstone.log_id);
        let unfinished = self.deleted.join(format!("{UNFINISHED}{}", tombstone.log_id));
        durable::replace(&path, &unfinished, |file| file.write_all(&serde_json::to_vec_pretty(tombstone)?))
            .map_err(failed("write", &path))
    }

    fn tombstones(&self) -> Result<Vec<Result<Tombstone, Error>>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.deleted).map_err(failed("read", &self.deleted))? {
            let path = entry.map_err(failed("read", &self.deleted))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                found.push(read(&path).and_then(|tombstone| {
                    if path == self.tombstone(tombstone.log_id) {
                        return Ok(tombstone);
                    }
                    let reason = format!("it names log {}", tombstone.log_id);
                    Err(Error::Tombstone { path, reason })
                }));
            }
        }
        Ok(found)
    }

    fn tombstone(&self, log_id: LogId) -> PathBuf {
        self.deleted.join(format!("{log_id}.json"))
    }

    fn erased(&self, log_id: LogId) -> PathBuf {
        self.deleted.join(ERASED).join(format!("{log_id}.json"))
    }

    fn folder(&self, log_id: LogId) -> PathBuf {
        self.deleted.join(log_id.to_string())
    }
}

fn read(path: &Path) -> Result<Tombstone, Error> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Tombstone { path: path.to_owned(), reason: error.to_string() })
}

fn absent_or(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_000_000);

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    fn stage() -> (tempfile::TempDir, TenantFolder, LogId) {
        let data = tempfile::tempdir().unwrap();
        let folder = TenantFolder::new(data.path(), &acme());
        let log_id = folder.create().unwrap();
        (data, folder, log_id)
    }

    #[test]
    fn a_tombstone_is_written_with_the_names_that_earlier_versions_read() {
        let log_id = LogId::new(uuid::Uuid::nil());
        let tombstone = Tombstone {
            tenant: acme(),
            log_id,
            deleted_at: AT,
            state: TombstoneState::Restored,
            has_new_id: true,
        };
        let written = serde_json::json!({
            "tenant": "acme",
            "log_id": "00000000-0000-0000-0000-000000000000",
            "deleted_at": 1_000_000,
            "way": "restored",
            "own_id": true,
        });
        assert_eq!(serde_json::to_value(&tombstone).unwrap(), written);
        assert_eq!(serde_json::from_value::<Tombstone>(written).unwrap(), tombstone);
    }

    #[test]
    fn a_deleted_tenant_can_be_restored() {
        let (data, folder, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = deleted.delete(&acme(), AT).unwrap();
        assert!(!folder.exists() && deleted.has(log_id).unwrap());
        assert!(TenantFolder::tenants(data.path()).unwrap().is_empty());
        assert!(matches!(deleted.delete(&acme(), AT), Err(Error::NotFound(_))));

        let deleted = DeletedTenants::open(data.path()).unwrap();
        assert_eq!(deleted.all().unwrap().0, std::slice::from_ref(&tombstone));
        deleted.restore(&tombstone).unwrap();
        assert_eq!(folder.log_id().unwrap(), log_id);
        assert!(!deleted.has(log_id).unwrap() && deleted.all().unwrap().0.is_empty());
    }

    #[test]
    fn a_tenant_created_again_is_not_overwritten_by_its_deleted_folder() {
        let (data, folder, _) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = deleted.delete(&acme(), AT).unwrap();
        let second = folder.create().unwrap();
        assert!(matches!(deleted.restore(&tombstone), Err(Error::AlreadyExists(_))));
        assert_eq!(folder.log_id().unwrap(), second);
        assert!(!deleted.has(second).unwrap());
    }

    #[test]
    fn an_erased_tenant_cannot_be_restored_but_leaves_its_tombstone() {
        let (data, _, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = deleted.delete(&acme(), AT).unwrap();
        deleted.erase(&tombstone).unwrap();
        assert!(!deleted.folder(log_id).exists() && deleted.has(log_id).unwrap());
        assert!(deleted.all().unwrap().0.is_empty());
        assert!(matches!(deleted.restore(&tombstone), Err(Error::NotFound(_))));
    }

    #[test]
    fn every_interrupted_move_is_completed_when_the_node_starts() {
        let (data, folder, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = Tombstone {
            tenant: acme(),
            log_id,
            deleted_at: AT,
            state: TombstoneState::Deleted,
            has_new_id: false,
        };
        // A deletion, after its tombstone.
        deleted.write(&tombstone).unwrap();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        assert!(!folder.exists() && deleted.folder(log_id).exists());
        // A restoration, interrupted after its tombstone and after the move.
        for moved in [false, true] {
            deleted.write(&Tombstone { state: TombstoneState::Restored, ..tombstone.clone() }).unwrap();
            if moved {
                fs::rename(deleted.folder(log_id), folder.path()).unwrap();
            }
            DeletedTenants::open(data.path()).unwrap();
            assert!(folder.exists() && !deleted.has(log_id).unwrap());
            deleted.delete(&acme(), AT).unwrap();
        }
        // An erasure, interrupted after the rename.
        let erasing = deleted.folder(log_id).with_extension("erasing");
        fs::rename(deleted.folder(log_id), &erasing).unwrap();
        assert!(matches!(deleted.restore(&tombstone), Err(Error::NotFound(_))));
        deleted.erase(&tombstone).unwrap();
        assert!(!erasing.exists() && deleted.all().unwrap().0.is_empty());
    }

    #[test]
    fn an_old_tombstone_does_not_erase_a_restored_or_newly_deleted_tenant() {
        let (data, folder, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let first = deleted.delete(&acme(), AT).unwrap();
        deleted.restore(&first).unwrap();
        deleted.erase(&first).unwrap();
        assert!(folder.exists());
        let second = deleted.delete(&acme(), Timestamp::from_micros(2_000_000)).unwrap();
        deleted.erase(&first).unwrap();
        assert!(deleted.folder(log_id).exists());
        deleted.restore(&second).unwrap();
    }

    #[test]
    fn an_unreadable_tombstone_is_reported_and_stays() {
        let (data, _, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        deleted.delete(&acme(), AT).unwrap();
        fs::write(deleted.tombstone(log_id), "nonsense").unwrap();
        let (there, unreadable) = DeletedTenants::open(data.path()).unwrap().all().unwrap();
        assert_eq!((there.len(), unreadable.len()), (0, 1));
        assert!(deleted.folder(log_id).exists());
    }
}
