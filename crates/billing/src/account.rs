//! What of a tenant's bill is closed, and how much of that `HiveHub` has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::warn;
use vectorizer_log::{Event, LogId, LogReader, RejectedLine, Seq, TenantId, Timestamp};
use vectorizer_node_store::{Delivered, DeliveredWindow, NodeStore, StoredBill};
use vectorizer_replay::{Billing, OpenWindow};

use super::backoff::Backoff;
use super::lines::{Found, closed_at};

/// How many lines that `HiveHub` has rejected wait for a tenant's log. A tenant that has more is not served
/// until its log has taken them.
pub(crate) const PARKED_MAX: usize = 128;

/// The bill of a tenant in memory: what its writer closes and the reporter delivers.
#[derive(Debug)]
pub struct TenantAccount {
    tenant: TenantId,
    log: LogReader,
    node_store: NodeStore,
    books: Mutex<Books>,
    found: Mutex<Found>,
    /// The tenant is being deleted.
    is_final: AtomicBool,
    /// Its last window is closed, and all that is not delivered is on stable storage elsewhere.
    is_handed_over: AtomicBool,
    /// Somebody else notes down where the bill stands, or nobody any more.
    is_over: AtomicBool,
    backoff: Mutex<Backoff>,
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

impl TenantAccount {
    /// The account of a tenant whose log says this, and is open or not.
    pub(crate) fn new(
        tenant: TenantId,
        log: LogReader,
        is_open: bool,
        billing: Billing,
        node_store: NodeStore,
    ) -> Self {
        let delivered = Delivered { seq: billing.acknowledged(), at: None, window: None };
        let books = Books {
            billing,
            delivered,
            parked: Vec::new(),
            behind_since: None,
            asleep: !is_open,
            is_remembered: false,
        };
        Self {
            tenant,
            log,
            node_store,
            books: Mutex::new(books),
            found: Mutex::default(),
            is_final: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            backoff: Mutex::default(),
        }
    }

    /// Stores nothing from now on: another account of the tenant does.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// The same. A write that is under way is done when this returns.
    pub(crate) fn end_after_last_write(&self) {
        let _books = self.books();
        self.end();
    }

    /// All that is not delivered is on stable storage elsewhere.
    pub(crate) fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::Release);
    }

    /// When the oldest of what is not delivered was closed, as far as that is known.
    pub(crate) fn behind_since(&self) -> Option<Timestamp> {
        self.books().behind_since
    }

    /// Whether its lines may be sent at `now`.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.books().parked.len() < PARKED_MAX && self.next_try().is_none_or(|it| it <= now)
    }

    /// When its lines may be sent again; `None` if they may be sent at once.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.backoff().until
    }

    /// Whose it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The log that it is computed from.
    pub fn log_id(&self) -> LogId {
        self.log.log_id()
    }

    /// From where its lines are read.
    pub(crate) fn log(&self) -> &LogReader {
        &self.log
    }

    /// Takes in what was noted down of it, unless that is done, and notes down where it stands now. May wait for
    /// the notes to be opened.
    pub(crate) fn remember(&self) {
        if self.books().is_remembered {
            return;
        }
        // IMPORTANT: without the books, which others look at while they hold the list of all tenants.
        let noted = self.node_store.bill(&self.tenant).unwrap_or_else(|error| {
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
        if is_first && let Err(error) = self.node_store.flush() {
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
    pub(crate) fn back_off(&self) {
        self.backoff().extend();
    }

    /// Whether that was so the last time: it is not to stand in the way of others.
    pub(crate) fn is_suspect(&self) -> bool {
        self.backoff().times > 0
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest closes that are not delivered.
    pub(crate) fn found(&self) -> &Mutex<Found> {
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
    pub(crate) fn delivered_seq(&self) -> Seq {
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
    pub(crate) fn deliver(
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
        *self.backoff() = Backoff::default();
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
        let noted = StoredBill {
            delivered: books.delivered.seq,
            delivered_at: books.delivered.at,
            delivered_window: books.delivered.window.clone(),
            parked: books.parked.clone(),
            behind_since: books.behind_since,
            ..StoredBill::of_log(self.log_id(), &books.billing, !books.asleep)
        };
        if let Err(error) = self.node_store.store_bill(&self.tenant, &noted) {
            warn!(tenant = %self.tenant, %error, "where the tenant's bill stands cannot be noted down");
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// What was noted down of this log, unless that does not bear it out.
    fn take_in(&mut self, noted: Option<StoredBill>) {
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
