//! The progress of a migration.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vectorizer_durable::{self as durable, create_private_folder, sync_folder};

use super::error::{MigrationError, failed};
use crate::position::{ChainHash, Head, LogId, Seq};
use crate::tenant_id::TenantId;

/// The extension of an unfinished file.
const UNFINISHED: &str = "json.new";

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
pub(super) struct Progress {
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

impl Progress {
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
        create_private_folder(folder).map_err(failed("create", folder))?;
        let path = place(folder, tenant);
        durable::replace(&path, &path.with_extension(UNFINISHED), |file| {
            file.write_all(&serde_json::to_vec_pretty(self)?)
        })
        // The folder may be new.
        .and_then(|()| folder.parent().map_or(Ok(()), sync_folder))
        .map_err(failed("write", &path))
    }

    /// Removes it, if it exists, and the folder if it was the last one.
    pub(super) fn remove(folder: &Path, tenant: &TenantId) -> Result<(), MigrationError> {
        let path = place(folder, tenant);
        durable::remove_file(&path).map_err(failed("remove", &path))?;
        let _ = fs::remove_file(path.with_extension(UNFINISHED));
        let _ = fs::remove_dir(folder);
        Ok(())
    }
}

fn place(folder: &Path, tenant: &TenantId) -> PathBuf {
    folder.join(format!("{tenant}.json"))
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
