//! What of each tenant's bill is closed, and how much of that `HiveHub` has.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, warn};
use vectorizer_log::{Event, LogId, LogReader, RejectedLine, Seq, TenantId, Timestamp};
use vectorizer_replay::{Billing, OpenWindow};

use super::noted_bill::{Delivered, DeliveredWindow, NotedBill};
use super::reporter::{Found, LeftAlone, Outbox, closed_at};
use crate::catalogue::Catalogue;

/// How many lines that `HiveHub` has rejected wait for a tenant's log. A tenant that has more is not served
/// until its log has taken them.
pub(super) const PARKED_MAX: usize = 128;

/// The bill of a tenant in memory: what its writer closes and the reporter delivers.
#[derive(Debug)]
pub struct TenantAccount {
    tenant: TenantId,
    log: LogReader,
    catalogue: Catalogue,
    books: Mutex<Books>,
    found: Mutex<Found>,
    /// The tenant is being deleted.
    is_final: AtomicBool,
    /// Its last window is closed, and all that is not delivered is on stable storage elsewhere.
    is_handed_over: AtomicBool,
    /// Somebody else notes down where the bill stands, or nobody any more.
    is_over: AtomicBool,
    left_alone: Mutex<LeftAlone>,
}

#[derive(Debug)]
struct Books {
    billing: Billing,
    delivered: Delivered,
    /// Those that the log does not have yet.
    parked: Vec<RejectedLine>,
    /// When the oldest of what is not delivered was closed, as far as that is known.
    behind_since: Option<Timestamp>,
    asleep: bool,
    /// What was noted down of it before is taken in. Until then nothing is noted down.
    is_remembered: bool,
}

/// All of them. Cheap to clone.
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
    /// Of which something is not delivered.
    behind: BTreeMap<TenantId, Arc<TenantAccount>>,
    /// The same of those that sleep, and since when.
    asleep: HashMap<TenantId, Asleep>,
}

/// A tenant that sleeps, and of which something is not delivered.
#[derive(Debug)]
struct Asleep {
    since: Option<Timestamp>,
    /// While a report of it is under way.
    account: Weak<TenantAccount>,
}

/// What is not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Tenants of which something is not.
    pub tenants: usize,
    /// When the oldest of it was closed.
    pub since: Option<Timestamp>,
}

impl Backlog {
    /// How long ago the oldest of it was closed.
    pub fn age(&self) -> Option<Duration> {
        let since = self.since?;
        let age = Timestamp::now().micros().saturating_sub(since.micros());
        Some(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
    }
}

impl Accounts {
    /// With what the `node` folder has of tenants that are deleted.
    pub fn open(node: &Path) -> io::Result<Self> {
        let shared = Shared { outbox: Some(Outbox::open(node)?), ..Shared::default() };
        shared.closed.notify_one();
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What deleted tenants have left.
    pub(super) fn outbox(&self) -> Option<&Outbox> {
        self.shared.outbox.as_ref()
    }

    /// Keeps what is not delivered of a tenant that is being deleted. It is on stable storage afterwards if the
    /// account [is handed over](TenantAccount::is_handed_over).
    pub fn take_over(&self, account: &TenantAccount) {
        let Some(outbox) = self.outbox() else { return };
        match outbox.take_over(account) {
            Ok(()) => {
                account.is_handed_over.store(true, Ordering::Release);
                self.shared.closed.notify_one();
            }
            Err(error) => {
                let tenant = account.tenant();
                error!(%tenant, %error, "the last bill of a tenant that is to be deleted cannot be kept");
            }
        }
    }

    /// The account of a tenant that is awake from now on, whose log says this, and is open or not.
    ///
    /// Where everything that is closed is acknowledged in a log that is closed, the node's notes add only when
    /// that was: they are not waited for while they are being opened.
    pub fn wakes(
        &self,
        tenant: &TenantId,
        log: LogReader,
        is_open: bool,
        billing: Billing,
        catalogue: &Catalogue,
    ) -> Arc<TenantAccount> {
        let delivered = Delivered { seq: billing.acknowledged(), at: None, window: None };
        let books = Books {
            billing,
            delivered,
            parked: Vec::new(),
            behind_since: None,
            asleep: !is_open,
            is_remembered: false,
        };
        let is_told_by_log = !is_open && !books.is_behind();
        let account = Arc::new(TenantAccount {
            tenant: tenant.clone(),
            log,
            catalogue: catalogue.clone(),
            books: Mutex::new(books),
            found: Mutex::default(),
            is_final: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            left_alone: Mutex::default(),
        });
        if catalogue.is_open() || !is_told_by_log {
            account.remember();
        }
        let replaced = {
            let mut tenants = self.tenants();
            let asleep = tenants.asleep.remove(tenant).and_then(|asleep| asleep.account.upgrade());
            tenants.awake.insert(tenant.clone(), Arc::clone(&account)).or(asleep)
        };
        if let Some(replaced) = replaced {
            replaced.is_over.store(true, Ordering::Release);
        }
        self.closed(&account);
        account
    }

    /// The tenant is in memory no more. What is not delivered of it is still counted.
    pub fn sleeps(&self, tenant: &TenantId) {
        if let Some(account) = self.get(tenant) {
            // IMPORTANT: now. The next one of this tenant's notes down what it knows.
            account.remember();
        }
        let mut tenants = self.tenants();
        tenants.behind.remove(tenant);
        if let Some(account) = tenants.awake.remove(tenant) {
            let books = account.books();
            if books.is_behind() {
                let asleep = Asleep { since: books.behind_since, account: Arc::downgrade(&account) };
                tenants.asleep.insert(tenant.clone(), asleep);
            }
        }
    }

    /// The tenant is gone, and what was noted down of it is to be forgotten: nothing is noted any more.
    pub fn forget(&self, tenant: &TenantId) {
        let mut tenants = self.tenants();
        let asleep = tenants.asleep.remove(tenant).and_then(|asleep| asleep.account.upgrade());
        let account = tenants.awake.remove(tenant).or(asleep);
        tenants.behind.remove(tenant);
        drop(tenants);
        if let Some(account) = account {
            // Whoever is just noting something has done so when this has passed.
            let _books = account.books();
            account.is_over.store(true, Ordering::Release);
        }
    }

    /// These sleep, and not everything of them is delivered. Those that are awake are known better.
    pub fn asleep(&self, behind: impl IntoIterator<Item = (TenantId, Option<Timestamp>)>) {
        let mut tenants = self.tenants();
        for (tenant, since) in behind {
            if !tenants.awake.contains_key(&tenant) {
                tenants.asleep.entry(tenant).or_insert(Asleep { since, account: Weak::new() });
            }
        }
    }

    /// Takes in what was noted down of the tenants in memory, and notes down where their bills stand now.
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

    /// Looks whether there is something to deliver of this account, and tells the reporter.
    pub fn closed(&self, account: &Arc<TenantAccount>) {
        let mut tenants = self.tenants();
        // One that has been opened again has another account.
        let is_current = tenants.awake.get(&account.tenant).is_some_and(|it| Arc::ptr_eq(it, account));
        if is_current && account.is_behind() {
            tenants.behind.insert(account.tenant.clone(), Arc::clone(account));
            drop(tenants);
            self.shared.closed.notify_one();
        }
    }

    /// What is not delivered.
    pub fn backlog(&self) -> Backlog {
        let tenants = self.tenants();
        let since = tenants.behind.values().filter_map(|account| account.books().behind_since).min();
        let (deleted, since_deleted) = self.outbox().map(Outbox::waiting).unwrap_or_default();
        let since_asleep = tenants.asleep.values().filter_map(|asleep| asleep.since).min();
        let since = since.into_iter().chain(since_deleted).chain(since_asleep).min();
        Backlog { tenants: tenants.behind.len() + tenants.asleep.len() + deleted, since }
    }

    /// Whether `HiveHub` refuses this server's key when usage is reported.
    pub fn is_refused(&self) -> bool {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Whether that was so before.
    pub(super) fn refuse(&self, refused: bool) -> bool {
        self.shared.refused.swap(refused, Ordering::Relaxed)
    }

    /// Ready when something was closed since this was ready last.
    pub(super) async fn something_closed(&self) {
        self.shared.closed.notified().await;
    }

    /// Up to `most` tenants of which something can be delivered, in a ring, behind `last`.
    pub(super) fn behind(&self, last: Option<&TenantId>, most: usize) -> Vec<Arc<TenantAccount>> {
        let tenants = self.tenants();
        let behind_last = last.map_or(Bound::Unbounded, Bound::Excluded);
        let first = tenants.behind.range::<TenantId, _>((behind_last, Bound::Unbounded));
        let rest =
            last.map(|last| tenants.behind.range::<TenantId, _>((Bound::Unbounded, Bound::Included(last))));
        let ring = first.chain(rest.into_iter().flatten()).map(|(_, account)| account);
        let now = Instant::now();
        let is_ready = |account: &&Arc<TenantAccount>| {
            account.books().parked.len() < PARKED_MAX && account.left_alone().until.is_none_or(|it| it <= now)
        };
        ring.filter(is_ready).take(most).cloned().collect()
    }

    /// When something can be delivered that is left alone; `None` if there is none.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let of_deleted = self.outbox().and_then(Outbox::next_try);
        let tenants = self.tenants();
        tenants.behind.values().filter_map(|it| it.left_alone().until).chain(of_deleted).min()
    }

    /// Takes those off the list of which everything is delivered.
    pub(super) fn settle(&self, accounts: &[Arc<TenantAccount>]) {
        let mut tenants = self.tenants();
        for account in accounts {
            let is_it = tenants.behind.get(&account.tenant).is_some_and(|it| Arc::ptr_eq(it, account));
            if is_it && !account.is_behind() {
                tenants.behind.remove(&account.tenant);
            }
            let is_it = |asleep: &Asleep| std::ptr::eq(asleep.account.as_ptr(), Arc::as_ptr(account));
            if tenants.asleep.get(&account.tenant).is_some_and(is_it) && !account.is_behind() {
                tenants.asleep.remove(&account.tenant);
            }
        }
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TenantAccount {
    /// Whose it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The log that it is computed from.
    pub fn log_id(&self) -> LogId {
        self.log.log_id()
    }

    /// From where its lines are read.
    pub(super) fn log(&self) -> &LogReader {
        &self.log
    }

    /// Takes in what was noted down of it, unless that is done, and notes down where it stands now. May wait for
    /// the notes to be opened.
    fn remember(&self) {
        if self.books().is_remembered {
            return;
        }
        // IMPORTANT: without the books, which others look at while they hold the list of all tenants.
        let noted = self.catalogue.bill(&self.tenant).unwrap_or_else(|error| {
            let tenant = &self.tenant;
            warn!(%tenant, %error, "where the tenant's bill stands cannot be read: some lines are sent again");
            None
        });
        let is_first = noted.is_none();
        let mut books = self.books();
        if std::mem::replace(&mut books.is_remembered, true) {
            return;
        }
        books.take_in(noted.filter(|noted| noted.log_id == self.log_id()));
        if books.delivered.window.is_none() {
            // What was not noted down is in the log, if that is open: after a crash it is.
            books.delivered.window = closed_at(&self.log, books.delivered.seq);
        }
        self.note(&books);
        drop(books);
        if is_first && let Err(error) = self.catalogue.flush() {
            // A tenant that nobody remembers would not be looked for after a crash.
            warn!(tenant = %self.tenant, %error, "it cannot be noted down that there is this tenant");
        }
    }

    /// The tenant's log is opened, and may say more from now on.
    pub fn wakes(&self) {
        self.remember();
        let mut books = self.books();
        books.asleep = false;
        self.note(&books);
    }

    /// The tenant's log is closed as it should be, and says all.
    pub fn sleeps(&self) {
        self.remember();
        let mut books = self.books();
        books.asleep = true;
        self.note(&books);
    }

    /// The tenant is being deleted: its writer's last commit closes the window, whenever it began.
    pub fn make_final(&self) {
        self.is_final.store(true, Ordering::Relaxed);
    }

    /// Whether the writer's last commit closes the window.
    pub fn is_final(&self) -> bool {
        self.is_final.load(Ordering::Relaxed)
    }

    /// Whether that has happened, and all that is not delivered is on stable storage apart from the log.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// `HiveHub` does not say anything that could be understood of this account, however it is asked.
    pub(super) fn leave_alone(&self) {
        self.left_alone().leave();
    }

    /// Whether that was so the last time: it is not to stand in the way of others.
    pub(super) fn is_suspect(&self) -> bool {
        self.left_alone().times > 0
    }

    fn left_alone(&self) -> MutexGuard<'_, LeftAlone> {
        self.left_alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest closes that are not delivered.
    pub(super) fn found(&self) -> &Mutex<Found> {
        &self.found
    }

    /// Where the bill stands.
    pub fn billing(&self) -> Billing {
        self.books().billing
    }

    /// How far it is delivered.
    pub fn delivered(&self) -> Delivered {
        self.remember();
        self.books().delivered.clone()
    }

    /// Every close and correction through here is delivered.
    pub(super) fn delivered_seq(&self) -> Seq {
        self.books().delivered.seq
    }

    /// The writer has appended something; `closed_at` is set if it was a close.
    pub fn moved(&self, billing: Billing, closed_at: Option<Timestamp>) {
        let mut books = self.books();
        if !books.is_behind() {
            books.behind_since = closed_at;
        }
        books.billing = billing;
        let acknowledged = billing.acknowledged();
        books.parked.retain(|line| line.seq > acknowledged);
        if closed_at.is_some() {
            self.note(&books);
        }
    }

    /// What the log does not know of what `HiveHub` has.
    pub fn acknowledgement(&self) -> Option<Event> {
        let books = self.books();
        let through = books.delivered.seq;
        let parked = books.parked.iter().filter(|line| line.seq <= through).cloned().collect();
        (through > books.billing.acknowledged())
            .then_some(Event::BillingAcknowledged { through, rejected: parked })
    }

    /// `HiveHub` has everything through `seq`, which was closed at `closed_at`, except for what it rejected;
    /// `window` is what was closed there, unless it is a correction.
    pub(super) fn deliver(
        &self,
        seq: Seq,
        window: Option<DeliveredWindow>,
        parked: Vec<RejectedLine>,
        closed_at: Timestamp,
    ) {
        let mut books = self.books();
        if seq <= books.delivered.seq {
            return;
        }
        *self.left_alone() = LeftAlone::default();
        let window = window.or_else(|| books.delivered.window.take());
        books.delivered = Delivered { seq, at: Some(Timestamp::now()), window };
        books.parked.extend(parked);
        // The next one was closed no earlier.
        books.behind_since = books.is_behind().then_some(closed_at);
        self.note(&books);
    }

    /// Whether something is closed and not delivered.
    pub fn is_behind(&self) -> bool {
        self.books().is_behind()
    }

    fn note(&self, books: &Books) {
        if self.is_over.load(Ordering::Acquire) || !books.is_remembered {
            return;
        }
        let noted = NotedBill {
            delivered: books.delivered.seq,
            delivered_at: books.delivered.at,
            delivered_window: books.delivered.window.clone(),
            parked: books.parked.clone(),
            behind_since: books.behind_since,
            ..NotedBill::of_log(self.log_id(), &books.billing, !books.asleep)
        };
        if let Err(error) = self.catalogue.note_bill(&self.tenant, &noted) {
            warn!(tenant = %self.tenant, %error, "where the tenant's bill stands cannot be noted down");
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// What was noted down of this log, unless that does not bear it out.
    fn take_in(&mut self, noted: Option<NotedBill>) {
        let noted = noted.filter(|noted| noted.delivered <= self.closed());
        let noted_since = noted.as_ref().and_then(|noted| noted.behind_since);
        let acknowledged = self.delivered.seq;
        if let Some(noted) = noted.filter(|noted| noted.delivered >= acknowledged) {
            self.delivered = noted.delivered();
            self.parked = noted.parked.into_iter().filter(|line| line.seq > acknowledged).collect();
        }
        let since = noted_since.or_else(|| self.billing.window().map(OpenWindow::since));
        self.behind_since = since.filter(|_| self.is_behind());
    }

    fn closed(&self) -> Seq {
        self.billing.last_entry()
    }

    fn is_behind(&self) -> bool {
        self.delivered.seq < self.closed()
    }
}
