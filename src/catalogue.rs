//! What the node notes down about tenants, so that it knows it without waking them.
//!
//! Two databases of its own: in `data/_node/standing` how the node stands with `HiveHub`, which is little, and in
//! `data/_node/catalogue` notes about every tenant. Opening those takes longer the more there are, so it is done
//! beside all else, and whoever asks for one waits for it. Nothing here is the only copy of anything: what is lost
//! with it is asked for again, so damage costs time, and it is begun anew. What cannot be opened for want of room,
//! descriptors or permissions is not damaged: it is left as it is and tried again, and how the node stands is kept in
//! memory until then.

mod database;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;
use vectorizer_log::storage::StorageFailure;
use vectorizer_log::{Incarnation, TenantId, Timestamp};

use self::database::Database;
use crate::hivehub::PolicyCursor;
use crate::quota::NotedBill;

/// The databases' folders, within the node's.
const STANDING: &str = "standing";
const NOTES: &str = "catalogue";
const POLICY_CURSOR: &str = "policy cursor";
const POLICY_GAP: &str = "policy gap";
const EVERY_BILL: &str = "every bill";
const PARKED_LINES: &str = "parked lines";

/// In both databases.
const NODE: &str = "node";
/// In `standing`.
const DELETIONS: &str = "deletions";
/// In `catalogue`.
const QUOTAS: &str = "quotas";
const SIZES: &str = "sizes";
const BILLS: &str = "bills";

/// The catalogue. Cheap to clone; the clones share it. Its calls may read the disk, and those about tenants' limits,
/// sizes and bills wait until it [is open](Self::is_open).
#[derive(Clone, Debug)]
pub struct Catalogue {
    standing: Arc<Standing>,
    /// Of each tenant, and of the notes themselves.
    notes: Arc<Database>,
}

/// Notes by tree and key; nothing for a note that was removed.
type Unwritten = BTreeMap<(&'static str, String), Option<Vec<u8>>>;

/// How the node stands with `HiveHub`.
#[derive(Debug)]
struct Standing {
    /// Of tenants, to the place in the policy feed that says so; and of the node itself.
    database: Arc<Database>,
    /// What could not be written there for want.
    waiting: Mutex<Unwritten>,
}

/// The catalogue cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The database has failed.
    #[error("the node's catalogue has failed: {0}")]
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
    /// The database cannot be used for now.
    #[error("the node's catalogue cannot be used for now: {0}")]
    Wanting(String),
    /// The database is damaged.
    #[error("the node's catalogue is damaged: {0}")]
    Damaged(String),
    /// There is no tree of this name in the database.
    #[error("the node's catalogue has no such tree")]
    NoSuchTree,
    /// What was noted down cannot be understood.
    #[error("a note in the node's catalogue cannot be read")]
    Note(#[from] serde_json::Error),
}

impl CatalogueError {
    /// Whether the process lacks something, and nothing is known of what is stored.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => StorageFailure::of_sled(error).is_unavailable(),
            Self::Folder { source, .. } => StorageFailure::of(source).is_unavailable(),
            Self::Unopened(error) => error.is_unavailable(),
            Self::Wanting(_) => true,
            Self::Damaged(_) | Self::NoSuchTree | Self::Note(_) => false,
        }
    }
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
    /// What it took up in memory with its log closed, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// When it was used last, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<Timestamp>,
}

impl Catalogue {
    /// The catalogue in the `node` folder, which exists; an empty one if that is damaged. The notes about tenants are
    /// still being opened.
    pub fn open(node: &Path) -> Result<Self, CatalogueError> {
        let notes = Database::new(node, NOTES, &[QUOTAS, SIZES, BILLS, NODE]);
        let opened = Arc::clone(&notes);
        let open = move || {
            if let Err(error) = opened.open() {
                warn!(
                    error = &*error as &dyn std::error::Error,
                    "the node's catalogue cannot be opened: sleeping tenants are not known"
                );
            }
        };
        thread::Builder::new()
            .name("catalogue".to_owned())
            .spawn(open)
            .map_err(|source| CatalogueError::Folder { path: node.join(NOTES), source })?;
        let database = Database::new(node, STANDING, &[DELETIONS, NODE]);
        database.open().map_err(CatalogueError::Unopened)?;
        Ok(Self { standing: Arc::new(Standing { database, waiting: Mutex::default() }), notes })
    }

    /// Whether nobody has to wait for the notes about tenants any more.
    pub fn is_open(&self) -> bool {
        self.notes.is_settled()
    }

    /// Whether something of it cannot be read or written for want of room, descriptors or permissions.
    pub fn is_wanting(&self) -> bool {
        self.notes.is_wanting() || self.standing.database.is_wanting()
    }

    /// Tells each time that how the node stands was opened: which deletions are under way may be known only then.
    pub fn openings(&self) -> watch::Receiver<u64> {
        self.standing.database.openings()
    }

    fn noted<T: DeserializeOwned>(&self, tree: &str, key: &str) -> Result<Option<T>, CatalogueError> {
        self.notes.with(tree, |tree| read(tree, key))
    }

    /// The limits that were heard of last.
    pub fn quota(&self, tenant: &TenantId) -> Result<Option<NotedQuota>, CatalogueError> {
        self.noted(QUOTAS, tenant.as_str())
    }

    /// Notes down limits, if they are others than before. They outlast the process half a second later.
    pub fn note_quota(&self, tenant: &TenantId, quota: &NotedQuota) -> Result<(), CatalogueError> {
        self.notes.with(QUOTAS, |tree| note(tree, tenant.as_str(), quota))
    }

    /// How large the tenant was when it was written to last, as far as that was noted.
    pub fn size(&self, tenant: &TenantId) -> Result<Option<NotedSize>, CatalogueError> {
        self.noted(SIZES, tenant.as_str())
    }

    /// Forgets all that was noted down of a tenant.
    pub fn forget(&self, tenant: &TenantId) -> Result<(), CatalogueError> {
        for tree in [QUOTAS, SIZES, BILLS] {
            self.notes.with(tree, |tree| Ok(tree.remove(tenant.as_str())?))?;
        }
        Ok(())
    }

    /// Notes down that `HiveHub` has deleted a tenant, and that this is still to be done.
    pub fn note_deletion(&self, tenant: &TenantId, deletion: &NotedDeletion) -> Result<(), CatalogueError> {
        self.standing.note(DELETIONS, tenant.as_str(), deletion)
    }

    /// The deletions that are still to be done.
    pub fn deletions(&self) -> Result<Vec<(TenantId, NotedDeletion)>, CatalogueError> {
        let mut deletions = Vec::new();
        for (tenant, note) in self.standing.all(DELETIONS)? {
            if let Ok(tenant) = tenant.parse() {
                deletions.push((tenant, noted_deletion(&note)?));
            }
        }
        Ok(deletions)
    }

    /// The deletion is done. Durable when it returns, and so is that the feed was followed up to there.
    pub fn deletion_done(&self, tenant: &TenantId, at: PolicyCursor) -> Result<(), CatalogueError> {
        self.note_policy_cursor(at)?;
        // Not what was noted down since.
        let is_meant = |note: &[u8]| Ok(noted_deletion(note)?.at == at);
        self.standing.remove_if(DELETIONS, tenant.as_str(), is_meant)?;
        self.standing.flush()
    }

    /// How far the policy feed was followed.
    pub fn policy_cursor(&self) -> Result<Option<PolicyCursor>, CatalogueError> {
        self.standing.read(POLICY_CURSOR)
    }

    /// Notes down how far the policy feed was followed, if that is further than before.
    pub fn note_policy_cursor(&self, at: PolicyCursor) -> Result<(), CatalogueError> {
        match self.policy_cursor() {
            Ok(Some(before)) if at <= before => return Ok(()),
            Err(error) if !error.is_unavailable() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.standing.note(NODE, POLICY_CURSOR, &at)
    }

    /// Whether the policy feed had a gap after which not every tenant was asked about yet.
    pub fn has_gap(&self) -> Result<bool, CatalogueError> {
        Ok(self.standing.read(POLICY_GAP)?.unwrap_or_default())
    }

    /// Notes down whether it had.
    pub fn note_gap(&self, gap: bool) -> Result<(), CatalogueError> {
        self.standing.note(NODE, POLICY_GAP, &gap)
    }

    /// Where the tenant's bill stood when that was noted last.
    pub fn bill(&self, tenant: &TenantId) -> Result<Option<NotedBill>, CatalogueError> {
        self.noted(BILLS, tenant.as_str())
    }

    /// Notes down where a tenant's bill stands.
    pub fn note_bill(&self, tenant: &TenantId, bill: &NotedBill) -> Result<(), CatalogueError> {
        self.notes.with(BILLS, |tree| note(tree, tenant.as_str(), bill))
    }

    /// Whether every tenant was looked at since the catalogue was begun, so that none is missing among the bills.
    pub fn knows_every_bill(&self) -> bool {
        // Beside them, so that it is lost with them.
        self.notes.with(NODE, |tree| Ok(tree.contains_key(EVERY_BILL)?)).unwrap_or(false)
    }

    /// Every tenant was looked at. Durable when it returns.
    pub fn note_every_bill(&self) -> Result<(), CatalogueError> {
        self.notes.with(NODE, |tree| {
            tree.insert(EVERY_BILL, b"known")?;
            tree.flush()?;
            Ok(())
        })
    }

    /// How many lines HiveHub has rejected.
    pub fn parked_lines(&self) -> Result<u64, CatalogueError> {
        Ok(self.standing.read(PARKED_LINES)?.unwrap_or(0))
    }

    /// Notes down how many lines HiveHub has rejected.
    pub fn note_parked_lines(&self, lines: u64) -> Result<(), CatalogueError> {
        self.standing.note(NODE, PARKED_LINES, &lines)
    }

    /// What was noted down outlasts the process from now on.
    pub fn flush(&self) -> Result<(), CatalogueError> {
        self.notes.with(BILLS, |tree| Ok(tree.flush().map(drop)?))?;
        self.standing.flush()
    }

    /// Every bill that was noted, by tenant. Notes that cannot be read are missing.
    pub fn bills(&self) -> impl Iterator<Item = (TenantId, NotedBill)> {
        let bills = self.notes.with(BILLS, |tree| Ok(tree.iter())).into_iter().flatten();
        bills.filter_map(|found| {
            let (tenant, note) = found.ok()?;
            let tenant = std::str::from_utf8(&tenant).ok()?.parse().ok()?;
            Some((tenant, serde_json::from_slice(&note).ok()?))
        })
    }

    /// Notes down how large a tenant is.
    pub fn note_size(&self, tenant: &TenantId, size: &NotedSize) -> Result<(), CatalogueError> {
        self.notes.with(SIZES, |tree| note(tree, tenant.as_str(), size))
    }
}

impl Standing {
    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CatalogueError> {
        self.settle();
        if let Some(waiting) = self.waiting().get(&(NODE, key.to_owned())) {
            return Ok(waiting.as_ref().map(|note| serde_json::from_slice(note)).transpose()?);
        }
        self.database.with(NODE, |tree| read(tree, key))
    }

    fn note<T: Serialize>(&self, tree: &'static str, key: &str, note: &T) -> Result<(), CatalogueError> {
        self.put(tree, key, Some(serde_json::to_vec(note)?))
    }

    /// Writes a note, or removes it; in memory, if that cannot be for now.
    fn put(&self, tree: &'static str, key: &str, note: Option<Vec<u8>>) -> Result<(), CatalogueError> {
        self.settle();
        match self.database.with(tree, |tree| put(tree, key, note.as_deref())) {
            Err(error) if error.is_unavailable() => {
                self.waiting().insert((tree, key.to_owned()), note);
                Ok(())
            }
            done => done,
        }
    }

    /// Removes a note that says what is meant.
    fn remove_if(
        &self,
        tree: &'static str,
        key: &str,
        is_meant: impl Fn(&[u8]) -> Result<bool, CatalogueError>,
    ) -> Result<(), CatalogueError> {
        self.settle();
        if let Some(waiting) = self.waiting().get_mut(&(tree, key.to_owned())) {
            if let Some(note) = waiting
                && is_meant(note)?
            {
                *waiting = None;
            }
            return Ok(());
        }
        let removed = self.database.with(tree, |tree| {
            if let Some(note) = tree.get(key)?
                && is_meant(&note)?
            {
                let _ = tree.compare_and_swap(key, Some(&note), None::<&[u8]>)?;
            }
            Ok(())
        });
        match removed {
            Err(error) if error.is_unavailable() => {
                self.waiting().insert((tree, key.to_owned()), None);
                Ok(())
            }
            done => done,
        }
    }

    /// All notes of a tree that can be read.
    fn all(&self, tree: &'static str) -> Result<Vec<(String, Vec<u8>)>, CatalogueError> {
        self.settle();
        let mut all = self.database.with(tree, |tree| {
            let mut all = BTreeMap::new();
            for noted in tree {
                let (key, note) = noted?;
                if let Ok(key) = String::from_utf8(key.to_vec()) {
                    all.insert(key, note.to_vec());
                }
            }
            Ok(all)
        })?;
        for ((of, key), note) in self.waiting().iter() {
            match note {
                _ if *of != tree => {}
                Some(note) => drop(all.insert(key.clone(), note.clone())),
                None => drop(all.remove(key)),
            }
        }
        Ok(all.into_iter().collect())
    }

    fn flush(&self) -> Result<(), CatalogueError> {
        match self.database.with(NODE, |tree| Ok(tree.flush().map(drop)?)) {
            // It is in memory, and written down as soon as that can be.
            Err(error) if error.is_unavailable() => Ok(()),
            done => done,
        }
    }

    /// Writes down what waits in memory, if it can be by now.
    fn settle(&self) {
        if self.database.is_wanting() {
            return;
        }
        let mut waiting = self.waiting();
        while let Some(((tree, key), note)) = waiting.pop_first() {
            if let Err(error) = self.database.with(tree, |tree| put(tree, &key, note.as_deref())) {
                if error.is_unavailable() {
                    waiting.insert((tree, key), note);
                }
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Unwritten> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    put(notes, key, Some(&serde_json::to_vec(note)?))
}

fn put(notes: &sled::Tree, key: &str, note: Option<&[u8]>) -> Result<(), CatalogueError> {
    match note {
        None => drop(notes.remove(key)?),
        Some(note) if notes.get(key)?.is_none_or(|before| *before != *note) => {
            notes.insert(key, note)?;
        }
        Some(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::database::UNREADABLE;
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
        catalogue.standing.note(DELETIONS, "acme", &at(1, 5)).unwrap();
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
