//! The store: one method for each record, and where each lies.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;
use vectorizer_hivehub::PolicyCursor;
use vectorizer_log::TenantId;

use super::bill::StoredBill;
use super::database::Database;
use super::error::NodeStoreError;
use super::node_state::{NODE, NodeState};
use super::records::{StoredDeletion, StoredQuota, StoredSize};
use super::trees::{read, store};

/// The databases' folders, within the node's.
const NODE_STATE: &str = "standing";
const NOTES: &str = "catalogue";
const POLICY_CURSOR: &str = "policy cursor";
const POLICY_GAP: &str = "policy gap";
const EVERY_BILL: &str = "every bill";
const PARKED_LINES: &str = "parked lines";

/// In `standing`.
const DELETIONS: &str = "deletions";
/// In `catalogue`.
const QUOTAS: &str = "quotas";
const SIZES: &str = "sizes";
const BILLS: &str = "bills";

/// The store. Cheap to clone; the clones share it. Its calls may read the disk, and those about tenants' limits,
/// sizes and bills wait until it [is open](Self::is_open).
#[derive(Clone, Debug)]
pub struct NodeStore {
    node_state: Arc<NodeState>,
    /// Locked while the place in the policy feed is compared and stored. The feed and finished deletions both store it.
    policy_cursor: Arc<Mutex<()>>,
    /// About each tenant, and whether they are complete.
    notes: Arc<Database>,
}

impl NodeStore {
    /// The node store in the `node` folder, which exists; an empty one if that is damaged. The records about tenants
    /// are opened in the background.
    pub fn open(node: &Path) -> Result<Self, NodeStoreError> {
        let notes = Database::new(node, NOTES, &[QUOTAS, SIZES, BILLS, NODE]);
        let opened = Arc::clone(&notes);
        let open = move || {
            if let Err(error) = opened.open() {
                warn!(
                    error = &*error as &dyn std::error::Error,
                    "the node store cannot be opened: sleeping tenants are not known"
                );
            }
        };
        thread::Builder::new()
            .name("node-store".to_owned())
            .spawn(open)
            .map_err(|source| NodeStoreError::Folder { path: node.join(NOTES), source })?;
        let database = Database::new(node, NODE_STATE, &[DELETIONS, NODE]);
        database.open().map_err(NodeStoreError::Unopened)?;
        Ok(Self { node_state: Arc::new(NodeState::new(database)), policy_cursor: Arc::default(), notes })
    }

    /// Whether the records about tenants can be used without waiting.
    pub fn is_open(&self) -> bool {
        self.notes.is_settled()
    }

    /// Whether a database cannot be read or written for want of room, descriptors or permissions.
    pub fn is_wanting(&self) -> bool {
        self.notes.is_wanting() || self.node_state.database().is_wanting()
    }

    /// Changes each time the database of how the node stands was opened: until then deletions under way may be unknown.
    pub fn openings(&self) -> watch::Receiver<u64> {
        self.node_state.database().openings()
    }

    fn record<T: DeserializeOwned>(&self, tree: &str, key: &str) -> Result<Option<T>, NodeStoreError> {
        self.notes.with(tree, |tree| read(tree, key))
    }

    /// The limits of a tenant's plan, as stored last.
    pub fn quota(&self, tenant: &TenantId) -> Result<Option<StoredQuota>, NodeStoreError> {
        self.record(QUOTAS, tenant.as_str())
    }

    /// Stores limits, if they have changed. They are durable half a second later.
    pub fn store_quota(&self, tenant: &TenantId, quota: &StoredQuota) -> Result<(), NodeStoreError> {
        self.notes.with(QUOTAS, |tree| store(tree, tenant.as_str(), quota))
    }

    /// The size of a tenant, as stored last.
    pub fn size(&self, tenant: &TenantId) -> Result<Option<StoredSize>, NodeStoreError> {
        self.record(SIZES, tenant.as_str())
    }

    /// Removes all records about a tenant.
    pub fn forget(&self, tenant: &TenantId) -> Result<(), NodeStoreError> {
        for tree in [QUOTAS, SIZES, BILLS] {
            self.notes.with(tree, |tree| Ok(tree.remove(tenant.as_str())?))?;
        }
        Ok(())
    }

    /// Stores that `HiveHub` has deleted a tenant, and that its data is still to be deleted.
    pub fn store_deletion(&self, tenant: &TenantId, deletion: &StoredDeletion) -> Result<(), NodeStoreError> {
        self.node_state.store(DELETIONS, tenant.as_str(), deletion)
    }

    /// The deletions that are still to be done.
    pub fn deletions(&self) -> Result<Vec<(TenantId, StoredDeletion)>, NodeStoreError> {
        let mut deletions = Vec::new();
        for (tenant, record) in self.node_state.all(DELETIONS)? {
            if let Ok(tenant) = tenant.parse() {
                deletions.push((tenant, stored_deletion(&record)?));
            }
        }
        Ok(deletions)
    }

    /// The deletion is done, and the feed was followed up to there. Both are durable when this returns.
    pub fn deletion_done(&self, tenant: &TenantId, at: PolicyCursor) -> Result<(), NodeStoreError> {
        self.store_policy_cursor(at)?;
        // Not a deletion that was stored since.
        let is_meant = |record: &[u8]| Ok(stored_deletion(record)?.at == at);
        self.node_state.remove_if(DELETIONS, tenant.as_str(), is_meant)?;
        self.node_state.flush()
    }

    /// How far the policy feed was followed.
    pub fn policy_cursor(&self) -> Result<Option<PolicyCursor>, NodeStoreError> {
        self.node_state.read(POLICY_CURSOR)
    }

    /// Stores how far the policy feed was followed, if that is further than before.
    pub fn store_policy_cursor(&self, at: PolicyCursor) -> Result<(), NodeStoreError> {
        let _one_at_a_time = self.policy_cursor.lock().unwrap_or_else(PoisonError::into_inner);
        match self.policy_cursor() {
            Ok(Some(before)) if at <= before => return Ok(()),
            Err(error) if !error.is_want() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.node_state.store(NODE, POLICY_CURSOR, &at)
    }

    /// Whether the policy feed had a gap after which not all tenants have been asked about.
    pub fn has_gap(&self) -> Result<bool, NodeStoreError> {
        Ok(self.node_state.read(POLICY_GAP)?.unwrap_or_default())
    }

    /// Stores whether it had.
    pub fn store_gap(&self, gap: bool) -> Result<(), NodeStoreError> {
        self.node_state.store(NODE, POLICY_GAP, &gap)
    }

    /// The state of a tenant's bill, as stored last.
    pub fn bill(&self, tenant: &TenantId) -> Result<Option<StoredBill>, NodeStoreError> {
        self.record(BILLS, tenant.as_str())
    }

    /// Stores the state of a tenant's bill.
    pub fn store_bill(&self, tenant: &TenantId, bill: &StoredBill) -> Result<(), NodeStoreError> {
        self.notes.with(BILLS, |tree| store(tree, tenant.as_str(), bill))
    }

    /// Whether every tenant was looked at since the database was begun, so that no bill is missing.
    pub fn knows_every_bill(&self) -> bool {
        // It is stored with the bills, so that it is lost with them.
        self.notes.with(NODE, |tree| Ok(tree.contains_key(EVERY_BILL)?)).unwrap_or(false)
    }

    /// Every tenant was looked at. Durable when it returns.
    pub fn store_every_bill(&self) -> Result<(), NodeStoreError> {
        self.notes.with(NODE, |tree| {
            tree.insert(EVERY_BILL, b"known")?;
            tree.flush()?;
            Ok(())
        })
    }

    /// How many lines HiveHub has rejected.
    pub fn parked_lines(&self) -> Result<u64, NodeStoreError> {
        Ok(self.node_state.read(PARKED_LINES)?.unwrap_or(0))
    }

    /// Stores how many lines HiveHub has rejected.
    pub fn store_parked_lines(&self, lines: u64) -> Result<(), NodeStoreError> {
        self.node_state.store(NODE, PARKED_LINES, &lines)
    }

    /// Makes all that was stored durable.
    pub fn flush(&self) -> Result<(), NodeStoreError> {
        self.notes.with(BILLS, |tree| Ok(tree.flush().map(drop)?))?;
        self.node_state.flush()
    }

    /// Every stored bill, by tenant. Records that cannot be read are left out.
    pub fn bills(&self) -> impl Iterator<Item = (TenantId, StoredBill)> {
        let bills = self.notes.with(BILLS, |tree| Ok(tree.iter())).into_iter().flatten();
        bills.filter_map(|found| {
            let (tenant, record) = found.ok()?;
            let tenant = std::str::from_utf8(&tenant).ok()?.parse().ok()?;
            Some((tenant, serde_json::from_slice(&record).ok()?))
        })
    }

    /// Stores the size of a tenant.
    pub fn store_size(&self, tenant: &TenantId, size: &StoredSize) -> Result<(), NodeStoreError> {
        self.notes.with(SIZES, |tree| store(tree, tenant.as_str(), size))
    }
}

/// An earlier version stored the place in the feed alone.
fn stored_deletion(record: &[u8]) -> Result<StoredDeletion, serde_json::Error> {
    serde_json::from_slice(record).or_else(|error| {
        let at = serde_json::from_slice(record).map_err(|_| error)?;
        Ok(StoredDeletion { at, incarnation: None, is_undone: false })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use vectorizer_hivehub::QuotaNumbers;
    use vectorizer_log::Incarnation;

    use super::super::database::UNREADABLE;
    use super::*;

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    #[test]
    fn what_was_noted_down_is_there_after_a_restart() {
        let node = tempfile::tempdir().unwrap();
        let numbers = QuotaNumbers { vectors: Some(7), ..QuotaNumbers::default() };
        let quota = StoredQuota { numbers, incarnation: None };
        let store = NodeStore::open(node.path()).unwrap();
        assert_eq!(store.quota(&acme()).unwrap(), None);
        store.store_quota(&acme(), &quota).unwrap();
        drop(store);
        assert_eq!(NodeStore::open(node.path()).unwrap().quota(&acme()).unwrap(), Some(quota));
    }

    #[test]
    fn the_feed_is_followed_forwards_only_until_there_is_another() {
        let node = tempfile::tempdir().unwrap();
        let store = NodeStore::open(node.path()).unwrap();
        let at = |feed, position| PolicyCursor::new(uuid::Uuid::from_u128(feed), position);
        let incarnation = Some(Incarnation::at_millis(7, &[1; 10]));
        for deletion in [(incarnation, false), (None, false), (None, true), (None, false)]
            .map(|(incarnation, is_undone)| StoredDeletion { at: at(1, 5), incarnation, is_undone })
        {
            store.store_deletion(&acme(), &deletion).unwrap();
            assert_eq!(store.deletions().unwrap(), [(acme(), deletion)]);
        }
        store.node_state.store(DELETIONS, "acme", &at(1, 5)).unwrap();
        assert_eq!(store.deletions().unwrap()[0].1.at, at(1, 5), "as an earlier version noted it down");
        store.store_policy_cursor(at(1, 9)).unwrap();
        store.deletion_done(&acme(), at(1, 4)).unwrap();
        assert_eq!(store.deletions().unwrap().len(), 1, "what was noted down later is forgotten");
        store.deletion_done(&acme(), at(1, 5)).unwrap();
        assert_eq!((store.deletions().unwrap().len(), store.policy_cursor().unwrap()), (0, Some(at(1, 9))));
        store.store_policy_cursor(at(2, 1)).unwrap();
        assert_eq!(store.policy_cursor().unwrap(), Some(at(2, 1)));
    }

    #[test]
    fn of_two_places_in_the_feed_that_are_stored_at_once_the_further_one_stays() {
        let node = tempfile::tempdir().unwrap();
        let store = NodeStore::open(node.path()).unwrap();
        let at = |position| PolicyCursor::new(uuid::Uuid::from_u128(1), position);
        let both = std::sync::Barrier::new(2);
        for round in 0..500 {
            std::thread::scope(|scope| {
                for position in [2 * round + 1, 2 * round + 2] {
                    let (store, both) = (&store, &both);
                    scope.spawn(move || {
                        both.wait();
                        store.store_policy_cursor(at(position)).unwrap();
                    });
                }
            });
            assert_eq!(store.policy_cursor().unwrap(), Some(at(2 * round + 2)));
        }
    }

    #[test]
    fn a_node_store_that_is_still_held_is_not_begun_anew() {
        let node = tempfile::tempdir().unwrap();
        let store = NodeStore::open(node.path()).unwrap();
        store.store_quota(&acme(), &StoredQuota::default()).unwrap();
        let other = std::thread::spawn({
            let node = node.path().to_owned();
            move || NodeStore::open(&node).unwrap().quota(&acme()).unwrap()
        });
        std::thread::sleep(Duration::from_millis(200));
        drop(store);
        assert_eq!(other.join().unwrap(), Some(StoredQuota::default()));
        for folder in [NODE_STATE, NOTES] {
            assert!(!node.path().join(format!("{folder}{UNREADABLE}")).exists());
        }
    }

    #[test]
    fn a_node_store_that_cannot_be_read_costs_what_is_in_it_and_nothing_else() {
        let node = tempfile::tempdir().unwrap();
        let store = NodeStore::open(node.path()).unwrap();
        store.flush().unwrap();
        drop(store);
        for (round, folder) in [(0, NOTES), (1, NOTES), (2, NODE_STATE)] {
            fs::write(node.path().join(folder).join("conf"), format!("nonsense {round}")).unwrap();
            let store = NodeStore::open(node.path()).unwrap();
            let found = store.quota(&acme()).unwrap();
            assert_eq!(found, (folder == NODE_STATE).then(StoredQuota::default));
            assert_eq!(store.has_gap().unwrap(), folder == NOTES && round > 0);
            assert!(node.path().join(format!("{folder}{UNREADABLE}")).is_dir());
            store.store_quota(&acme(), &StoredQuota::default()).unwrap();
            store.store_gap(true).unwrap();
            store.flush().unwrap();
        }
    }
}
