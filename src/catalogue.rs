//! What the node notes down about tenants, so that it knows it without waking them.
//!
//! Two databases of its own: in `data/_node/standing` how the node stands with `HiveHub`, which is little, and in
//! `data/_node/catalogue` notes about every tenant. Opening those takes longer the more there are, so it is done
//! beside all else, and whoever asks for one waits for it. Nothing here is the only copy of anything: what is lost
//! with it is asked for again, so damage costs time, and it is begun anew.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::warn;
use vectorizer_log::storage::open_when_free;
use vectorizer_log::{Incarnation, TenantId, Timestamp};

use crate::hivehub::PolicyCursor;
use crate::quota::NotedBill;

/// The databases' folders, within the node's.
const STANDING: &str = "standing";
const NOTES: &str = "catalogue";
/// What is added to the name of one that cannot be read when it is put aside, in place of an older one.
const UNREADABLE: &str = ".unreadable";

const POLICY_CURSOR: &str = "policy cursor";
const POLICY_GAP: &str = "policy gap";
const EVERY_BILL: &str = "every bill";
const PARKED_LINES: &str = "parked lines";

const CACHE_BYTES: u64 = 4 << 20;
const SEGMENT_BYTES: usize = 512 << 10;
/// How long a lock is given to be one that is just being released; in tests as long as a machine may stand still.
const LOCK_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 2 });
/// How long what was noted down may be lost with the process.
const FLUSH_EVERY_MILLISECONDS: u64 = 500;

/// The catalogue. Cheap to clone; the clones share it. Its calls may read the disk, and those about tenants' limits,
/// sizes and bills wait until it [is open](Self::is_open).
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Of tenants, to the place in the policy feed that says so.
    deletions: sled::Tree,
    /// Of the node itself.
    node: sled::Tree,
    /// Empty while it is opened.
    notes: Arc<OnceLock<Result<Notes, Arc<CatalogueError>>>>,
}

/// What is noted down of each tenant.
#[derive(Debug)]
struct Notes {
    quotas: sled::Tree,
    sizes: sled::Tree,
    bills: sled::Tree,
    /// Of the notes themselves.
    node: sled::Tree,
}

/// The catalogue cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The database has failed.
    #[error("the node's catalogue has failed")]
    Database(#[from] sled::Error),
    /// The folder cannot be used.
    #[error("cannot use {path:?}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The notes about tenants could not be opened.
    #[error("the node's catalogue could not be opened")]
    Unopened(#[source] Arc<CatalogueError>),
    /// What was noted down cannot be understood.
    #[error("a note in the node's catalogue cannot be read")]
    Note(#[from] serde_json::Error),
}

/// A plan's limits as they were heard of last; `None` leaves one to the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedQuota {
    /// Logical bytes of vectors.
    pub storage_bytes: Option<u64>,
    /// Stored bytes of the log.
    pub log_bytes: Option<u64>,
    /// Vectors.
    pub vectors: Option<u64>,
    /// Collections.
    pub collections: Option<u64>,
    /// Requests within a minute.
    pub requests_per_minute: Option<u64>,
    /// Requests within an hour.
    pub requests_per_hour: Option<u64>,
    /// Whose limits they are, of those who have had the tenant's id, as far as that is known.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
}

/// A deletion that is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedDeletion {
    /// The event that says so.
    pub at: PolicyCursor,
    /// Who was deleted, of those who have had the tenant's id, as far as that is known.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// Whether the event takes a deletion back, which is to be undone.
    #[serde(default)]
    pub is_undone: bool,
}

/// How large a tenant was, and when it was used last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedSize {
    /// The last record.
    pub seq: u64,
    /// Collections.
    pub collections: u64,
    /// Vectors.
    pub vectors: u64,
    /// Logical bytes of the vectors.
    pub storage_bytes: u64,
    /// Stored bytes of the log.
    pub log_bytes: u64,
    /// When it was used last, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<Timestamp>,
}

impl Catalogue {
    /// The catalogue in the `node` folder, which exists; an empty one if there is none that can be read. The notes
    /// about tenants are still being opened.
    pub fn open(node: &Path) -> Result<Self, CatalogueError> {
        let notes = Arc::new(OnceLock::new());
        let (opened, folder) = (Arc::clone(&notes), node.to_owned());
        let open = move || {
            // IMPORTANT: whatever happens there is an outcome, which others wait for.
            let outcome = catch_unwind(AssertUnwindSafe(|| Notes::open(&folder)))
                .unwrap_or_else(|_| Err(sled::Error::ReportableBug("it is damaged".to_owned()).into()))
                .map_err(Arc::new);
            if let Err(error) = &outcome {
                warn!(
                    error = &**error as &dyn std::error::Error,
                    "the node's catalogue cannot be opened: sleeping tenants are not known"
                );
            }
            // Nobody else does.
            let _ = opened.set(outcome);
        };
        thread::Builder::new()
            .name("catalogue".to_owned())
            .spawn(open)
            .map_err(|source| CatalogueError::Folder { path: node.join(NOTES), source })?;
        let standing = open_or_begin_anew(node, STANDING)?;
        Ok(Self { deletions: standing.open_tree("deletions")?, node: standing.open_tree("node")?, notes })
    }

    /// Whether nobody has to wait for the notes about tenants any more.
    pub fn is_open(&self) -> bool {
        self.notes.get().is_some()
    }

    fn notes(&self) -> Result<&Notes, CatalogueError> {
        self.notes.wait().as_ref().map_err(|error| CatalogueError::Unopened(Arc::clone(error)))
    }

    /// The limits that were heard of last.
    pub fn quota(&self, tenant: &TenantId) -> Result<Option<NotedQuota>, CatalogueError> {
        read(&self.notes()?.quotas, tenant.as_str())
    }

    /// Notes down limits, if they are others than before. They outlast the process half a second later.
    pub fn note_quota(&self, tenant: &TenantId, quota: &NotedQuota) -> Result<(), CatalogueError> {
        note(&self.notes()?.quotas, tenant.as_str(), quota)
    }

    /// How large the tenant was when it was written to last, as far as that was noted.
    pub fn size(&self, tenant: &TenantId) -> Result<Option<NotedSize>, CatalogueError> {
        read(&self.notes()?.sizes, tenant.as_str())
    }

    /// Forgets all that was noted down of a tenant.
    pub fn forget(&self, tenant: &TenantId) -> Result<(), CatalogueError> {
        let Notes { quotas, sizes, bills, node: _ } = self.notes()?;
        quotas.remove(tenant.as_str())?;
        sizes.remove(tenant.as_str())?;
        bills.remove(tenant.as_str())?;
        Ok(())
    }

    /// Notes down that `HiveHub` has deleted a tenant, and that this is still to be done.
    pub fn note_deletion(&self, tenant: &TenantId, deletion: &NotedDeletion) -> Result<(), CatalogueError> {
        note(&self.deletions, tenant.as_str(), deletion)
    }

    /// The deletions that are still to be done.
    pub fn deletions(&self) -> Result<Vec<(TenantId, NotedDeletion)>, CatalogueError> {
        let mut deletions = Vec::new();
        for noted in &self.deletions {
            let (tenant, note) = noted?;
            if let Some(tenant) = std::str::from_utf8(&tenant).ok().and_then(|tenant| tenant.parse().ok()) {
                deletions.push((tenant, noted_deletion(&note)?));
            }
        }
        Ok(deletions)
    }

    /// The deletion is done. Durable when it returns, and so is that the feed was followed up to there.
    pub fn deletion_done(&self, tenant: &TenantId, at: PolicyCursor) -> Result<(), CatalogueError> {
        self.note_policy_cursor(at)?;
        // Not what was noted down since.
        if let Some(note) = self.deletions.get(tenant.as_str())?
            && noted_deletion(&note)?.at == at
        {
            let _ = self.deletions.compare_and_swap(tenant.as_str(), Some(&note), None::<&[u8]>)?;
        }
        self.deletions.flush()?;
        Ok(())
    }

    /// How far the policy feed was followed.
    pub fn policy_cursor(&self) -> Result<Option<PolicyCursor>, CatalogueError> {
        read(&self.node, POLICY_CURSOR)
    }

    /// Notes down how far the policy feed was followed, if that is further than before.
    pub fn note_policy_cursor(&self, at: PolicyCursor) -> Result<(), CatalogueError> {
        if self.policy_cursor()?.is_some_and(|before| at <= before) {
            return Ok(());
        }
        note(&self.node, POLICY_CURSOR, &at)
    }

    /// Whether the policy feed had a gap after which not every tenant was asked about yet.
    pub fn has_gap(&self) -> Result<bool, CatalogueError> {
        Ok(read(&self.node, POLICY_GAP)?.unwrap_or_default())
    }

    /// Notes down whether it had.
    pub fn note_gap(&self, gap: bool) -> Result<(), CatalogueError> {
        note(&self.node, POLICY_GAP, &gap)
    }

    /// Where the tenant's bill stood when that was noted last.
    pub fn bill(&self, tenant: &TenantId) -> Result<Option<NotedBill>, CatalogueError> {
        read(&self.notes()?.bills, tenant.as_str())
    }

    /// Notes down where a tenant's bill stands.
    pub fn note_bill(&self, tenant: &TenantId, bill: &NotedBill) -> Result<(), CatalogueError> {
        note(&self.notes()?.bills, tenant.as_str(), bill)
    }

    /// Whether every tenant was looked at since the catalogue was begun, so that none is missing among the bills.
    pub fn knows_every_bill(&self) -> bool {
        // Beside them, so that it is lost with them.
        self.notes().is_ok_and(|notes| matches!(notes.node.get(EVERY_BILL), Ok(Some(_))))
    }

    /// Every tenant was looked at. Durable when it returns.
    pub fn note_every_bill(&self) -> Result<(), CatalogueError> {
        let notes = self.notes()?;
        notes.node.insert(EVERY_BILL, b"known")?;
        notes.node.flush()?;
        Ok(())
    }

    /// How many lines HiveHub has rejected.
    pub fn parked_lines(&self) -> Result<u64, CatalogueError> {
        Ok(read(&self.node, PARKED_LINES)?.unwrap_or(0))
    }

    /// Notes down how many lines HiveHub has rejected.
    pub fn note_parked_lines(&self, lines: u64) -> Result<(), CatalogueError> {
        note(&self.node, PARKED_LINES, &lines)
    }

    /// What was noted down outlasts the process from now on.
    pub fn flush(&self) -> Result<(), CatalogueError> {
        self.notes()?.bills.flush()?;
        self.node.flush()?;
        Ok(())
    }

    /// Every bill that was noted, by tenant. Notes that cannot be read are missing.
    pub fn bills(&self) -> impl Iterator<Item = (TenantId, NotedBill)> {
        let bills = self.notes().into_iter().flat_map(|notes| notes.bills.iter());
        bills.filter_map(|found| {
            let (tenant, note) = found.ok()?;
            let tenant = std::str::from_utf8(&tenant).ok()?.parse().ok()?;
            Some((tenant, serde_json::from_slice(&note).ok()?))
        })
    }

    /// Notes down how large a tenant is.
    pub fn note_size(&self, tenant: &TenantId, size: &NotedSize) -> Result<(), CatalogueError> {
        note(&self.notes()?.sizes, tenant.as_str(), size)
    }
}

impl Notes {
    fn open(node: &Path) -> Result<Self, CatalogueError> {
        let database = open_or_begin_anew(node, NOTES)?;
        let tree = |name| database.open_tree(name);
        Ok(Self {
            quotas: tree("quotas")?,
            sizes: tree("sizes")?,
            bills: tree("bills")?,
            node: tree("node")?,
        })
    }
}

/// The database in this folder of the node's; an empty one if there is none that can be read.
fn open_or_begin_anew(node: &Path, folder: &str) -> Result<sled::Db, CatalogueError> {
    let path = node.join(folder);
    // A lock that is held says nothing of what is in it.
    open_when_free(LOCK_PATIENCE, || open(&path)).or_else(|reason| {
        warn!(reason, ?path, "what the node has noted down cannot be read and is begun anew");
        let aside = node.join(format!("{folder}{UNREADABLE}"));
        let failed = |source| CatalogueError::Folder { path: path.clone(), source };
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        fs::rename(&path, &aside).map_err(failed)?;
        open(&path).map_err(|reason| failed(io::Error::other(reason)))
    })
}

/// By an earlier version the place in the feed alone was noted down.
fn noted_deletion(note: &[u8]) -> Result<NotedDeletion, serde_json::Error> {
    serde_json::from_slice(note).or_else(|error| {
        let at = serde_json::from_slice(note).map_err(|_| error)?;
        Ok(NotedDeletion { at, incarnation: None, is_undone: false })
    })
}

fn read<T: DeserializeOwned>(notes: &sled::Tree, key: &str) -> Result<Option<T>, CatalogueError> {
    let Some(note) = notes.get(key)? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&note)?))
}

fn note<T: Serialize>(notes: &sled::Tree, key: &str, note: &T) -> Result<(), CatalogueError> {
    let note = serde_json::to_vec(note)?;
    if notes.get(key)?.is_none_or(|before| *before != *note) {
        notes.insert(key, note)?;
    }
    Ok(())
}

/// sled may panic on damage.
fn open(path: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MILLISECONDS));
    catch_unwind(AssertUnwindSafe(|| config.open()))
        .map_err(|_| "it is damaged".to_owned())?
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    #[test]
    fn what_was_noted_down_is_there_after_a_restart() {
        let node = tempfile::tempdir().unwrap();
        let quota = NotedQuota { vectors: Some(7), ..NotedQuota::default() };
        let catalogue = Catalogue::open(node.path()).unwrap();
        assert_eq!(catalogue.quota(&acme()).unwrap(), None);
        catalogue.note_quota(&acme(), &quota).unwrap();
        drop(catalogue);
        assert_eq!(Catalogue::open(node.path()).unwrap().quota(&acme()).unwrap(), Some(quota));
    }

    #[test]
    fn the_feed_is_followed_forwards_only_until_there_is_another() {
        let node = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(node.path()).unwrap();
        let at = |feed, position| PolicyCursor::new(uuid::Uuid::from_u128(feed), position);
        let incarnation = Some(Incarnation::at_millis(7, &[1; 10]));
        for deletion in [(incarnation, false), (None, false), (None, true), (None, false)]
            .map(|(incarnation, is_undone)| NotedDeletion { at: at(1, 5), incarnation, is_undone })
        {
            catalogue.note_deletion(&acme(), &deletion).unwrap();
            assert_eq!(catalogue.deletions().unwrap(), [(acme(), deletion)]);
        }
        note(&catalogue.deletions, "acme", &at(1, 5)).unwrap();
        assert_eq!(catalogue.deletions().unwrap()[0].1.at, at(1, 5), "as an earlier version noted it down");
        catalogue.note_policy_cursor(at(1, 9)).unwrap();
        catalogue.deletion_done(&acme(), at(1, 4)).unwrap();
        assert_eq!(catalogue.deletions().unwrap().len(), 1, "what was noted down later is forgotten");
        catalogue.deletion_done(&acme(), at(1, 5)).unwrap();
        assert_eq!(
            (catalogue.deletions().unwrap().len(), catalogue.policy_cursor().unwrap()),
            (0, Some(at(1, 9)))
        );
        catalogue.note_policy_cursor(at(2, 1)).unwrap();
        assert_eq!(catalogue.policy_cursor().unwrap(), Some(at(2, 1)));
    }

    #[test]
    fn a_catalogue_that_is_still_held_is_not_begun_anew() {
        let node = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(node.path()).unwrap();
        catalogue.note_quota(&acme(), &NotedQuota::default()).unwrap();
        let other = std::thread::spawn({
            let node = node.path().to_owned();
            move || Catalogue::open(&node).unwrap().quota(&acme()).unwrap()
        });
        std::thread::sleep(Duration::from_millis(200));
        drop(catalogue);
        assert_eq!(other.join().unwrap(), Some(NotedQuota::default()));
        for folder in [STANDING, NOTES] {
            assert!(!node.path().join(format!("{folder}{UNREADABLE}")).exists());
        }
    }

    #[test]
    fn a_catalogue_that_cannot_be_read_costs_what_is_in_it_and_nothing_else() {
        let node = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(node.path()).unwrap();
        catalogue.flush().unwrap();
        drop(catalogue);
        for (round, folder) in [(0, NOTES), (1, NOTES), (2, STANDING)] {
            fs::write(node.path().join(folder).join("conf"), format!("nonsense {round}")).unwrap();
            let catalogue = Catalogue::open(node.path()).unwrap();
            let found = catalogue.quota(&acme()).unwrap();
            assert_eq!(found, (folder == STANDING).then(NotedQuota::default));
            assert_eq!(catalogue.has_gap().unwrap(), folder == NOTES && round > 0);
            assert!(node.path().join(format!("{folder}{UNREADABLE}")).is_dir());
            catalogue.note_quota(&acme(), &NotedQuota::default()).unwrap();
            catalogue.note_gap(true).unwrap();
            catalogue.flush().unwrap();
        }
    }
}
