//! The state of a tenant's bill: how far it is closed, and how far it is delivered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::warn;
use vectorizer_log::{Event, LogId, LogReader, RejectedLine, Seq, TenantId, Timestamp};
use vectorizer_node_store::{Delivered, DeliveredWindow, NodeStore, StoredBill};
use vectorizer_replay::{Billing, OpenWindow};

use super::backoff::Backoff;
use super::lines::{Found, closed_at};

/// How many rejected lines may wait for a tenant's log. Beyond that, no more of the tenant is reported until its log
/// has them.
pub(crate) const PARKED_MAX: usize = 128;

/// The bill of a tenant in memory. Its writer closes windows, and the reporter delivers them.
#[derive(Debug)]
pub struct TenantAccount {
    tenant: TenantId,
    log: LogReader,
    node_store: NodeStore,
    state: Mutex<BillState>,
    found: Mutex<Found>,
    /// The tenant is being deleted.
    is_final: AtomicBool,
    /// Its last window is closed, and all undelivered lines are in the outbox.
    is_handed_over: AtomicBool,
    /// Another account of the tenant stores the state of the bill, or the tenant is gone.
    is_over: AtomicBool,
    backoff: Mutex<Backoff>,
}

#[derive(Debug)]
struct BillState {
    billing: Billing,
    delivered: Delivered,
    /// Rejected lines that the log does not have yet.
    parked: Vec<RejectedLine>,
    /// When the oldest undelivered close was made, if that is known.
    behind_since: Option<Timestamp>,
    asleep: bool,
    /// Whether the stored state was read. Until then nothing is stored.
    is_remembered: bool,
}

impl TenantAccount {
    /// The account of a tenant with this state in its log, which is open or not.
    pub(crate) fn new(
        tenant: TenantId,
        log: LogReader,
        is_open: bool,
        billing: Billing,
        node_store: NodeStore,
    ) -> Self {
        let delivered = Delivered { seq: billing.acknowledged(), at: None, window: None };
        let state = BillState {
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
            state: Mutex::new(state),
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

    /// Ends the account like [`end`](Self::end). A store that is under way is finished when this returns.
    pub(crate) fn end_after_last_write(&self) {
        let _state = self.state();
        self.end();
    }

    /// Marks the account: all its undelivered lines are in the outbox.
    pub(crate) fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::Release);
    }

    /// When the oldest undelivered close was made, if that is known.
    pub(crate) fn behind_since(&self) -> Option<Timestamp> {
        self.state().behind_since
    }

    /// Whether the bill is not delivered completely, and since when. Both are read under one lock.
    pub(crate) fn behind(&self) -> (bool, Option<Timestamp>) {
        let state = self.state();
        (state.is_behind(), state.behind_since)
    }

    /// Whether its lines may be sent at `now`.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.state().parked.len() < PARKED_MAX && self.next_try().is_none_or(|it| it <= now)
    }

    /// When its lines may be sent again; `None` if they may be sent at once.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.backoff().until
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The id of the log that the bill is computed from.
    pub fn log_id(&self) -> LogId {
        self.log.log_id()
    }

    /// The log that its lines are read from.
    pub(crate) fn log(&self) -> &LogReader {
        &self.log
    }

    /// Reads the stored state once, and stores the present one. May wait for the node store to be opened.
    pub(crate) fn remember(&self) {
        if self.state().is_remembered {
            return;
        }
        // IMPORTANT: not under the lock, which is taken under the lock of the list of all tenants.
        let stored = self.node_store.bill(&self.tenant).unwrap_or_else(|error| {
            let tenant = &self.tenant;
            warn!(%tenant, %error, "the state of the tenant's bill cannot be read: some lines are sent again");
            None
        });
        let is_first = stored.is_none();
        let mut state = self.state();
        if std::mem::replace(&mut state.is_remembered, true) {
            return;
        }
        state.take_in(stored.filter(|stored| stored.log_id == self.log_id()));
        if state.delivered.window.is_none() {
            // A window that was not stored is in the log, if that is open. After a crash it is open.
            state.delivered.window = closed_at(&self.log, state.delivered.seq);
        }
        self.store(&state);
        drop(state);
        if is_first && let Err(error) = self.node_store.flush() {
            // Without a stored bill the tenant would not be found after a crash.
            warn!(tenant = %self.tenant, %error, "the tenant's first bill cannot be stored");
        }
    }

    /// The tenant's log is opened, and may have more records from now on.
    pub fn wakes(&self) {
        self.remember();
        let mut state = self.state();
        state.asleep = false;
        self.store(&state);
    }

    /// The tenant's log is closed, and has everything.
    pub fn sleeps(&self) {
        self.remember();
        let mut state = self.state();
        state.asleep = true;
        self.store(&state);
    }

    /// The tenant is being deleted: its writer's last commit closes the window, however short it is.
    pub fn make_final(&self) {
        self.is_final.store(true, Ordering::Relaxed);
    }

    /// Whether the writer's last commit closes the window.
    pub fn is_final(&self) -> bool {
        self.is_final.load(Ordering::Relaxed)
    }

    /// Whether the last window is closed and all undelivered lines are in the outbox.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// Pauses the account, because `HiveHub`'s receipts for it cannot be understood.
    pub(crate) fn back_off(&self) {
        self.backoff().extend();
    }

    /// Whether the account has backed off since its last delivery. Then it is reported alone.
    pub(crate) fn is_suspect(&self) -> bool {
        self.backoff().times > 0
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest undelivered closes.
    pub(crate) fn found(&self) -> &Mutex<Found> {
        &self.found
    }

    /// The state of the bill in the log.
    pub fn billing(&self) -> Billing {
        self.state().billing
    }

    /// The last delivery.
    pub fn delivered(&self) -> Delivered {
        self.remember();
        self.state().delivered.clone()
    }

    /// Every close and correction through here is delivered.
    pub(crate) fn delivered_seq(&self) -> Seq {
        self.state().delivered.seq
    }

    /// The writer has appended records. `closed_at` is set if one of them is a close.
    pub fn moved(&self, billing: Billing, closed_at: Option<Timestamp>) {
        let mut state = self.state();
        if !state.is_behind() {
            state.behind_since = closed_at;
        }
        state.billing = billing;
        let acknowledged = billing.acknowledged();
        state.parked.retain(|line| line.seq > acknowledged);
        if closed_at.is_some() {
            self.store(&state);
        }
    }

    /// The event for deliveries that the log does not have yet.
    pub fn acknowledgement(&self) -> Option<Event> {
        let state = self.state();
        let through = state.delivered.seq;
        let parked = state.parked.iter().filter(|line| line.seq <= through).cloned().collect();
        (through > state.billing.acknowledged())
            .then_some(Event::BillingAcknowledged { through, rejected: parked })
    }

    /// Everything through `seq`, which was closed at `closed_at`, is delivered, except for rejected lines. `window`
    /// is the closed window, unless it is a correction.
    pub(crate) fn deliver(
        &self,
        seq: Seq,
        window: Option<DeliveredWindow>,
        parked: Vec<RejectedLine>,
        closed_at: Timestamp,
    ) {
        let mut state = self.state();
        if seq <= state.delivered.seq {
            return;
        }
        *self.backoff() = Backoff::default();
        let window = window.or_else(|| state.delivered.window.take());
        state.delivered = Delivered { seq, at: Some(Timestamp::now()), window };
        state.parked.extend(parked);
        // The next one was not closed earlier.
        state.behind_since = state.is_behind().then_some(closed_at);
        self.store(&state);
    }

    /// Whether something is closed and not delivered.
    pub fn is_behind(&self) -> bool {
        self.state().is_behind()
    }

    fn store(&self, state: &BillState) {
        if self.is_over.load(Ordering::Acquire) || !state.is_remembered {
            return;
        }
        let stored = StoredBill {
            delivered: state.delivered.seq,
            delivered_at: state.delivered.at,
            delivered_window: state.delivered.window.clone(),
            parked: state.parked.clone(),
            behind_since: state.behind_since,
            ..StoredBill::of_log(self.log_id(), &state.billing, !state.asleep)
        };
        if let Err(error) = self.node_store.store_bill(&self.tenant, &stored) {
            warn!(tenant = %self.tenant, %error, "the state of the tenant's bill cannot be stored");
        }
    }

    fn state(&self) -> MutexGuard<'_, BillState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BillState {
    /// Takes the stored state of this log, unless the log contradicts it.
    fn take_in(&mut self, stored: Option<StoredBill>) {
        let stored = stored.filter(|stored| stored.delivered <= self.closed());
        let stored_since = stored.as_ref().and_then(|stored| stored.behind_since);
        let acknowledged = self.delivered.seq;
        if let Some(stored) = stored.filter(|stored| stored.delivered >= acknowledged) {
            self.delivered = stored.delivered();
            self.parked = stored.parked.into_iter().filter(|line| line.seq > acknowledged).collect();
        }
        let since = stored_since.or_else(|| self.billing.window().map(OpenWindow::since));
        self.behind_since = since.filter(|_| self.is_behind());
    }

    fn closed(&self) -> Seq {
        self.billing.last_entry()
    }

    fn is_behind(&self) -> bool {
        self.delivered.seq < self.closed()
    }
}
