//! The storage on sled 0.34.7, with safeguards that sled lacks.
//!
//! The following was found in its source and by measurements:
//!
//! - `flush` calls `sync_file_range`, not fsync: [`SledStorage::sync`] calls `fdatasync` on a descriptor of its own
//!   after it.
//! - sled reuses segments as soon as its own flush returns: a page may be unsynced in a new segment while its old one
//!   is overwritten. So at most one segment is written between two syncs. sled writes up to eight times its input
//!   (links, whole leaves, splits, cleaning), so the input between two syncs is at most a tenth of a segment;
//!   measured, that causes writes of two thirds of a segment.
//! - Opening reads the page cache, not the disk: `db` is synced before. Opening also writes: the rest of the last
//!   segment, and zeros over every free one, a megabyte and more. These contain nothing that is still needed, since
//!   all that sled has read is durable. `db` is synced again before the first change, so that they do not add to its
//!   writes.
//! - Opening also replaces the snapshot and zeroes segments that it calls free. The folder is synced before `db`:
//!   sled has no check for zeros and appends that are durable beside the previous snapshot.
//! - Recovery drops damaged data silently, or panics: the head file detects the former, `catch_unwind` the latter.
//! - Large leaves would be stored in separate, unsynced blob files: values stay below 1/80 of a segment.
//! - Large commits are written several times over: they go to a file of their own, as [`super::bodies`] says.

use std::fs::{self, File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use vectorizer_durable::sync_folder;

use super::bodies::{self, BodyFile, BodyPlacement};
use super::{Storage, StorageError, StorageFailure, VisitPart};
use crate::head::{HEAD_FILE_BYTES, SLOT_BYTES, Slot};
use crate::part::PartKey;

/// How many entries are fetched from sled at once: one long iterator makes its page cache outgrow its limit.
const SLICE_ENTRIES: usize = 512;

/// The size of the page cache of one log.
const CACHE_BYTES: u64 = 4 << 20;

/// How long to wait for the lock of a log that was just closed.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How often to try: the release of a lock is not signalled.
const LOCK_POLL: Duration = Duration::from_millis(2);
/// Part of sled's message if the lock of a database is held.
const LOCKED: &str = "could not acquire lock";

/// How many bytes are read from a copy before it is opened again. sled puts each page that is read on one of 256
/// lists, and frees none before a list has sixty-four: for large leaves that are read once, a gigabyte and more.
const READ_BEFORE_REOPENING: usize = 32 << 20;

/// The operation in errors of creating a database.
const CREATE: &str = "create the log";

/// What sled writes besides each part, for its key and headers, in bytes.
const PART_OVERHEAD_BYTES: usize = 64;

/// The database of one log, its file of bodies, its head file, and the mark of a failed write.
#[derive(Debug)]
pub struct SledStorage {
    db: Database,
    /// `log/db` again, for `fdatasync`.
    data: File,
    bodies: BodyFile,
    placement: BodyPlacement,
    head: File,
    poison_mark: PathBuf,
    segment_bytes: usize,
    /// Bytes given to sled since the last sync.
    pub(super) unsynced_bytes: AtomicUsize,
}

/// The paths of a [`SledStorage`].
#[derive(Clone, Debug)]
pub(crate) struct SledPaths {
    /// The folder of sled.
    pub(crate) log: PathBuf,
    /// The head file.
    pub(crate) head: PathBuf,
    /// The mark of a failed write.
    pub(crate) poison_mark: PathBuf,
}

impl SledPaths {
    /// The file with all data of the database.
    pub(crate) fn data(&self) -> PathBuf {
        self.log.join("db")
    }

    /// The size of sled's file and of the file of bodies together, in bytes.
    pub(crate) fn file_bytes(&self) -> io::Result<u64> {
        let bodies = match fs::metadata(self.log.join(bodies::FILE)) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(fs::metadata(self.data())?.len() + bodies)
    }
}

impl SledStorage {
    /// Creates an empty database and head file and syncs them. The caller syncs the parent folders.
    pub(crate) fn create(
        paths: &SledPaths,
        segment_bytes: usize,
        placement: BodyPlacement,
    ) -> Result<Self, StorageError> {
        let create = || {
            let mut options = OpenOptions::new();
            let head = options.write(true).create(true).truncate(true).open(&paths.head)?;
            head.set_len(HEAD_FILE_BYTES as u64).and_then(|()| head.sync_all())
        };
        create().map_err(|error| StorageError::of_file(CREATE, &error))?;
        Self::create_tail(paths, segment_bytes, placement)
    }

    /// Creates an empty database beside an existing head file and syncs it. The caller syncs the parent folders.
    pub(crate) fn create_tail(
        paths: &SledPaths,
        segment_bytes: usize,
        placement: BodyPlacement,
    ) -> Result<Self, StorageError> {
        let doing = CREATE;
        let failed = |error: io::Error| StorageError::of_file(doing, &error);
        fs::create_dir_all(&paths.log).map_err(failed)?;
        let head = OpenOptions::new().read(true).write(true).open(&paths.head).map_err(failed)?;
        let db = open_sled(&paths.log, segment_bytes)?;
        guarded(doing, || db.get().flush())?;
        for file in ["conf", "db"] {
            File::open(paths.log.join(file)).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        sync_folder(&paths.log).map_err(failed)?;
        Self::assemble(db, paths, head, segment_bytes, placement)
    }

    /// Opens an existing database, with the safeguards of the module's documentation. Records are read wherever they
    /// are; `placement` says where new ones go.
    pub(crate) fn open(
        paths: &SledPaths,
        segment_bytes: usize,
        placement: BodyPlacement,
    ) -> Result<Self, StorageError> {
        // A missing file is damage: a log has all of them since its creation.
        let failed = |error: io::Error| {
            let error = StorageError::of_file("open the log", &error);
            let is_absent = error.kind == StorageFailure::Absent;
            if is_absent { StorageError { kind: StorageFailure::Corrupt, ..error } } else { error }
        };
        let head = OpenOptions::new().read(true).write(true).open(&paths.head).map_err(failed)?;
        // IMPORTANT: before sled reads it. Recovery treats the content of the page cache as durable.
        File::open(paths.data()).and_then(|data| data.sync_data()).map_err(failed)?;
        set_aside_snapshots(&paths.log, SnapshotsToSetAside::Unusable).map_err(failed)?;
        let db = match open_sled(&paths.log, segment_bytes) {
            // A snapshot is derived data; without it sled reads all data again.
            Err(error)
                if error.kind == StorageFailure::Corrupt
                    && set_aside_snapshots(&paths.log, SnapshotsToSetAside::All).map_err(failed)? =>
            {
                open_sled(&paths.log, segment_bytes)?
            }
            opened => opened?,
        };
        // IMPORTANT, the order: the snapshot before other changes of the opening.
        sync_folder(&paths.log).map_err(failed)?;
        let storage = Self::assemble(db, paths, head, segment_bytes, placement)?;
        // As if the limit were reached: the first change syncs before it is made.
        storage.unsynced_bytes.store(segment_bytes, Ordering::Relaxed);
        Ok(storage)
    }

    fn assemble(
        db: Database,
        paths: &SledPaths,
        head: File,
        segment_bytes: usize,
        placement: BodyPlacement,
    ) -> Result<Self, StorageError> {
        let data = File::open(paths.data()).map_err(|error| StorageError::of_file("open the log", &error))?;
        let bodies = BodyFile::open(&paths.log)?;
        let poison_mark = paths.poison_mark.clone();
        let unsynced_bytes = AtomicUsize::new(0);
        Ok(Self { db, data, bodies, placement, head, poison_mark, segment_bytes, unsynced_bytes })
    }
}

impl SledStorage {
    fn db(&self) -> &sled::Db {
        self.db.get()
    }

    fn scan_from(&self, from: Vec<u8>, visit: &mut VisitPart<'_>) -> Result<(), StorageError> {
        let mut from = from;
        loop {
            let slice: Vec<_> = guarded("read the log", || {
                self.db().range(from.as_slice()..).take(SLICE_ENTRIES).collect::<sled::Result<_>>()
            })?;
            for (key, value) in &slice {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            match slice.last() {
                Some((key, _)) if slice.len() == SLICE_ENTRIES => {
                    from.clear();
                    from.extend_from_slice(key);
                    // The next key.
                    from.push(0);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Syncs first if `bytes` more would exceed the limit between two syncs.
    fn make_room(&self, bytes: usize) -> Result<(), StorageError> {
        let bytes = bytes + PART_OVERHEAD_BYTES;
        if self.unsynced_bytes.load(Ordering::Relaxed) + bytes > self.segment_bytes / 10 {
            self.sync()?;
        }
        self.unsynced_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// An open database. sled writes its last buffer when it is dropped, and panics if that fails.
#[derive(Debug)]
struct Database(
    /// `None` only while it is dropped.
    Option<sled::Db>,
);

impl Database {
    fn get(&self) -> &sled::Db {
        self.0.as_ref().expect("the database is there until it is dropped")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.0.take();
        let _ = guarded("close the log", || {
            drop(db);
            Ok(())
        });
    }
}

impl Storage for SledStorage {
    fn part_bytes_max(&self) -> usize {
        self.segment_bytes / 80 - PartKey::BYTES
    }

    fn put(&self, key: PartKey, value: &[u8]) -> Result<(), StorageError> {
        self.make_room(value.len())?;
        guarded("write to the log", || self.db().insert(key.to_bytes(), value).map(drop))
    }

    fn remove(&self, key: &[u8]) -> Result<(), StorageError> {
        // However short the key is, sled writes a new leaf.
        self.make_room(self.part_bytes_max())?;
        guarded("cut the log", || self.db().remove(key).map(drop))
    }

    fn sync(&self) -> Result<(), StorageError> {
        let doing = "sync the log";
        guarded(doing, || self.db().flush())?;
        self.data.sync_data().map_err(|error| StorageError::of_file(doing, &error))?;
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn scan_parts(&self, from: PartKey, visit: &mut VisitPart<'_>) -> Result<(), StorageError> {
        self.scan_from(from.to_bytes().to_vec(), visit)
    }

    fn placement(&self) -> BodyPlacement {
        self.placement
    }

    fn append_bodies(&self, bodies: &[&[u8]]) -> Result<u64, StorageError> {
        self.bodies.append(bodies)
    }

    fn sync_bodies(&self) -> Result<(), StorageError> {
        self.bodies.sync()
    }

    fn bodies_end(&self) -> Result<u64, StorageError> {
        self.bodies.end()
    }

    fn read_body(&self, offset: u64, body: &mut [u8]) -> Result<(), StorageError> {
        self.bodies.read(offset, body)
    }

    fn write_head(&self, slot: Slot, bytes: &[u8; SLOT_BYTES]) -> Result<(), StorageError> {
        self.head
            .write_all_at(bytes, slot.offset() as u64)
            .map_err(|error| StorageError::of_file("write the head", &error))
    }

    fn read_head(&self) -> Result<Vec<u8>, StorageError> {
        let read = || {
            let mut bytes = vec![0; HEAD_FILE_BYTES];
            let present = usize::try_from(self.head.metadata()?.len()).unwrap_or(usize::MAX);
            bytes.truncate(present);
            self.head.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        read().map_err(|error: io::Error| StorageError::of_file("read the head", &error))
    }

    fn sync_head(&self) -> Result<(), StorageError> {
        self.head.sync_data().map_err(|error| StorageError::of_file("sync the head", &error))
    }

    fn mark_poisoned(&self) {
        // Best effort, as documented: if this fails too, the log is closed anyway, and only a restart before the disk
        // recovers would miss it.
        let _ = File::create(&self.poison_mark).and_then(|mark| mark.sync_all());
    }
}

/// A copy of a database that is only read, in constant memory.
#[derive(Debug)]
pub(crate) struct SledCopy {
    paths: SledPaths,
    segment_bytes: usize,
    /// `None` only while it is opened again.
    open: Mutex<Option<SledStorage>>,
    /// Outside the lock, which a scan holds while it reads bodies.
    bodies: BodyFile,
}

impl SledCopy {
    pub(crate) fn open(paths: SledPaths, segment_bytes: usize) -> Result<Self, StorageError> {
        let open = Mutex::new(Some(SledStorage::open(&paths, segment_bytes, BodyPlacement::Parts)?));
        let bodies = BodyFile::open(&paths.log)?;
        Ok(Self { paths, segment_bytes, open, bodies })
    }

    fn with<T>(&self, call: impl FnOnce(&SledStorage) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = || StorageError {
            doing: "read the log",
            reason: "its copy could not be opened again".to_owned(),
            kind: StorageFailure::Broken,
        };
        call(open.as_ref().ok_or_else(closed)?)
    }

    fn reopen(&self) -> Result<(), StorageError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // IMPORTANT: before it is opened again, as sled locks its file.
        drop(open.take());
        *open = Some(SledStorage::open(&self.paths, self.segment_bytes, BodyPlacement::Parts)?);
        Ok(())
    }
}

/// The error of all writes.
fn read_only() -> StorageError {
    let reason = "it is a copy that is only read".to_owned();
    StorageError { doing: "write to the log", reason, kind: StorageFailure::Broken }
}

impl Storage for SledCopy {
    fn part_bytes_max(&self) -> usize {
        self.segment_bytes / 80 - PartKey::BYTES
    }

    fn put(&self, _: PartKey, _: &[u8]) -> Result<(), StorageError> {
        Err(read_only())
    }

    fn remove(&self, _: &[u8]) -> Result<(), StorageError> {
        Err(read_only())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Err(read_only())
    }

    fn scan_parts(&self, from: PartKey, visit: &mut VisitPart<'_>) -> Result<(), StorageError> {
        let mut from = from.to_bytes().to_vec();
        loop {
            let (mut read, mut last, mut is_ended) = (0, None, false);
            self.with(|storage| {
                storage.scan_from(from.clone(), &mut |key, value| {
                    read += key.len() + value.len();
                    if visit(key, value).is_break() {
                        is_ended = true;
                        return ControlFlow::Break(());
                    }
                    if read < READ_BEFORE_REOPENING {
                        return ControlFlow::Continue(());
                    }
                    last = Some(key.to_vec());
                    ControlFlow::Break(())
                })
            })?;
            let Some(mut next) = last.filter(|_| !is_ended) else { return Ok(()) };
            // The next key.
            next.push(0);
            from = next;
            self.reopen()?;
        }
    }

    fn placement(&self) -> BodyPlacement {
        BodyPlacement::Parts
    }

    fn append_bodies(&self, _: &[&[u8]]) -> Result<u64, StorageError> {
        Err(read_only())
    }

    fn sync_bodies(&self) -> Result<(), StorageError> {
        Err(read_only())
    }

    fn bodies_end(&self) -> Result<u64, StorageError> {
        self.bodies.end()
    }

    fn read_body(&self, offset: u64, body: &mut [u8]) -> Result<(), StorageError> {
        self.bodies.read(offset, body)
    }

    fn write_head(&self, _: Slot, _: &[u8; SLOT_BYTES]) -> Result<(), StorageError> {
        Err(read_only())
    }

    fn read_head(&self) -> Result<Vec<u8>, StorageError> {
        self.with(Storage::read_head)
    }

    fn sync_head(&self) -> Result<(), StorageError> {
        Err(read_only())
    }

    fn mark_poisoned(&self) {}
}

/// Opens a sled database by `open`, and retries for up to `patience` while its lock is held: a thread of sled may
/// still hold the lock of a database that was just closed in this process. Blocks. For databases that no other
/// process opens.
pub fn open_when_free<T, E: fmt::Display>(
    patience: Duration,
    open: impl Fn() -> Result<T, E>,
) -> Result<T, E> {
    let until = Instant::now() + patience;
    loop {
        match open() {
            Err(error) if error.to_string().contains(LOCKED) && Instant::now() < until => {
                std::thread::sleep(LOCK_POLL);
            }
            opened => return opened,
        }
    }
}

fn open_sled(path: &Path, segment_bytes: usize) -> Result<Database, StorageError> {
    let open = || {
        sled::Config::new()
            .path(path)
            .segment_size(segment_bytes)
            .cache_capacity(CACHE_BYTES)
            // Otherwise sled has a thread for each log that syncs, and only logs its errors.
            .flush_every_ms(None)
            .open()
    };
    let db = open_when_free(LOCK_WAIT, || guarded("open the log", open))?;
    Ok(Database(Some(db)))
}

/// Calls sled and turns a panic into an error.
fn guarded<T>(doing: &'static str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StorageError> {
    // AssertUnwindSafe: after an error the storage is not used before it has been opened and verified again.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| StorageError {
            doing,
            kind: StorageFailure::of_sled(&error),
            reason: error.to_string(),
        }),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("unknown");
            let kind = StorageFailure::of_panic(reason);
            Err(StorageError { doing, reason: format!("sled panicked: {reason}"), kind })
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SnapshotsToSetAside {
    Unusable,
    All,
}

/// Deletes unfinished snapshots and renames unusable ones, so that sled ignores them. Returns whether any was renamed.
fn set_aside_snapshots(log: &Path, which: SnapshotsToSetAside) -> io::Result<bool> {
    let mut renamed = false;
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.starts_with("snap.") {
            continue;
        }
        if Path::new(name).extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path)?;
        } else if which == SnapshotsToSetAside::All || !snapshot_is_whole(&fs::read(&path)?) {
            fs::rename(&path, log.join("unusable-snapshot"))?;
            renamed = true;
        }
    }
    Ok(renamed)
}

/// Whether a snapshot ends with its length (8 bytes) and the CRC-32 of its body.
fn snapshot_is_whole(bytes: &[u8]) -> bool {
    bytes.len() > 12 && {
        let (body, trailer) = bytes.split_at(bytes.len() - 12);
        trailer[8..] == crc32fast::hash(body).to_le_bytes()
    }
}
