//! The folder of one tenant: all of its files.
//!
//! ```text
//! data/{tenant}/manifest.json   log id, segment size, the tenant and its incarnation
//! data/{tenant}/head            the last acknowledged record
//! data/{tenant}/log/            the first tail: a sled database, and the file of bodies
//! data/{tenant}/tails/{seq}/    each later tail, named by its first record
//! data/{tenant}/history.json    the base, the segments and the key of handles
//! data/{tenant}/segments/       sealed records, and the base
//! data/{tenant}/condemned       exists after a failed write or sync
//! data/{tenant}/closed          exists while the log is closed, if it was closed cleanly
//! data/{tenant}/checkpoint      derived data, written by the crates that use this one
//! data/{tenant}/graphs/         likewise
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vectorizer_durable::{
    self as durable, copy_tree, create_private_folder, remove_tree, sync_folder, sync_tree,
};

use crate::base::Base;
use crate::closed::{self, ClosedFile, ClosedLog};
use crate::commits::Commits;
use crate::damage::{Damage, DamageKind};
use crate::error::{Error, damage_if_corrupt};
use crate::head;
use crate::history::{self, History, SEGMENTS};
use crate::incarnation::Incarnation;
use crate::manifest::Manifest;
use crate::position::{Head, LogId, Seq};
use crate::read_copy;
use crate::record::Record;
use crate::recovery::{UnverifiedLog, acknowledged, copy_tail, each_acknowledged, initialize};
use crate::sealing::remove_unnamed;
use crate::storage::{SledCopy, SledPaths, SledStorage, Storage, StorageFailure};
use crate::tails;
use crate::tenant_id::TenantId;
use crate::tenant_log::StoredRecord;
use crate::tiers::{LogFolder, Tail, Tiers, segments_of};
use crate::verify::{Verification, verify};

/// sled's segment size in new logs. Measured: with 128 KiB a small tenant opens faster (3 ms against 8) and takes less
/// memory (0.5 MB against 3), but durable appends run at a third of the speed.
const SEGMENT_BYTES: usize = 512 * 1024;

/// How long to wait for a lock that may be about to be released, and how often to try.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// The folder of logs that are being created, beside the tenants' folders. No tenant can have this name.
const CREATING: &str = "_creating";

/// The folder of one tenant in a data folder.
#[derive(Clone, Debug)]
pub struct TenantFolder {
    data: PathBuf,
    path: PathBuf,
    tenant: TenantId,
}

impl TenantFolder {
    /// The folder of `tenant` in `data`. Does no I/O.
    pub fn new(data: impl Into<PathBuf>, tenant: &TenantId) -> Self {
        let data = data.into();
        Self { path: data.join(tenant.as_str()), data, tenant: tenant.clone() }
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the tenant has a log. Returns `false` if that cannot be determined.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Whether the tenant has a log. Returns an error if that cannot be determined.
    pub fn try_exists(&self) -> Result<bool, Error> {
        exists(&self.path)
    }

    /// The sizes of the log's files in bytes, without opening it. Files that cannot be read do not count.
    pub fn file_bytes(&self) -> u64 {
        let tails = tails::firsts(&self.path).unwrap_or_default();
        let tail_bytes = |first| self.tail(first).file_bytes().unwrap_or(0);
        let segments = fs::read_dir(self.path.join(SEGMENTS)).into_iter().flatten().flatten();
        let segment_bytes = segments.map(|file| file.metadata().map_or(0, |metadata| metadata.len()));
        tails.into_iter().map(tail_bytes).sum::<u64>() + segment_bytes.sum::<u64>()
    }

    /// The paths of the tail whose first record is `first`.
    fn tail(&self, first: Seq) -> SledPaths {
        tails::paths(&self.path, first)
    }

    /// The first records of the tails that are not sealed, oldest first, and the history. There is always a tail: the
    /// last one takes the writes.
    fn unsealed(&self, manifest: &Manifest) -> Result<(Vec<Seq>, History), Error> {
        let history = self.history(manifest)?;
        let path = &self.path;
        let found = tails::firsts(path).map_err(|source| Error::File {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        let sealed = history.end().seq;
        // A tail is sealed as a whole. The last tail is never sealed, even if its name says so.
        let covered = found.iter().skip(1).take_while(|next| **next <= sealed.next()).count();
        let unsealed = found.get(covered..).unwrap_or_default().to_vec();
        if unsealed.is_empty() {
            let reason = "there is no folder for the records that are not sealed".to_owned();
            return Err(Damage { seq: sealed.next(), kind: DamageKind::Storage { reason } }.into());
        }
        Ok((unsealed, history))
    }

    fn history(&self, manifest: &Manifest) -> Result<History, Error> {
        if manifest.has_history() {
            History::read(&self.path, manifest.log_id)
        } else {
            Ok(History::empty(manifest.log_id))
        }
    }

    /// The tiers of the log, with its tails opened by `open`.
    fn tiers(
        &self,
        manifest: &Manifest,
        firsts: &[Seq],
        history: History,
        lock: Option<File>,
        open: impl Fn(Seq) -> Result<Arc<dyn Storage>, Error>,
    ) -> Result<Tiers, Error> {
        let open = |first: &Seq| Ok::<_, Error>(Tail { first: *first, storage: open(*first)? });
        let mut tails = firsts.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let Some(active) = tails.pop() else { return Err(Error::NotFound(self.path.clone())) };
        let folder =
            LogFolder { path: self.path.clone(), segment_bytes: manifest.segment_bytes, _lock: lock };
        Ok(Tiers::of_folder(folder, history, tails, active))
    }

    /// Removes sealed tails, and files of interrupted changes of the history. Nothing else may use the folder.
    fn remove_replaced(&self, unsealed: &[Seq], history: &History) -> io::Result<()> {
        for first in tails::firsts(&self.path)? {
            if !unsealed.contains(&first) {
                tails::remove(&self.path, first)?;
            }
        }
        tails::remove_unfinished(&self.path)?;
        remove_unnamed(&self.path, history)
    }

    /// The tenants that have a folder in `data`, in no particular order.
    pub fn tenants(data: &Path) -> io::Result<Vec<TenantId>> {
        let mut tenants = Vec::new();
        for entry in fs::read_dir(data)? {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && let Some(tenant) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            {
                tenants.push(tenant);
            }
        }
        Ok(tenants)
    }

    /// Creates an empty log with a random id, for a tenant whose incarnation is not known. The log is built beside the
    /// tenants' folders and renamed into place. So a folder that exists is complete, even after a loss of power.
    pub fn create(&self) -> Result<LogId, Error> {
        self.create_for(None)
    }

    /// Like [`create`](Self::create), for this incarnation of the tenant.
    pub fn create_for(&self, incarnation: Option<Incarnation>) -> Result<LogId, Error> {
        if self.try_exists()? {
            return Err(Error::AlreadyExists(self.path.clone()));
        }
        let log_id = LogId::new(Uuid::new_v4());
        let building = self.data.join(CREATING).join(log_id.to_string());
        self.build(log_id, incarnation, &building).inspect_err(|_| {
            // An incomplete log takes space, and a full disk may be the cause of the error.
            let _ = remove_tree(&building);
        })?;
        Ok(log_id)
    }

    fn build(&self, log_id: LogId, incarnation: Option<Incarnation>, building: &Path) -> Result<(), Error> {
        let history = History::begun(log_id)?;
        let manifest = Manifest::new(log_id, SEGMENT_BYTES, incarnation, Some(self.tenant.clone()));
        let manifest = manifest.with_history();
        let create = || {
            // Only the server's own user may read tenants' data.
            create_private_folder(building)?;
            history.replace(building)?;
            manifest.replace(&building.join("manifest.json"))
        };
        create().map_err(|source| Error::File { doing: "create", path: building.to_owned(), source })?;
        let storage =
            SledStorage::create(&tails::paths(building, Seq::OLDEST), SEGMENT_BYTES, manifest.placement())?;
        initialize(&storage, log_id)?;
        drop(storage);
        let publish = || {
            sync_tree(&building.join("log"))?;
            sync_folder(building)?;
            durable::rename(building, &self.path)
        };
        publish().map_err(|source| Error::File { doing: "publish", path: self.path.clone(), source })
    }

    /// Removes logs in `data` whose creation was interrupted. Called when a node starts.
    pub fn remove_unfinished(data: &Path) -> io::Result<()> {
        remove_tree(&data.join(CREATING))
    }

    /// The log id in the manifest.
    pub fn log_id(&self) -> Result<LogId, Error> {
        Ok(self.manifest()?.log_id)
    }

    /// The log id in the manifest, even if the manifest names another tenant. Used to find copies of a log.
    pub(crate) fn stated_log_id(&self) -> Result<LogId, Error> {
        Ok(Manifest::read(self.path.join("manifest.json"))?.log_id)
    }

    /// The log id, and the tenant that the manifest names, if it names one.
    pub(crate) fn identity(&self) -> Result<(LogId, Option<TenantId>), Error> {
        let Manifest { log_id, tenant, .. } = self.manifest()?;
        Ok((log_id, tenant))
    }

    /// The incarnation of the tenant id that the log belongs to, if it is known.
    pub fn incarnation(&self) -> Result<Option<Incarnation>, Error> {
        Ok(self.manifest()?.incarnation)
    }

    /// Completes the manifest durably. Adds `incarnation` if the manifest has no incarnation, and the tenant's name if
    /// it names no tenant. Returns the log's incarnation. Afterwards the folder cannot be mistaken for that of another
    /// tenant. Must be called by one caller at a time, after verifying that the log's records belong to the manifest.
    pub fn bind(&self, incarnation: Option<Incarnation>) -> Result<Option<Incarnation>, Error> {
        let manifest = self.manifest()?;
        let bound = manifest.incarnation.or(incarnation);
        if manifest.tenant.is_some() && bound == manifest.incarnation {
            return Ok(bound);
        }
        self.change_manifest(|manifest| manifest.bound(bound, self.tenant.clone()))?;
        Ok(bound)
    }

    /// Writes this tenant's name to the manifest, even if it names another tenant. Used for a copy of a log that
    /// becomes another tenant.
    pub(crate) fn adopt(&self) -> Result<(), Error> {
        self.change_manifest(|manifest| {
            let incarnation = manifest.incarnation;
            manifest.bound(incarnation, self.tenant.clone())
        })
    }

    fn change_manifest(&self, change: impl FnOnce(Manifest) -> Manifest) -> Result<(), Error> {
        Manifest::change(&self.path.join("manifest.json"), change)
    }

    /// The log id, verified against the records, since the manifest may have been copied into the folder. The log must
    /// not be open.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the records belong to another log.
    pub fn proven_log_id(&self) -> Result<LogId, Error> {
        let closed = self.closed_file()?;
        let proven = self.open().and_then(UnverifiedLog::proven_log_id);
        // Nothing was written, so the closed file is still valid.
        if let Some(closed) = closed {
            self.restore_closed(&closed)?;
        }
        proven
    }

    /// Opens the log for recovery. If a write has failed before, the log is first copied, up to its acknowledged
    /// head, into a new folder that takes its place.
    pub fn open(&self) -> Result<UnverifiedLog, Error> {
        let is_poisoned = exists(&self.tail(Seq::OLDEST).poison_mark)?;
        self.open_after(is_poisoned)
    }

    /// Like [`open`](Self::open), for a caller that knows that a write has failed in this process. The failed disk may
    /// not have stored the mark of the failure.
    pub fn open_after_failure(&self) -> Result<UnverifiedLog, Error> {
        self.open_after(true)
    }

    /// Reads the acknowledged records of a log that cannot be opened in place, for example on a full disk, from a
    /// copy in memory or on another disk. Calls `fold` with each record. Returns the head, and the stored bytes up to
    /// it. Changes nothing in the folder.
    pub fn read_copy<E: From<Error>>(
        &self,
        mut fold: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<(Head, u64), E> {
        let manifest = self.manifest()?;
        let _unchanged = self.lock(File::try_lock_shared)?;
        let (firsts, history) = self.unsealed(&manifest)?;
        let bytes = firsts.iter().map(|first| self.tail(*first).file_bytes()).sum::<io::Result<u64>>();
        let copy = read_copy::scratch(bytes.map_err(|source| self.not_copied(source))?)?;
        let tiers = self.copied_tiers(&manifest, &firsts, history, copy.path())?;
        let (acknowledged, _) = acknowledged(&tiers)?;
        let commits = Commits::new(&tiers, manifest.log_id, acknowledged);
        let (head, bytes) =
            each_acknowledged(&commits, tiers.beginning(), acknowledged, |committed| fold(committed.record))?;
        Ok((head, bytes + tiers.base().map_or(0, |base| base.bytes())))
    }

    /// The state that the log begins with, if older records were dropped. Does not open the log.
    pub fn base(&self) -> Result<Option<Base>, Error> {
        let history = self.history(&self.manifest()?)?;
        let entry = history.base;
        Ok(entry.map(|entry| Base::new(&self.path.join(SEGMENTS), history.log_id, entry)))
    }

    /// The tiers of the log, whose tails are copied to `copy` first. Segments never change, and are read where they
    /// are.
    fn copied_tiers(
        &self,
        manifest: &Manifest,
        firsts: &[Seq],
        history: History,
        copy: &Path,
    ) -> Result<Tiers, Error> {
        let copied = |first| {
            let (from, to) = (self.tail(first), tails::paths(copy, first));
            // IMPORTANT: before it is copied. The content of the page cache is taken to be durable.
            File::open(from.data()).and_then(|data| data.sync_data())?;
            copy_tree(&from.log, &to.log)?;
            fs::copy(&from.head, &to.head)?;
            Ok(to)
        };
        self.tiers(manifest, firsts, history, None, |first| {
            let to = copied(first).map_err(|source| self.not_copied(source))?;
            let storage = SledCopy::open(to, manifest.segment_bytes).map_err(damage_if_corrupt)?;
            Ok(Arc::new(storage))
        })
    }

    fn not_copied(&self, source: io::Error) -> Error {
        Error::File { doing: "copy", path: self.path.clone(), source }
    }

    /// The state of the log when it was closed. `None` if the log has been opened since, was not closed cleanly, or has
    /// an invalid closed file. Does not open the log, and changes nothing.
    pub fn closed(&self) -> Result<Option<ClosedLog>, Error> {
        let manifest = self.manifest()?;
        let paths = self.tail(Seq::OLDEST);
        if exists(&paths.poison_mark)? {
            return Ok(None);
        }
        let file = self.closed_file()?;
        let Some(closed) = file.and_then(|file| file.read(manifest.log_id)) else { return Ok(None) };
        if closed.base.seq < self.history(&manifest)?.beginning().seq {
            return Ok(None);
        }
        let acknowledged = fs::read(&paths.head).map_err(|source| Error::File {
            doing: "read",
            path: paths.head.clone(),
            source,
        })?;
        let is_at_head = head::decode(&acknowledged).is_some_and(|(head, _)| head == closed.head);
        Ok(is_at_head.then_some(closed))
    }

    /// Writes the closed file of a log that was closed at `head`, with its stored bytes and the records after `base`.
    /// `between` is `[base, head]`. The caller must have closed the log, and must prevent it from being opened
    /// meanwhile.
    pub fn write_closed(
        &self,
        log_id: LogId,
        between: [Head; 2],
        bytes: u64,
        records: &[StoredRecord],
    ) -> Result<(), Error> {
        closed::write(&self.path, log_id, between, bytes, records).map_err(self.closed_failed("write"))
    }

    /// The content of the closed file. Opening the log sets the file aside.
    pub fn closed_file(&self) -> Result<Option<ClosedFile>, Error> {
        closed::file(&self.path).map_err(self.closed_failed("read"))
    }

    /// Removes the closed file that opening has set aside. Called before the log is written to.
    pub fn discard_closed(&self) -> Result<(), Error> {
        closed::discard(&self.path).map_err(self.closed_failed("remove"))
    }

    /// Restores the closed file. Valid only if nothing was written to the log since.
    pub fn restore_closed(&self, file: &ClosedFile) -> Result<(), Error> {
        closed::restore(&self.path, file).map_err(self.closed_failed("write"))
    }

    fn closed_failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = self.path.join(closed::FILE);
        move |source| Error::File { doing, path, source }
    }

    fn open_after(&self, failure: bool) -> Result<UnverifiedLog, Error> {
        let manifest = self.manifest()?;
        // IMPORTANT: before the tails are looked for. An open log may begin a tail and remove another.
        let lock = self.lock(File::try_lock)?;
        let (firsts, history) = self.unsealed(&manifest)?;
        let last = firsts.last().copied().unwrap_or(Seq::OLDEST);
        let paths = self.tail(last);
        // IMPORTANT: the closed file is set aside before anything can be written. From here on the log may be newer
        // than the file.
        closed::set_aside(&self.path).map_err(self.closed_failed("remove"))?;
        self.finish_replacement(&paths)?;
        drop(self.lock_file(paths.data(), File::try_lock)?);
        self.remove_replaced(&firsts, &history).map_err(|source| self.not_swept(source))?;
        if failure {
            self.replace(&paths, &manifest, last)?;
            drop(self.lock_file(paths.data(), File::try_lock)?);
        }
        let tiers = self.tiers(&manifest, &firsts, history, lock, |first| {
            Ok(Arc::new(open_storage(&self.tail(first), &manifest)?))
        })?;
        UnverifiedLog::of_tiers(tiers, manifest.log_id)
    }

    /// Removes unfinished files that a killed process has left in the folder. Nothing else may write there meanwhile.
    pub fn remove_leftovers(&self) -> Result<(), Error> {
        remove_leftovers(&self.path, is_leftover).map_err(|source| self.not_swept(source))
    }

    fn not_swept(&self, source: io::Error) -> Error {
        Error::File { doing: "sweep", path: self.path.clone(), source }
    }

    /// Verifies the base and all segments against their hashes, whether the log is open or not. Calls `pace` with the
    /// bytes that were read; it may wait or break. Returns what is damaged.
    pub fn scrub(&self, pace: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Vec<Damage>, Error> {
        let manifest = self.manifest()?;
        let history = self.history(&manifest)?;
        let mut damaged = Vec::new();
        if let Some(base) = history.base {
            damaged.extend(Base::new(&self.path.join(SEGMENTS), history.log_id, base).scrub(pace)?);
        }
        for segment in segments_of(&self.path, &history) {
            damaged.extend(segment.scrub(pace)?);
        }
        if damaged.is_empty() {
            return Ok(damaged);
        }
        // Files that were replaced meanwhile are not missing.
        let named: Vec<_> = self.history(&manifest)?.file_names().collect();
        damaged.retain(|damage| {
            let DamageKind::Segment { file, .. } = &damage.kind else { return true };
            named.contains(file)
        });
        Ok(damaged)
    }

    /// Verifies the log and calls `visit` with every valid record. Works on a copy in `scratch`: opening a log writes
    /// to it, and verification must not change the log.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if a server has the folder open, and errors that keep the log from being read at all. Damage
    /// of records is part of the result.
    pub fn verify(
        &self,
        scratch: &Path,
        visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
    ) -> Result<Verification, Error> {
        let manifest = self.manifest()?;
        let unchanged = self.lock(File::try_lock_shared)?;
        let copy = tempfile::Builder::new()
            .prefix("vectorizer-verify-")
            .tempdir_in(scratch)
            .map_err(|source| Error::File { doing: "create a folder in", path: scratch.into(), source })?;
        // Derived data is not copied. It may be larger than the log.
        let (firsts, history) = self.unsealed(&manifest)?;
        let tiers = self.copied_tiers(&manifest, &firsts, history, copy.path())?;
        drop(unchanged);
        let verification = verify(&tiers, manifest.log_id, visit)?;
        // Segments are read where they are. A server that was started meanwhile may have replaced some.
        if !verification.holds() && self.history(&manifest)? != *tiers.history {
            return Err(Error::Locked(self.path.clone()));
        }
        Ok(verification)
    }

    /// IMPORTANT: reads of the manifest go through here, so that a manifest is never valid in another tenant's folder.
    fn manifest(&self) -> Result<Manifest, Error> {
        if !self.try_exists()? {
            return Err(Error::NotFound(self.path.clone()));
        }
        let manifest = Manifest::read(self.path.join("manifest.json"))?;
        match &manifest.tenant {
            // The folder of a deleted tenant has the name of its log.
            Some(_) if self.tenant.as_str() == manifest.log_id.to_string() => Ok(manifest),
            Some(found) if *found != self.tenant => Err(Error::OtherTenant {
                path: self.path.clone(),
                expected: self.tenant.clone(),
                found: found.clone(),
            }),
            Some(_) | None => Ok(manifest),
        }
    }

    /// Prevents others from opening the log while the returned file is open. An open log holds this lock on its head
    /// file, which stays the same while tails come and go.
    pub(crate) fn lock(
        &self,
        try_lock: fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<File>, Error> {
        self.lock_file(self.path.join("head"), try_lock)
    }

    /// Locks a file of the log. sled locks the file `db` of each tail: trying this lock first distinguishes an open
    /// database from a damaged one. After a log was closed in this process, a thread of sled may still hold it for a
    /// moment, so this function waits before it reports the log as locked.
    fn lock_file(
        &self,
        path: PathBuf,
        try_lock: fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<File>, Error> {
        let deadline = Instant::now() + LOCK_WAIT;
        let data = match File::open(&path) {
            Ok(data) => data,
            Err(source) if StorageFailure::of(&source).is_unavailable() => {
                return Err(Error::File { doing: "open", path, source });
            }
            // A missing file is damage. Opening the log reports it.
            Err(_) => return Ok(None),
        };
        loop {
            match try_lock(&data) {
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_POLL);
                }
                Err(TryLockError::WouldBlock) => return Err(Error::Locked(self.path.clone())),
                _ => return Ok(Some(data)),
            }
        }
    }

    /// Replaces the last tail by a copy of its acknowledged records. All other tails were durable before it was begun.
    fn replace(&self, current: &SledPaths, manifest: &Manifest, first: Seq) -> Result<(), Error> {
        let [retired, log] = [".retired", ".fresh"].map(|suffix| beside(&current.log, suffix));
        let fresh = SledPaths {
            log,
            head: self.path.join("head.fresh"),
            poison_mark: self.path.join("condemned.fresh"),
        };
        copy_log(current, &fresh, manifest, first).inspect_err(|_| {
            // An incomplete copy is useless and takes space, and a full disk may be the cause of the error.
            let _ = remove_tree(&fresh.log);
        })?;
        // IMPORTANT: the copy is complete and durable before the old log moves away. So if `log` is missing and
        // `log.fresh` exists, the copy may take the place of the log, and nothing removes the copy. The head file
        // stays: it is the same for the old log and for the copy.
        let publish = || {
            durable::remove_file(&fresh.head)?;
            remove_tree(&retired)?;
            durable::rename(&current.log, &retired)
        };
        publish().map_err(|source| self.not_replaced(source))?;
        self.finish_replacement(current)?;
        if exists(&current.poison_mark)? {
            durable::remove_file(&current.poison_mark).map_err(|source| self.not_replaced(source))?;
        }
        Ok(())
    }

    /// Completes a replacement that was interrupted after the old log had moved away. The copy takes the place of the
    /// log. If the copy is lost, the old log moves back.
    fn finish_replacement(&self, paths: &SledPaths) -> Result<(), Error> {
        let [fresh, retired] = [".fresh", ".retired"].map(|suffix| beside(&paths.log, suffix));
        let finish = || {
            if paths.log.try_exists()? {
                // The rename to `log` may not be durable yet. It must be durable before the old log is removed.
                return if retired.try_exists()? { durable::sync_folder_of(&paths.log) } else { Ok(()) };
            }
            if fresh.try_exists()? {
                durable::rename(&fresh, &paths.log)?;
                remove_tree(&retired)?;
            } else if retired.try_exists()? {
                durable::rename(&retired, &paths.log)?;
            }
            Ok(())
        };
        finish().map_err(|source| self.not_replaced(source))
    }

    fn not_replaced(&self, source: io::Error) -> Error {
        Error::File { doing: "replace the log in", path: self.path.clone(), source }
    }
}

/// Verifies the acknowledged records, copies them to new files and makes the new files durable.
fn copy_log(from: &SledPaths, to: &SledPaths, manifest: &Manifest, first: Seq) -> Result<(), Error> {
    let file = |source| Error::File { doing: "copy the log to", path: to.log.clone(), source };
    remove_tree(&to.log).map_err(file)?;
    let old = Arc::new(open_storage(from, manifest)?);
    let new = SledStorage::create(to, manifest.segment_bytes, manifest.placement())?;
    copy_tail(old, &new, manifest.log_id, first)?;
    drop(new);
    sync_tree(&to.log).map_err(file)
}

/// `path` with a longer name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Whether `path` exists. Returns an error if that cannot be determined.
pub(crate) fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|source| Error::File { doing: "look for", path: path.to_owned(), source })
}

fn open_storage(paths: &SledPaths, manifest: &Manifest) -> Result<SledStorage, Error> {
    SledStorage::open(paths, manifest.segment_bytes, manifest.placement()).map_err(damage_if_corrupt)
}

/// Whether this is the name of an unfinished manifest, closed file, checkpoint or graph. Earlier versions gave
/// unfinished closed files random names.
fn is_leftover(name: &str) -> bool {
    ["manifest.json.fresh", history::FRESH, closed::FRESH, closed::ASIDE].contains(&name)
        || name == "unfinished"
        || name.strip_prefix("closed-").is_some_and(|rest| rest.len() == 6)
}

/// Removes the files in `folder` whose names match `is_leftover`.
pub(crate) fn remove_leftovers(folder: &Path, left: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&left) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
