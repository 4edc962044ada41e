//! The bills of all tenants, and their undelivered part.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::error;
use vectorizer_log::{LogReader, TenantId, Timestamp};
use vectorizer_node_store::NodeStore;
use vectorizer_replay::Billing;

use super::account::TenantAccount;
use super::outbox::Outbox;

/// The accounts of all tenants. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tenants: Mutex<Tenants>,
    outbox: Option<Outbox>,
    closed: Notify,
    /// `HiveHub` refuses this server's key when usage is reported.
    refused: AtomicBool,
}

#[derive(Debug, Default)]
struct Tenants {
    awake: HashMap<TenantId, Arc<TenantAccount>>,
    /// Those that are not delivered completely.
    behind: BTreeMap<TenantId, Arc<TenantAccount>>,
    /// The sleeping tenants that are not delivered completely.
    asleep: HashMap<TenantId, Asleep>,
}

/// A sleeping tenant that is not delivered completely.
#[derive(Debug)]
struct Asleep {
    since: Option<Timestamp>,
    /// Its account, while a report of it is running.
    account: Weak<TenantAccount>,
}

/// The undelivered part of all bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The tenants that are not delivered completely.
    pub tenants: usize,
    /// When the oldest undelivered close was made.
    pub since: Option<Timestamp>,
}

impl Backlog {
    /// The age of the oldest undelivered close.
    pub fn age(&self) -> Option<Duration> {
        let since = self.since?;
        let age = Timestamp::now().micros().saturating_sub(since.micros());
        Some(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
    }
}

impl Accounts {
    /// No account yet, with the outbox in the `node` folder.
    pub fn open(node: &Path) -> io::Result<Self> {
        let shared = Shared { outbox: Some(Outbox::open(node)?), ..Shared::default() };
        shared.closed.notify_one();
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The lines of deleted tenants.
    pub(crate) fn outbox(&self) -> Option<&Outbox> {
        self.shared.outbox.as_ref()
    }

    /// Moves the undelivered lines of a tenant that is being deleted to the outbox. They are durable if the account
    /// [is handed over](TenantAccount::is_handed_over) afterwards.
    pub fn take_over(&self, account: &TenantAccount) {
        let Some(outbox) = self.outbox() else { return };
        match outbox.take_over(account) {
            Ok(()) => {
                account.hand_over();
                self.shared.closed.notify_one();
            }
            Err(error) => {
                let tenant = account.tenant();
                error!(%tenant, %error, "the last bill of a tenant that is being deleted cannot be stored");
            }
        }
    }

    /// The account of a tenant that wakes, with this state in its log, which is open or not.
    ///
    /// If the log is closed and acknowledges all closes, the node store adds only the time of the delivery, so this
    /// does not wait for it to be opened.
    pub fn wakes(
        &self,
        tenant: &TenantId,
        log: LogReader,
        is_open: bool,
        billing: Billing,
        node_store: &NodeStore,
    ) -> Arc<TenantAccount> {
        let account = Arc::new(TenantAccount::new(tenant.clone(), log, is_open, billing, node_store.clone()));
        let is_told_by_log = !is_open && !account.is_behind();
        if node_store.is_open() || !is_told_by_log {
            account.remember();
        }
        let replaced = {
            let mut tenants = self.tenants();
            let asleep = tenants.asleep.remove(tenant).and_then(|asleep| asleep.account.upgrade());
            tenants.awake.insert(tenant.clone(), Arc::clone(&account)).or(asleep)
        };
        if let Some(replaced) = replaced {
            replaced.end();
        }
        self.closed(&account);
        account
    }

    /// The tenant is removed from memory. Its undelivered part is still counted.
    pub fn sleeps(&self, tenant: &TenantId) {
        if let Some(account) = self.get(tenant) {
            // IMPORTANT: before the tenant is removed, since its next account stores its own state.
            account.remember();
        }
        let mut tenants = self.tenants();
        tenants.behind.remove(tenant);
        if let Some(account) = tenants.awake.remove(tenant) {
            // Both under one lock: a delivery in between would leave an entry without a time.
            let (is_behind, since) = account.behind();
            if is_behind {
                let asleep = Asleep { since, account: Arc::downgrade(&account) };
                tenants.asleep.insert(tenant.clone(), asleep);
            }
        }
    }

    /// The tenant is gone. Nothing of it is stored any more.
    pub fn forget(&self, tenant: &TenantId) {
        let mut tenants = self.tenants();
        let asleep = tenants.asleep.remove(tenant).and_then(|asleep| asleep.account.upgrade());
        let account = tenants.awake.remove(tenant).or(asleep);
        tenants.behind.remove(tenant);
        drop(tenants);
        if let Some(account) = account {
            account.end_after_last_write();
        }
    }

    /// These sleeping tenants are not delivered completely. Tenants that are awake are left out.
    pub fn asleep(&self, behind: impl IntoIterator<Item = (TenantId, Option<Timestamp>)>) {
        let mut tenants = self.tenants();
        for (tenant, since) in behind {
            if !tenants.awake.contains_key(&tenant) {
                tenants.asleep.entry(tenant).or_insert(Asleep { since, account: Weak::new() });
            }
        }
    }

    /// Reads the stored state of all tenants in memory, and stores the present one.
    pub fn remember(&self) {
        let awake: Vec<_> = self.tenants().awake.values().cloned().collect();
        for account in awake {
            account.remember();
        }
    }

    /// The account of a tenant in memory.
    pub fn get(&self, tenant: &TenantId) -> Option<Arc<TenantAccount>> {
        self.tenants().awake.get(tenant).cloned()
    }

    /// Notifies the reporter if this account has something to deliver.
    pub fn closed(&self, account: &Arc<TenantAccount>) {
        let mut tenants = self.tenants();
        // A tenant that woke again has another account.
        let is_current = tenants.awake.get(account.tenant()).is_some_and(|it| Arc::ptr_eq(it, account));
        if is_current && account.is_behind() {
            tenants.behind.insert(account.tenant().clone(), Arc::clone(account));
            drop(tenants);
            self.shared.closed.notify_one();
        }
    }

    /// The undelivered part of all bills.
    pub fn backlog(&self) -> Backlog {
        let tenants = self.tenants();
        let since = tenants.behind.values().filter_map(|account| account.behind_since()).min();
        let (deleted, since_deleted) = self.outbox().map(Outbox::waiting).unwrap_or_default();
        let since_asleep = tenants.asleep.values().filter_map(|asleep| asleep.since).min();
        let since = since.into_iter().chain(since_deleted).chain(since_asleep).min();
        Backlog { tenants: tenants.behind.len() + tenants.asleep.len() + deleted, since }
    }

    /// Whether `HiveHub` refuses this server's key when usage is reported.
    pub fn is_refused(&self) -> bool {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Sets whether `HiveHub` refuses this server's key. Returns the previous value.
    pub(crate) fn refuse(&self, refused: bool) -> bool {
        self.shared.refused.swap(refused, Ordering::Relaxed)
    }

    /// Ready when something was closed since this was ready last.
    pub(crate) async fn something_closed(&self) {
        self.shared.closed.notified().await;
    }

    /// Returns up to `most` accounts with lines that can be delivered, in the order of tenant ids. The list begins
    /// after `last` and wraps around.
    pub(crate) fn behind(&self, last: Option<&TenantId>, most: usize) -> Vec<Arc<TenantAccount>> {
        let tenants = self.tenants();
        let behind_last = last.map_or(Bound::Unbounded, Bound::Excluded);
        let first = tenants.behind.range::<TenantId, _>((behind_last, Bound::Unbounded));
        let rest =
            last.map(|last| tenants.behind.range::<TenantId, _>((Bound::Unbounded, Bound::Included(last))));
        let ring = first.chain(rest.into_iter().flatten()).map(|(_, account)| account);
        let now = Instant::now();
        let is_ready = |account: &&Arc<TenantAccount>| account.is_ready(now);
        ring.filter(is_ready).take(most).cloned().collect()
    }

    /// The end of the earliest pause after a failure. `None` if no account and no file is paused.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        let of_deleted = self.outbox().and_then(Outbox::next_try);
        let tenants = self.tenants();
        tenants.behind.values().filter_map(|it| it.next_try()).chain(of_deleted).min()
    }

    /// Removes the accounts that are delivered completely from the lists of undelivered ones.
    pub(crate) fn settle(&self, accounts: &[Arc<TenantAccount>]) {
        let mut tenants = self.tenants();
        for account in accounts {
            let is_it = tenants.behind.get(account.tenant()).is_some_and(|it| Arc::ptr_eq(it, account));
            if is_it && !account.is_behind() {
                tenants.behind.remove(account.tenant());
            }
            let is_it = |asleep: &Asleep| std::ptr::eq(asleep.account.as_ptr(), Arc::as_ptr(account));
            if tenants.asleep.get(account.tenant()).is_some_and(is_it) && !account.is_behind() {
                tenants.asleep.remove(account.tenant());
            }
        }
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
