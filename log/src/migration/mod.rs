//! Migration of a single-tenant data folder to a tenant of a cluster.
//!
//! ```text
//! data/_migrating/{tenant}.json   the progress of the migration
//! data/_migrating/{tenant}/       the copy, until it is published
//! from/_migrated/{log_id}.json    the destination of a migrated log
//! from/_migrated/{log_id}/        the migrated source folder
//! ```
//!
//! The files of the log are copied. Nothing is written to the source until the copy is the tenant's folder, durably.
//! Then the source's folder is moved aside, so that its history does not continue in two places. Each step is durable
//! before the next begins, so an interrupted migration can be resumed at any point.

mod destination;
mod error;
mod files;
mod migrated;
mod progress;

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use vectorizer_durable::{self as durable, create_private_folder, remove_tree, sync_tree};

pub use self::destination::Destination;
pub use self::error::MigrationError;
use self::error::failed;
use self::files::CopiedFiles;
pub use self::migrated::destination;
use self::migrated::{MIGRATED, destinations};
use self::progress::{Progress, Step};
use crate::damage::{Damage, DamageKind};
use crate::deleted::DeletedTenants;
use crate::error::Error;
use crate::folder::TenantFolder;
use crate::head;
use crate::position::{Head, LogId, Seq};
use crate::tenant_id::TenantId;

/// The folder of copies, beside the tenants'. No tenant can have this name.
const MIGRATING: &str = "_migrating";
/// The lock of a node that has the data folder open.
const NODE_LOCK: &str = "_node/lock";

/// Space to leave free beside the copy, for appends and for the file system.
const ROOM_BYTES: u64 = 16 << 20;

/// A migration that has begun. It holds locks that keep others from opening either folder.
#[derive(Debug)]
pub struct Migration {
    from: PathBuf,
    source: TenantFolder,
    data: PathBuf,
    tenant: TenantId,
    progress: Progress,
    _locks: Vec<File>,
}

/// The result of beginning a migration.
#[derive(Debug)]
pub enum MigrationStart {
    /// There is work to do.
    Migration(Box<Migration>),
    /// An earlier run has completed it.
    Done(Destination),
}

impl Migration {
    /// Locks both folders and reads the progress. Of a new migration, only its progress is written.
    pub fn begin(
        from: &Path,
        source: &TenantId,
        data: &Path,
        tenant: &TenantId,
    ) -> Result<MigrationStart, MigrationError> {
        let from = from.canonicalize().map_err(|_| MigrationError::NoSource(from.to_owned()))?;
        create_private_folder(&data.join("_node")).map_err(failed("create", &data.join("_node")))?;
        let data = data.canonicalize().map_err(failed("find", data))?;
        let mut locks = vec![lock(&data, File::create(data.join(NODE_LOCK)))?];
        // A folder that was never served has no lock, and does not get one.
        if from != data && from.join(NODE_LOCK).exists() {
            locks.push(lock(&from, File::open(from.join(NODE_LOCK)))?);
        }
        let place = TenantFolder::new(&data, tenant);
        let folder = TenantFolder::new(&from, source);
        let staging = data.join(MIGRATING);
        let progress = Progress::read(&staging, tenant)?;
        if let Some(progress) = &progress
            && (progress.from != from || progress.source != *source)
        {
            let (tenant, from) = (tenant.clone(), progress.from.clone());
            return Err(MigrationError::OtherUnderWay { tenant, from });
        }
        if !folder.exists() {
            return ended_before(&from, source, &data, &place, tenant);
        }
        let held = folder.lock(File::try_lock_shared).map_err(|error| {
            if let Error::Locked(path) = error { MigrationError::InUse(path) } else { error.into() }
        })?;
        locks.extend(held);
        let log_id = folder.log_id()?;
        let files = CopiedFiles::of(folder.path())?;
        let mut migration = Self {
            progress: Progress::new(
                from.clone(),
                source.clone(),
                log_id,
                acknowledged(&folder)?,
                files.fingerprint(),
            ),
            source: folder,
            from,
            data,
            tenant: tenant.clone(),
            _locks: locks,
        };
        match progress {
            // After a crash between publishing the copy and recording that.
            Some(mut before) if place.exists() && place.log_id().is_ok_and(|it| it == before.log_id) => {
                if (before.log_id, before.seq, before.chain)
                    != (log_id, migration.progress.seq, migration.progress.chain)
                {
                    return Err(MigrationError::SourceWentOn(migration.source.path().to_owned()));
                }
                before.step = Step::Placed;
                migration.progress = before;
            }
            Some(_) | None if place.exists() => {
                let Self { tenant, data, .. } = migration;
                return Err(MigrationError::TenantExists { tenant, data });
            }
            Some(before) if before.is_of(&migration.progress) => migration.progress = before,
            // The source was used since, so the copy may mix two of its states.
            Some(_) => {
                migration.erase_copy()?;
                migration.write_progress()?;
            }
            None => {
                migration.look_for(log_id)?;
                migration.erase_copy()?;
                migration.write_progress()?;
            }
        }
        Ok(MigrationStart::Migration(Box::new(migration)))
    }

    /// The log. It keeps its id.
    pub fn log_id(&self) -> LogId {
        self.progress.log_id
    }

    /// The tenant that it becomes.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The cluster's node folder.
    pub fn node(&self) -> PathBuf {
        self.data.join("_node")
    }

    /// The head of the source's log.
    pub fn head(&self) -> Head {
        Head { seq: self.progress.seq, chain: self.progress.chain }
    }

    /// Whether the copy is published as the tenant's folder.
    pub fn is_placed(&self) -> bool {
        self.progress.step == Step::Placed
    }

    /// The copy, until it is published: a tenant's folder like any other.
    pub fn copied(&self) -> TenantFolder {
        TenantFolder::new(self.data.join(MIGRATING), &self.tenant)
    }

    /// Copies the files, or those bytes that are missing, and makes them durable. Calls `report` with how many bytes
    /// of how many are copied; it may break.
    pub fn copy(
        &mut self,
        report: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MigrationError> {
        if self.progress.step != Step::Copying {
            return Ok(ControlFlow::Continue(()));
        }
        let to = self.copied().path().to_owned();
        let files = CopiedFiles::of(self.source.path())?;
        create_private_folder(&to).map_err(failed("create", &to))?;
        let bytes = files.bytes();
        // Opening a log whose storage has failed copies it once more.
        let times = if self.source.path().join("condemned").exists() { 2 } else { 1 };
        let needed = (times * bytes).saturating_sub(files.copied_to(&to)).saturating_add(ROOM_BYTES);
        let available = available(&self.data)?;
        if available < needed {
            return Err(MigrationError::TooSmall { data: self.data.clone(), needed, available });
        }
        if files.copy(&to, report)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.copied().adopt()?;
        self.progress.step = Step::Copied;
        self.write_progress()?;
        Ok(ControlFlow::Continue(()))
    }

    /// Discards an invalid copy: the next run makes a new one.
    pub fn discard_copy(&mut self) -> Result<(), MigrationError> {
        self.erase_copy()?;
        self.progress.step = Step::Copying;
        self.write_progress()
    }

    /// Publishes the copy: from here on the tenant exists. Its log must not be open.
    pub fn place(&mut self) -> Result<(), MigrationError> {
        if self.is_placed() {
            return Ok(());
        }
        let (copied, place) = (self.copied(), TenantFolder::new(&self.data, &self.tenant));
        // A rename would replace an empty folder.
        if place.exists() {
            return Err(MigrationError::TenantExists {
                tenant: self.tenant.clone(),
                data: self.data.clone(),
            });
        }
        sync_tree(copied.path())
            .and_then(|()| durable::rename(copied.path(), place.path()))
            .map_err(failed("put in place", place.path()))?;
        self.progress.step = Step::Placed;
        self.write_progress()
    }

    /// Moves the source's folder aside and removes the progress.
    pub fn retire_source(self) -> Result<Destination, MigrationError> {
        let migrated = self.from.join(MIGRATED);
        create_private_folder(&migrated).map_err(failed("create", &migrated))?;
        let retired = migrated.join(self.progress.log_id.to_string());
        let destination = Destination {
            source: self.progress.source.clone(),
            tenant: self.tenant.clone(),
            data: self.data.clone(),
        };
        migrated::write(&destination, &retired.with_extension("json"))?;
        durable::rename(self.source.path(), &retired).map_err(failed("move aside", self.source.path()))?;
        Progress::remove(&self.data.join(MIGRATING), &self.tenant)?;
        Ok(destination)
    }

    fn write_progress(&self) -> Result<(), MigrationError> {
        self.progress.write(&self.data.join(MIGRATING), &self.tenant)
    }

    fn erase_copy(&self) -> Result<(), MigrationError> {
        let copied = self.copied();
        remove_tree(copied.path()).map_err(failed("erase", copied.path()))
    }

    /// Fails if the cluster has or had this log. Reads every tenant's manifest.
    fn look_for(&self, log_id: LogId) -> Result<(), MigrationError> {
        if self.data.join("_deleted").exists() && DeletedTenants::open(&self.data)?.has(log_id)? {
            return Err(MigrationError::LogDeleted(log_id));
        }
        let source = self.source.path();
        for tenant in TenantFolder::tenants(&self.data).map_err(failed("read", &self.data))? {
            let folder = TenantFolder::new(&self.data, &tenant);
            if folder.path() != source && folder.stated_log_id().is_ok_and(|found| found == log_id) {
                return Err(MigrationError::LogExists { log_id, tenant });
            }
        }
        Ok(())
    }
}

/// Without a source: the migration may be complete, except for removing its progress.
fn ended_before(
    from: &Path,
    source: &TenantId,
    data: &Path,
    place: &TenantFolder,
    tenant: &TenantId,
) -> Result<MigrationStart, MigrationError> {
    let Some(to) = destinations(from)?.into_iter().find(|it| it.source == *source) else {
        return Err(MigrationError::NoSource(from.to_owned()));
    };
    if to.tenant != *tenant || to.data != data || !place.exists() {
        return Err(MigrationError::MigratedElsewhere { from: from.to_owned(), to });
    }
    Progress::remove(&data.join(MIGRATING), tenant)?;
    Ok(MigrationStart::Done(to))
}

/// The acknowledged head of a log that is not open.
fn acknowledged(folder: &TenantFolder) -> Result<Head, Error> {
    let unreadable = |_| Damage { seq: Seq::OLDEST, kind: DamageKind::Head };
    let file = fs::read(folder.path().join("head")).map_err(unreadable)?;
    Ok(head::acknowledged(&file)?.0)
}

fn lock(folder: &Path, file: io::Result<File>) -> Result<File, MigrationError> {
    let file = file.map_err(failed("lock", folder))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(MigrationError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock", folder)(error)),
    }
}

fn available(path: &Path) -> Result<u64, MigrationError> {
    let system = rustix::fs::statvfs(path).map_err(|error| failed("measure", path)(error.into()))?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(test)]
mod tests;
