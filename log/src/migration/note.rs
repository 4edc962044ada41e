//! The progress of a migration, and the destinations of completed ones.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{MIGRATED, MigrationError, failed, private_folder};
use crate::position::{ChainHash, Head, LogId, Seq};
use crate::storage::sync_folder;
use crate::tenant_id::TenantId;

/// The extension of an unfinished file.
const NEW: &str = "json.new";

/// The steps of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// Files are being copied.
    Copying,
    /// All files are copied and durable.
    Copied,
    /// The copy is published as the tenant's folder.
    Placed,
}

/// The progress of a migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) from: PathBuf,
    pub(super) source: TenantId,
    pub(super) log_id: LogId,
    pub(super) seq: Seq,
    #[serde(with = "chain_text")]
    pub(super) chain: ChainHash,
    /// A hash of the names, sizes and times of the source's files.
    fingerprint: String,
    pub(super) step: Step,
}

impl Note {
    pub(super) fn new(
        from: PathBuf,
        source: TenantId,
        log_id: LogId,
        head: Head,
        fingerprint: String,
    ) -> Self {
        let Head { seq, chain } = head;
        Self { from, source, log_id, seq, chain, fingerprint, step: Step::Copying }
    }

    /// Whether both have the same source in the same state.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        Self { step: other.step, ..self.clone() } == *other
    }

    pub(super) fn read(folder: &Path, tenant: &TenantId) -> Result<Option<Self>, MigrationError> {
        let path = place(folder, tenant);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read
                .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
                .map(Some)
                .map_err(failed("read", &path)),
        }
    }

    pub(super) fn write(&self, folder: &Path, tenant: &TenantId) -> Result<(), MigrationError> {
        private_folder(folder)?;
        write(&place(folder, tenant), self)
    }

    /// Removes it, if it exists, and the folder if it was the last one.
    pub(super) fn remove(folder: &Path, tenant: &TenantId) -> Result<(), MigrationError> {
        let path = place(folder, tenant);
        match fs::remove_file(&path).and_then(|()| sync_folder(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
        let _ = fs::remove_file(path.with_extension(NEW));
        let _ = fs::remove_dir(folder);
        Ok(())
    }
}

/// The destination of a single tenant's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The tenant in the source.
    pub source: TenantId,
    /// The tenant in the destination.
    pub tenant: TenantId,
    /// The data folder of the destination.
    pub data: PathBuf,
}

impl Destination {
    pub(super) fn write(&self, path: &Path) -> Result<(), MigrationError> {
        write(path, self)
    }
}

/// The destination of the data that `source` had in the data folder `from`; `None` if it is still there or never was.
pub fn destination(from: &Path, source: &TenantId) -> Result<Option<Destination>, MigrationError> {
    if from.join(source.as_str()).exists() {
        return Ok(None);
    }
    Ok(destinations(from)?.into_iter().find(|it| it.source == *source))
}

/// The destinations of all data whose source folders are still set aside in `from`.
pub(super) fn destinations(from: &Path) -> Result<Vec<Destination>, MigrationError> {
    let migrated = from.join(MIGRATED);
    let entries = match fs::read_dir(&migrated) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", &migrated))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", &migrated))?.path();
        // A destination does not count any more once its source folder was moved back or erased.
        if path.extension().is_some_and(|it| it == "json") && path.with_extension("").is_dir() {
            let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            found.push(read.map_err(failed("read", &path))?);
        }
    }
    Ok(found)
}

fn place(folder: &Path, tenant: &TenantId) -> PathBuf {
    folder.join(format!("{tenant}.json"))
}

/// Replaces a file durably.
fn write(path: &Path, content: &impl Serialize) -> Result<(), MigrationError> {
    let write = || {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        // Always the same one, so that none is left over from a run that was killed.
        let new = path.with_extension(NEW);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(content)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)
    };
    write().map_err(failed("write", path))
}

mod chain_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::position::ChainHash;

    pub(super) fn serialize<S: Serializer>(chain: &ChainHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(chain)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChainHash, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
