//! Why an id has no folder here: who deleted its tenant, and which incarnation that was.
//!
//! One small file for each id under which a tenant was deleted, `_deleted/endings/{tenant}.json`, durable before the
//! folder moves. It says nothing while there is a folder. Without one it says what a request may make: a tenant that
//! this node's operator has deleted stays deleted until the operator restores it or HiveHub names a later incarnation,
//! whatever its keys ask for; one that HiveHub has deleted comes back only when HiveHub says so.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vectorizer_durable::{create_private_folder, remove_file, sync_folder};
use vectorizer_log::{Error, Incarnation, LogId, TenantId, Timestamp};

use super::{Tenancy, WakeError};

/// Beside the deleted tenants' folders.
const ENDINGS: &str = "_deleted/endings";

/// The endings of a data folder.
#[derive(Clone, Debug)]
pub(super) struct Endings {
    folder: PathBuf,
}

/// How a tenant's id came to have no folder here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ending {
    /// Who deleted it.
    pub(super) by: EndedBy,
    /// The incarnation, if it is known.
    pub(super) incarnation: Option<Incarnation>,
    /// Its log, unless that could not be read.
    pub(super) log_id: Option<LogId>,
    /// When.
    pub(super) at: Timestamp,
    /// HiveHub has taken its deletion back, and its data was not here any more.
    #[serde(default)]
    pub(super) is_erased: bool,
}

/// Who deleted a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// This node's operator.
    Operator,
    /// `HiveHub`, or the arrival of a later tenant of the id.
    Hivehub,
}

/// What a request may make of an id that has no folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// A new log: no tenant was here, or another one.
    Free,
    /// Nothing: the operator has deleted this one.
    Deleted,
    /// Nothing: it is an earlier one than was deleted.
    Outdated,
    /// Nothing yet: HiveHub has deleted this one here, and now lets it in.
    InDoubt,
}

impl Ending {
    /// What a request of this incarnation may create.
    pub(super) fn beginning(&self, comes: Option<Incarnation>) -> Beginning {
        match (self.by, self.incarnation, comes) {
            (_, Some(ended), Some(comes)) if comes > ended => Beginning::Free,
            (_, Some(ended), Some(comes)) if comes < ended => Beginning::Outdated,
            (EndedBy::Operator, _, _) => Beginning::Deleted,
            (EndedBy::Hivehub, Some(_), Some(_)) if self.is_erased => Beginning::Deleted,
            (EndedBy::Hivehub, Some(_), Some(_)) => Beginning::InDoubt,
            // Without incarnations, a request after HiveHub's deletion is of another tenant.
            (EndedBy::Hivehub, None, _) | (EndedBy::Hivehub, _, None) => Beginning::Free,
        }
    }
}

impl Endings {
    /// Those of `data`. Makes nothing: a node starts on a full disk, too.
    pub(super) fn new(data: &Path) -> Self {
        Self { folder: data.join(ENDINGS) }
    }

    pub(super) fn of(&self, tenant: &TenantId) -> Result<Option<Ending>, Error> {
        let path = self.path(tenant);
        match fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
            Ok(ending) => Ok(Some(ending)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Nothing is made for a tenant that may have been deleted.
            Err(source) => Err(Error::File { doing: "read", path, source }),
        }
    }

    /// Durable when it returns.
    pub(super) fn write(&self, tenant: &TenantId, ending: &Ending) -> Result<(), Error> {
        let path = self.path(tenant);
        let write = || {
            create_private_folder(&self.folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&serde_json::to_vec(ending)?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            sync_folder(&self.folder)?;
            // Of the first one the folder may be new.
            self.folder.parent().map_or(Ok(()), sync_folder)
        };
        write().map_err(|source| Error::File { doing: "write", path: path.clone(), source })
    }

    pub(super) fn remove(&self, tenant: &TenantId) -> Result<(), Error> {
        let path = self.path(tenant);
        remove_file(&path).map_err(|source| Error::File { doing: "remove", path, source })
    }

    fn path(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(format!("{tenant}.json"))
    }
}

impl Tenancy {
    /// Whether a request of this incarnation of a tenant without a folder may be served, and create one. Reads the
    /// disk.
    pub(super) fn may_begin(&self, tenant: &TenantId, comes: Option<Incarnation>) -> Result<(), WakeError> {
        // Without keys every caller is the operator.
        if self.shared.billed.is_none() {
            return Ok(());
        }
        let Some(ending) = self.shared.endings.of(tenant)? else { return Ok(()) };
        match ending.beginning(comes) {
            Beginning::Free => Ok(()),
            Beginning::Deleted => Err(WakeError::DeletedHere),
            Beginning::Outdated => Err(WakeError::Outdated),
            Beginning::InDoubt => {
                self.doubt(tenant);
                Err(WakeError::InDoubt)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_comes_back_by_whom_it_was_deleted_or_as_another_one() {
        let [first, second, third] = [1, 2, 3].map(|at| Some(Incarnation::at_millis(at, &[0; 10])));
        let ending = |by, incarnation| Ending {
            by,
            incarnation,
            log_id: None,
            at: Timestamp::from_micros(0),
            is_erased: false,
        };
        for (by, incarnation, comes, expected) in [
            (EndedBy::Operator, second, first, Beginning::Outdated),
            (EndedBy::Operator, second, second, Beginning::Deleted),
            (EndedBy::Operator, second, third, Beginning::Free),
            (EndedBy::Operator, second, None, Beginning::Deleted),
            (EndedBy::Operator, None, second, Beginning::Deleted),
            (EndedBy::Operator, None, None, Beginning::Deleted),
            (EndedBy::Hivehub, second, first, Beginning::Outdated),
            (EndedBy::Hivehub, second, second, Beginning::InDoubt),
            (EndedBy::Hivehub, second, third, Beginning::Free),
            (EndedBy::Hivehub, second, None, Beginning::Free),
            (EndedBy::Hivehub, None, second, Beginning::Free),
            (EndedBy::Hivehub, None, None, Beginning::Free),
        ] {
            assert_eq!(
                ending(by, incarnation).beginning(comes),
                expected,
                "{by:?} {incarnation:?} {comes:?}"
            );
        }
    }

    #[test]
    fn an_ending_outlasts_the_process_and_one_that_cannot_be_read_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        let acme: TenantId = "acme".parse().unwrap();
        let at = Timestamp::from_micros(7);
        let ending = Ending { by: EndedBy::Operator, incarnation: None, log_id: None, at, is_erased: false };
        let endings = Endings::new(data.path());
        assert_eq!(endings.of(&acme).unwrap(), None);
        endings.write(&acme, &ending).unwrap();
        let endings = Endings::new(data.path());
        assert_eq!(endings.of(&acme).unwrap(), Some(ending));
        fs::write(endings.path(&acme), "nonsense").unwrap();
        assert!(endings.of(&acme).is_err());
        endings.remove(&acme).unwrap();
        endings.remove(&acme).unwrap();
        assert_eq!(endings.of(&acme).unwrap(), None);
    }
}
