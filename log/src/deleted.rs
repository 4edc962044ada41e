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

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::folder::TenantFolder;
use crate::position::{LogId, Timestamp};
use crate::storage::sync_folder;
use crate::tenant_id::TenantId;

/// Beside the tenants. No tenant can have this name.
const DELETED: &str = "_deleted";
const ERASED: &str = "erased";

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
    /// Its log. Of a tenant whose manifest could not be read, an id of the tombstone's own.
    pub log_id: LogId,
    /// When.
    pub deleted_at: Timestamp,
    way: Way,
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
        for tombstone in opened.tombstones()?.into_iter().flatten() {
            opened.end(&tombstone)?;
        }
        Ok(opened)
    }

    /// Moves a tenant's folder out of the way. Nobody may have its log open for writing.
    pub fn delete(&self, tenant: &TenantId, at: Timestamp) -> Result<Tombstone, Error> {
        let _one_at_a_time = self.lock();
        let folder = TenantFolder::new(&self.data, tenant);
        if !folder.exists() {
            return Err(Error::NotFound(folder.path().to_owned()));
        }
        // One that is damaged is to go like any other.
        let log_id = folder.log_id().unwrap_or_else(|_| LogId::new(uuid::Uuid::new_v4()));
        let tombstone = Tombstone { tenant: tenant.clone(), log_id, deleted_at: at, way: Way::Deleted };
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
    pub fn has(&self, log_id: LogId) -> bool {
        self.tombstone(log_id).exists() || self.erased(log_id).exists()
    }

    /// Puts the folder back where it was.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the tenant has a log again, [`Error::NotFound`] if it is being erased.
    pub fn restore(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let _one_at_a_time = self.lock();
        let folder = self.folder(tombstone.log_id);
        if !folder.exists() {
            return Err(Error::NotFound(folder));
        }
        let place = TenantFolder::new(&self.data, &tombstone.tenant);
        if place.exists() {
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
        let is_in_place = place.log_id().is_ok_and(|found| found == log_id);
        match tombstone.way {
            Way::Deleted if is_in_place && !deleted.exists() => self.move_folder(place.path(), &deleted),
            Way::Deleted => Ok(()),
            // The tenant has come again before it could be put back.
            Way::Restored if deleted.exists() && place.exists() => {
                self.write(&Tombstone { way: Way::Deleted, ..tombstone.clone() })
            }
            Way::Restored => {
                if deleted.exists() {
                    self.move_folder(&deleted, place.path())?;
                }
                self.remove(log_id)
            }
        }
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
                let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
                found.push(read.map_err(failed("read", &path)));
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
        assert!(!folder.exists() && deleted.has(log_id));
        assert!(TenantFolder::tenants(data.path()).unwrap().is_empty());
        assert!(matches!(deleted.delete(&acme(), AT), Err(Error::NotFound(_))));

        let deleted = DeletedTenants::open(data.path()).unwrap();
        assert_eq!(deleted.all().unwrap().0, std::slice::from_ref(&tombstone));
        deleted.restore(&tombstone).unwrap();
        assert_eq!(folder.log_id().unwrap(), log_id);
        assert!(!deleted.has(log_id) && deleted.all().unwrap().0.is_empty());
    }

    #[test]
    fn a_tenant_that_has_come_again_is_not_overwritten_by_its_past() {
        let (data, folder, _) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = deleted.delete(&acme(), AT).unwrap();
        let second = folder.create().unwrap();
        assert!(matches!(deleted.restore(&tombstone), Err(Error::AlreadyExists(_))));
        assert_eq!(folder.log_id().unwrap(), second);
        assert!(!deleted.has(second));
    }

    #[test]
    fn what_is_erased_is_gone_for_good_and_known_for_ever() {
        let (data, _, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = deleted.delete(&acme(), AT).unwrap();
        deleted.erase(&tombstone).unwrap();
        assert!(!deleted.folder(log_id).exists() && deleted.has(log_id));
        assert!(deleted.all().unwrap().0.is_empty());
        assert!(matches!(deleted.restore(&tombstone), Err(Error::NotFound(_))));
    }

    #[test]
    fn whatever_a_crash_interrupts_is_ended_when_the_node_starts() {
        let (data, folder, log_id) = stage();
        let deleted = DeletedTenants::open(data.path()).unwrap();
        let tombstone = Tombstone { tenant: acme(), log_id, deleted_at: AT, way: Way::Deleted };
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
            assert!(folder.exists() && !deleted.has(log_id));
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
