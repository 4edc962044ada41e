//! The manifest: the identity of a log, in its folder.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vectorizer_durable as durable;

use crate::error::Error;
use crate::incarnation::Incarnation;
use crate::position::LogId;
use crate::storage::{BodyPlacement, StorageFailure};
use crate::tenant_id::TenantId;

/// The format of a folder without a history. All records are in `log`.
const FORMAT: u32 = 1;
/// The format of a folder with a history. Programs that do not know segments refuse it.
const FORMAT_WITH_HISTORY: u32 = 2;

/// Locked while a manifest is changed, so that no change is lost. Changes are rare and take one sync.
static CHANGING: Mutex<()> = Mutex::new(());

/// The manifest is written when the log is created, and again when its incarnation or its tenant is added.
///
/// A manifest is a small file beside its log, so it can end up beside another log: copied by hand, restored from a
/// backup, or moved with its whole folder. Every read compares its tenant with the name of the folder. Only the
/// records of the log prove its log id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// The log's identity.
    pub(crate) log_id: LogId,
    /// sled's segment size. A database keeps it for its lifetime.
    pub(crate) segment_bytes: usize,
    /// The incarnation of the tenant id that the log belongs to; `None` until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) incarnation: Option<Incarnation>,
    /// The tenant that the folder belongs to; `None` in manifests of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantId>,
    checksum: u32,
}

impl Manifest {
    pub(crate) fn new(
        log_id: LogId,
        segment_bytes: usize,
        incarnation: Option<Incarnation>,
        tenant: Option<TenantId>,
    ) -> Self {
        Self { format: FORMAT, log_id, segment_bytes, incarnation, tenant, checksum: 0 }.signed()
    }

    /// Replaces the manifest at `path`, or creates it, durably.
    pub(crate) fn replace(&self, path: &Path) -> io::Result<()> {
        durable::replace(path, &path.with_extension("json.fresh"), |file| {
            file.write_all(&serde_json::to_vec_pretty(self)?)
        })
    }

    /// Whether records may be outside of `log`, as the manifest of the history says.
    pub(crate) fn has_history(&self) -> bool {
        self.format == FORMAT_WITH_HISTORY
    }

    /// Where a tail of the folder puts the envelopes of large commits. Programs that do not know the format with a
    /// history do not know bodies either.
    pub(crate) fn placement(&self) -> BodyPlacement {
        if self.has_history() { BodyPlacement::STANDARD } else { BodyPlacement::Parts }
    }

    /// The same manifest in the format of a folder with a history.
    pub(crate) fn with_history(self) -> Self {
        Self { format: FORMAT_WITH_HISTORY, ..self }.signed()
    }

    /// The same manifest for this tenant and incarnation.
    pub(crate) fn bound(self, incarnation: Option<Incarnation>, tenant: TenantId) -> Self {
        Self { incarnation, tenant: Some(tenant), ..self }.signed()
    }

    /// Replaces the manifest at `path` by what `change` makes of it, durably.
    pub(crate) fn change(path: &Path, change: impl FnOnce(Self) -> Self) -> Result<(), Error> {
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        change(Self::read(path.to_owned())?).replace(path).map_err(|source| Error::File {
            doing: "write",
            path: path.to_owned(),
            source,
        })
    }

    fn signed(self) -> Self {
        Self { checksum: self.expected_checksum(), ..self }
    }

    pub(crate) fn read(path: PathBuf) -> Result<Self, Error> {
        read_checked(path, |manifest: &Self| {
            if ![FORMAT, FORMAT_WITH_HISTORY].contains(&manifest.format) {
                let format = manifest.format;
                return Some(format!(
                    "format {format} is not known here, only {FORMAT} and {FORMAT_WITH_HISTORY}"
                ));
            }
            (manifest.checksum != manifest.expected_checksum())
                .then(|| "its checksum does not match".to_owned())
        })
    }

    fn expected_checksum(&self) -> u32 {
        let mut text = format!("{} {} {}", self.format, self.log_id, self.segment_bytes);
        if let Some(incarnation) = self.incarnation {
            text = format!("{text} {incarnation}");
        }
        if let Some(tenant) = &self.tenant {
            text = format!("{text} {tenant}");
        }
        crc32fast::hash(text.as_bytes())
    }
}

/// Reads a manifest and checks it. `invalid` gives the reason to refuse it, if there is one.
///
/// # Errors
///
/// [`Error::Manifest`] if it is missing or not exactly as it was written. [`Error::File`] if the system does not give its
/// bytes, which says nothing about them.
pub(crate) fn read_checked<T: DeserializeOwned>(
    path: PathBuf,
    invalid: impl FnOnce(&T) -> Option<String>,
) -> Result<T, Error> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) if StorageFailure::of(&source).is_unavailable() => {
            return Err(Error::File { doing: "read", path, source });
        }
        Err(source) => return Err(Error::Manifest { path, reason: source.to_string() }),
    };
    let manifest = match serde_json::from_slice(&bytes) {
        Ok(manifest) => manifest,
        Err(source) => return Err(Error::Manifest { path, reason: source.to_string() }),
    };
    match invalid(&manifest) {
        None => Ok(manifest),
        Some(reason) => Err(Error::Manifest { path, reason }),
    }
}
