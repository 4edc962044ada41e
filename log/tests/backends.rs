//! The storages of a log, behind one interface for the behaviour suite.

use std::sync::Arc;

use tempfile::TempDir;
use vectorizer_durable::copy_tree;
use vectorizer_log::storage::{BodyPlacement, MemoryStorage};
use vectorizer_log::{Error, LogId, Record, Recovered, TenantFolder, TenantLog, UnverifiedLog, initialize};

/// A storage of one log, which outlives its openings.
pub(crate) trait Backend: Sized {
    /// Creates an empty log.
    fn create() -> Self;
    /// Opens the log.
    fn open(&self) -> Result<UnverifiedLog, Error>;
    /// The state after the death of the process, while a log may be open.
    fn after_process_death(&self) -> Self;

    /// Opens and recovers the log. Returns the records that were folded.
    fn recover(&self) -> Result<(Recovered, Vec<Record>), Error> {
        let mut records = Vec::new();
        let recovered = self.open()?.recover::<Error>(|record| {
            records.push(record);
            Ok(())
        })?;
        Ok((recovered, records))
    }

    /// The recovered log.
    fn log(&self) -> TenantLog {
        self.recover().unwrap().0.log
    }
}

/// An empty storage with small parts, so that ordinary records have several.
pub(crate) fn memory(placement: BodyPlacement) -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::placing(100, placement))
}

/// Puts ordinary records into the file of bodies, and the smallest ones not.
pub(crate) const IN_FILE: BodyPlacement = BodyPlacement::FileAbove { bytes: 250 };

/// All placements of a test that holds on each.
pub(crate) const PLACEMENTS: [BodyPlacement; 2] = [BodyPlacement::Parts, IN_FILE];

pub(crate) struct MemoryBackend {
    pub(crate) storage: Arc<MemoryStorage>,
    pub(crate) log_id: LogId,
}

impl MemoryBackend {
    /// An empty log whose envelopes are placed like this.
    pub(crate) fn placing(placement: BodyPlacement) -> Self {
        let storage = memory(placement);
        let log_id = LogId::new(uuid::Uuid::new_v4());
        initialize(&storage, log_id).unwrap();
        Self { storage, log_id }
    }

    /// The log on a storage that a crash has left.
    pub(crate) fn on(&self, storage: MemoryStorage) -> Self {
        Self { storage: Arc::new(storage), log_id: self.log_id }
    }
}

impl Backend for MemoryBackend {
    fn create() -> Self {
        Self::placing(BodyPlacement::Parts)
    }

    fn open(&self) -> Result<UnverifiedLog, Error> {
        UnverifiedLog::new(Box::new(Arc::clone(&self.storage)), self.log_id)
    }

    fn after_process_death(&self) -> Self {
        Self { storage: Arc::new(self.storage.after_process_death(0)), log_id: self.log_id }
    }
}

/// In memory, with bodies.
pub(crate) struct BodiesBackend(MemoryBackend);

impl Backend for BodiesBackend {
    fn create() -> Self {
        Self(MemoryBackend::placing(IN_FILE))
    }

    fn open(&self) -> Result<UnverifiedLog, Error> {
        self.0.open()
    }

    fn after_process_death(&self) -> Self {
        Self(self.0.after_process_death())
    }
}

pub(crate) struct SledBackend {
    pub(crate) data: TempDir,
    pub(crate) folder: TenantFolder,
}

impl SledBackend {
    pub(crate) fn db(&self) -> std::path::PathBuf {
        self.folder.path().join("log/db")
    }

    pub(crate) fn bodies(&self) -> std::path::PathBuf {
        self.folder.path().join("log/bodies")
    }
}

impl Backend for SledBackend {
    fn create() -> Self {
        let data = TempDir::new().unwrap();
        let folder = TenantFolder::new(data.path(), &"acme".parse().unwrap());
        folder.create().unwrap();
        Self { data, folder }
    }

    fn open(&self) -> Result<UnverifiedLog, Error> {
        self.folder.open()
    }

    /// The files as they are, without the data in sled's buffers.
    fn after_process_death(&self) -> Self {
        let data = TempDir::new().unwrap();
        copy_tree(self.data.path(), data.path()).unwrap();
        let folder = TenantFolder::new(data.path(), &"acme".parse().unwrap());
        Self { data, folder }
    }
}
