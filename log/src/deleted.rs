//! Deleted tenants: out of the way at once, erased later, and to be had back until then.
//!
//! ```text
//! data/_deleted/{log_id}.json          tombstone: whose log it was, and since when it is deleted
//! data/_deleted/{log_id}/              the tenant's folder, until it is erased
//! data/_deleted/erased/{log_id}.json   tombstone of what is erased
//! ```
//!
//! A tombstone is durable before the folder moves, in either direction: whatever moment the power fails at,
//! [`DeletedTenants::open`] ends what was begun. It stays when the folder is erased, so that a copy of the
//! log that turns up again is known for what it is.
//!
//! Manifests and tombstones are small files that can be copied over each other. So a folder is filed under its log's
//! id only if the log's records prove that id, and otherwise under an id of the tombstone's own; a tombstone counts
//! only under its own name and for its own tenant; and a folder is erased only if it is the tombstone's.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::folder::{TenantFolder, exists, sweep};
use crate::manifest::Manifest;
use crate::position::{LogId, Timestamp};
use crate::storage::sync_folder;
use crate::tenant_id::TenantId;

/// Beside the tenants. No tenant can have this name.
const DELETED: &str = "_deleted";
const ERASED: &str = "erased";
/// How the name of a tombstone begins that is being written.
const TEMPORARY: &str = ".tmp";

/// The deleted tenants of a data folder. One for each folder; the clones share it, and move one folder at a
/// time.
#[derive(Clone, Debug)]
pub struct DeletedTenants {
    data: PathBuf,
    deleted: PathBuf,
    moving: Arc<Mutex<()>>,
}

/// Whose log was deleted, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The tenant.
    pub tenant: TenantId,
    /// Its log. Of a folder whose records do not prove the manifest, an id of the tombstone's own.
    pub log_id: LogId,
    /// When.
    pub deleted_at: Timestamp,
    way: Way,
    /// Whether the id is the tombstone's own, and not that of the folder's log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own_id: bool,
}

/// Where the folder is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    Deleted,
    Restored,
}

impl DeletedTenants {
    /// Those of `data`. Ends what a crash has interrupted. Tombstones that cannot be read are left as they
    /// are, and so are the folders they stand for: [`all`](Self::all) tells of them.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let opened = Self { data: data.to_owned(), deleted: data.join(DELETED), moving: Arc::default() };
        let erased = opened.deleted.join(ERASED);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&erased)
            .and_then(|()| sync_folder(&opened.deleted))
            .and_then(|()| sync_folder(data))
            .map_err(failed("create", &erased))?;
        // What a killed write of a tombstone has left.
        sweep(&opened.deleted, |name| name.starts_with(TEMPORARY))
            .map_err(failed("sweep", &opened.deleted))?;
        for tombstone in opened.tombstones()?.into_iter().flatten() {
            match opened.end(&tombstone) {
                // As on a disk without room. The tombstone stands, so that the log is not served, and the next start
                // goes on.
                Err(error) if error.is_want() => {}
                ended => ended?,
            }
        }
        Ok(opened)
    }

    /// Moves a tenant's folder out of the way. Nobody may have its log open for writing.
    pub fn delete(&self, tenant: &TenantId, at: Timestamp) -> Result<Tombstone, Error> {
        let _one_at_a_time = self.lock();
        let folder = TenantFolder::new(&self.data, tenant);
        if !folder.try_exists()? {
            return Err(Error::NotFound(folder.path().to_owned()));
        }
        // A folder that is damaged is deleted like any other, but never under the id of a log that may be another
        // tenant's.
        let proven = folder.proven_log_id().ok().filter(|log_id| self.is_free(*log_id, &folder));
        let tombstone = Tombstone {
            tenant: tenant.clone(),
            log_id: proven.unwrap_or_else(|| LogId::new(uuid::Uuid::new_v4())),
            deleted_at: at,
            way: Way::Deleted,
            own_id: proven.is_none(),
        };
        let log_id = tombstone.log_id;
        self.write(&tombstone)?;
        self.move_folder(folder.path(), &self.folder(log_id))?;
        Ok(tombstone)
    }

    /// Those that are not erased yet, the oldest first, and why the others cannot be read.
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

    /// Whether a log of this id was deleted, and not restored.
    pub fn has(&self, log_id: LogId) -> Result<bool, Error> {
        Ok(exists(&self.tombstone(log_id))? || exists(&self.erased(log_id))?)
    }

    /// Whether the log in this folder was deleted, and not restored. The tombstone of another tenant says nothing of a
    /// folder that is this tenant's by its manifest, and neither does one that was copied under another name.
    pub fn has_deleted(&self, folder: &TenantFolder) -> Result<bool, Error> {
        let (log_id, tenant) = folder.identity()?;
        for path in [self.tombstone(log_id), self.erased(log_id)] {
            if !exists(&path)? {
                continue;
            }
            let is_another = match (read(&path), &tenant) {
                (Ok(found), _) if found.log_id != log_id => true,
                (Ok(found), Some(tenant)) => found.tenant != *tenant,
                (Err(error), _) if error.is_want() => return Err(error),
                // One that cannot be read may be this tenant's.
                (Ok(_), None) | (Err(_), _) => false,
            };
            if !is_another {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts the folder back where it was.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the tenant has a log again, [`Error::NotFound`] if it is being erased.
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
        self.write(&Tombstone { way: Way::Restored, ..tombstone.clone() })?;
        if let Err(error) = self.move_folder(&folder, place.path()) {
            // Or the next start would do what nobody expects any more.
            self.write(&Tombstone { way: Way::Deleted, ..tombstone.clone() })?;
            return Err(error);
        }
        self.remove(tombstone.log_id)
    }

    /// Erases the folder for good, unless it was restored or deleted once more since `tombstone` was read.
    /// What an interrupted erasure has left is erased too.
    pub fn erase(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let _one_at_a_time = self.lock();
        let is_as_it_was = |found: Result<Tombstone, Error>| found.is_ok_and(|found| found == *tombstone);
        if !self.tombstones()?.into_iter().any(is_as_it_was) {
            return Ok(());
        }
        self.check(tombstone)?;
        let folder = self.folder(tombstone.log_id);
        let erasing = folder.with_extension("erasing");
        // Under another name first: half a folder must not be restored.
        absent_or(fs::rename(&folder, &erasing))
            .and_then(|()| sync_folder(&self.deleted))
            .and_then(|()| absent_or(fs::remove_dir_all(&erasing)))
            .map_err(failed("erase", &folder))?;
        let erased = self.erased(tombstone.log_id);
        fs::rename(self.tombstone(tombstone.log_id), &erased)
            .and_then(|()| sync_folder(&self.deleted.join(ERASED)))
            .and_then(|()| sync_folder(&self.deleted))
            .map_err(failed("move the tombstone to", &erased))
    }

    /// Brings the folder where the tombstone says it is to be.
    fn end(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let log_id = tombstone.log_id;
        let place = TenantFolder::new(&self.data, &tombstone.tenant);
        let deleted = self.folder(log_id);
        let is_away = exists(&deleted)?;
        match tombstone.way {
            Way::Deleted if !is_away && place.log_id().is_ok_and(|found| found == log_id) => {
                match place.proven_log_id() {
                    Ok(_) => self.move_folder(place.path(), &deleted),
                    Err(error) if error.is_want() => Err(error),
                    // The manifest says so, and the records do not: it is another log that lies there.
                    Err(_) => Ok(()),
                }
            }
            Way::Deleted => Ok(()),
            // The tenant has come again before it could be put back.
            Way::Restored if is_away && place.try_exists()? => {
                self.write(&Tombstone { way: Way::Deleted, ..tombstone.clone() })
            }
            Way::Restored if is_away => {
                if self.check(tombstone).is_err() {
                    return Ok(());
                }
                self.move_folder(&deleted, place.path())?;
                self.remove(log_id)
            }
            Way::Restored => self.remove(log_id),
        }
    }

    /// That the folder which is filed under the tombstone's id is that of its tenant, as far as it has a manifest.
    fn check(&self, tombstone: &Tombstone) -> Result<(), Error> {
        if tombstone.own_id {
            return Ok(());
        }
        let folder = self.folder(tombstone.log_id);
        let found = match Manifest::read(folder.join("manifest.json")) {
            Ok(found) => found,
            Err(error) if error.is_want() => return Err(error),
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

    /// Whether a folder may be filed under this id: nothing else is, and no other tenant has a log of this id.
    fn is_free(&self, log_id: LogId, folder: &TenantFolder) -> bool {
        let is_filed = |path: PathBuf| exists(&path).unwrap_or(true);
        if is_filed(self.tombstone(log_id)) || is_filed(self.folder(log_id)) {
            return false;
        }
        // Of a manifest that names its tenant there is no second one under another name.
        if folder.identity().is_ok_and(|(_, tenant)| tenant.is_some()) {
            return true;
        }
        let Ok(tenants) = TenantFolder::tenants(&self.data) else { return false };
        let mut others = tenants.iter().map(|tenant| TenantFolder::new(&self.data, tenant));
        !others.any(|other| other.path() != folder.path() && other.log_id().is_ok_and(|it| it == log_id))
    }

    fn remove(&self, log_id: LogId) -> Result<(), Error> {
        let path = self.tombstone(log_id);
        fs::remove_file(&path).and_then(|()| sync_folder(&self.deleted)).map_err(failed("remove", &path))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_folder(&self, from: &Path, to: &Path) -> Result<(), Error> {
        fs::rename(from, to)
            .and_then(|()| sync_folder(&self.deleted))
            .and_then(|()| sync_folder(&self.data))
            .map_err(failed("move", from))
    }

    fn write(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let path = self.tombstone(tombstone.log_id);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.deleted)?;
            file.write_all(&serde_json::to_vec_pretty(tombstone)?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            sync_folder(&self.deleted)
        };
        write().map_err(failed("write", &path))
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
    fn a_deleted_tenant_is_gone_and_comes_back_as_it_was() {
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
    fn a_tenant_that_has_come_again_is_not_overwritten_by_its_past() {
        let (data, folder, _) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = deleted.delete(&acme(), AT).unwrap();
        let second = folder.create().unwrap();
        assert!(matches!(deleted.restore(&tombstone), Err(Error::AlreadyExists(_))));
        assert_eq!(folder.log_id().unwrap(), second);
        assert!(!deleted.has(second).unwrap());
    }

    #[test]
    fn what_is_erased_is_gone_for_good_and_known_for_ever() {
        let (data, _, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = deleted.delete(&acme(), AT).unwrap();
        deleted.erase(&tombstone).unwrap();
        assert!(!deleted.folder(log_id).exists() && deleted.has(log_id).unwrap());
        assert!(deleted.all().unwrap().0.is_empty());
        assert!(matches!(deleted.restore(&tombstone), Err(Error::NotFound(_))));
    }

    #[test]
    fn whatever_a_crash_interrupts_is_ended_when_the_node_starts() {
        let (data, folder, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone =
            Tombstone { tenant: acme(), log_id, deleted_at: AT, way: Way::Deleted, own_id: false };
        // A deletion, after its tombstone.
        deleted.write(&tombstone).unwrap();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        assert!(!folder.exists() && deleted.folder(log_id).exists());
        // A restoration, after its tombstone and after the move.
        for moved in [false, true] {
            deleted.write(&Tombstone { way: Way::Restored, ..tombstone.clone() }).unwrap();
            if moved {
                fs::rename(deleted.folder(log_id), folder.path()).unwrap();
            }
            DeletedTenants::open(data.path()).unwrap();
            assert!(folder.exists() && !deleted.has(log_id).unwrap());
            deleted.delete(&acme(), AT).unwrap();
        }
        // An erasure, half way.
        let erasing = deleted.folder(log_id).with_extension("erasing");
        fs::rename(deleted.folder(log_id), &erasing).unwrap();
        assert!(matches!(deleted.restore(&tombstone), Err(Error::NotFound(_))));
        deleted.erase(&tombstone).unwrap();
        assert!(!erasing.exists() && deleted.all().unwrap().0.is_empty());
    }

    #[test]
    fn what_was_restored_or_deleted_once_more_is_not_erased_by_an_old_list() {
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
    fn a_tombstone_that_cannot_be_read_is_told_of_and_left_alone() {
        let (data, _, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        deleted.delete(&acme(), AT).unwrap();
        fs::write(deleted.tombstone(log_id), "nonsense").unwrap();
        let (there, unreadable) = DeletedTenants::open(data.path()).unwrap().all().unwrap();
        assert_eq!((there.len(), unreadable.len()), (0, 1));
        assert!(deleted.folder(log_id).exists());
    }
}
