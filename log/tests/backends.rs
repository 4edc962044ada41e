//! The two storages of a log, behind one interface for the behaviour suite.

use std::sync::Arc;

use tempfile::TempDir;
use vectorizer_durable::copy_tree;
use vectorizer_log::storage::MemoryStorage;
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

pub(crate) struct MemoryBackend {
    pub(crate) storage: Arc<MemoryStorage>,
    pub(crate) log_id: LogId,
}

impl Backend for MemoryBackend {
    fn create() -> Self {
        // Small parts, so that ordinary records have several.
        let storage = Arc::new(MemoryStorage::new(100));
        let log_id = LogId::new(uuid::Uuid::new_v4());
        initialize(&storage, log_id).unwrap();
        Self { storage, log_id }
    }

    fn open(&self) -> Result<UnverifiedLog, Error> {
        UnverifiedLog::new(Box::new(Arc::clone(&self.storage)), self.log_id)
    }

    fn after_process_death(&self) -> Self {
        Self { storage: Arc::new(self.storage.after_process_death(0)), log_id: self.log_id }
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
