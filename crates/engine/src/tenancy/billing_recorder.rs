//! What a tenant's writer appends of its own for the bill: what was asked for, closes of windows, and what
//! `HiveHub` has. None of it is subject to quotas.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vectorizer_billing::{Accounts, TakenUsage, TenantAccount, TenantMeter};
use vectorizer_index::Change;
use vectorizer_log::{Commit, Error, Event, Record, Seq, Timestamp};
use vectorizer_replay::{Billing, OpenWindow, Projection};

use super::writer::own_record;

/// How often commits take along what was asked for, unless a window is closed.
const TAKEN_EVERY: Duration = Duration::from_mins(1);

/// A tenant's bill as its writer keeps it.
#[derive(Debug)]
pub(super) struct BillingRecorder {
    pub(super) meter: Arc<TenantMeter>,
    pub(super) account: Arc<TenantAccount>,
    pub(super) accounts: Accounts,
    /// How long a window is.
    interval: Duration,
    /// When is looked next whether the window is over.
    look_at: Instant,
    /// When something was taken along for the last time, or this life began.
    taken_at: Instant,
    /// The first record of the window that is open, and since when it has been.
    open: (Option<Seq>, Instant),
}

/// What a commit is for, beside the commands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitKind {
    /// Nothing else.
    Commands,
    /// The window is over, if it is as old as that. There are no commands.
    Window,
    /// It is the writer's last. There are no commands.
    End,
    /// It is the last for ever: the tenant is being deleted. There are no commands.
    Deletion,
}

/// What goes along with a commit.
#[derive(Debug, Default)]
pub(super) struct CommitExtras {
    taken: Option<TakenUsage>,
    closed_at: Option<Timestamp>,
    any: bool,
}

impl BillingRecorder {
    /// Of a window that is open by `billing`.
    pub(super) fn new(
        meter: Arc<TenantMeter>,
        account: Arc<TenantAccount>,
        accounts: Accounts,
        interval: Duration,
    ) -> Self {
        let billing = account.billing();
        let now = Instant::now();
        let open = (billing.window().map(OpenWindow::first_seq), now);
        let mut recorder = Self { meter, account, accounts, interval, look_at: now, taken_at: now, open };
        recorder.look_at += recorder.left(&billing, Timestamp::now());
        recorder
    }

    /// Whether something is to be appended that waits for a commit.
    pub(super) fn has_something_to_take(&self) -> bool {
        !self.meter.is_empty() || self.account.acknowledgement().is_some()
    }

    /// When is to be looked whether the window is over.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }

    /// How long the window still is, by a clock that may have been set: one that was set back does not keep it
    /// open for longer than it should be.
    fn left(&self, billing: &Billing, now: Timestamp) -> Duration {
        let Some(window) = billing.window() else { return self.interval };
        let open_for = Some(self.open.1.elapsed()).filter(|_| self.open.0 == Some(window.first_seq()));
        let left = self.interval.saturating_sub(open_for.unwrap_or_default());
        let age = now.micros().saturating_sub(window.since().micros());
        match u64::try_from(age) {
            Ok(age) => self.interval.saturating_sub(Duration::from_micros(age)).min(left),
            Err(_) => left,
        }
    }

    /// Stages what goes along with a commit made at `now`, behind whatever else is in it.
    pub(super) fn stage(
        &mut self,
        commit: &mut Commit<'_>,
        projection: &Projection,
        purpose: CommitKind,
        now: Timestamp,
    ) -> Result<CommitExtras, Error> {
        let mut along = CommitExtras::default();
        let is_over = match purpose {
            CommitKind::Commands if self.taken_at.elapsed() < TAKEN_EVERY => {
                return Ok(along);
            }
            CommitKind::Commands | CommitKind::End => false,
            // In a log without records the first window begins with the first requests.
            CommitKind::Window => {
                let billing = projection.billing();
                billing.window().is_none() || self.left(billing, now).is_zero()
            }
            CommitKind::Deletion => true,
        };
        if purpose == CommitKind::Window && !is_over {
            return Ok(along);
        }
        along.taken = self.meter.take();
        let observed = along.taken.as_ref().map(TakenUsage::event);
        for event in observed.into_iter().chain(self.account.acknowledgement()) {
            commit.stage(own_record(event), now)?;
            along.any = true;
        }
        if is_over && let Some(closed) = close(commit.staged(), projection, now) {
            along.closed_at = Some(commit.stage(own_record(closed), now)?.at);
            along.any = true;
        }
        Ok(along)
    }

    /// The commit with `along` in it is durable and applied.
    pub(super) fn committed(&mut self, along: CommitExtras, billing: Billing) {
        if !along.any {
            return;
        }
        self.taken_at = Instant::now();
        if let Some(taken) = along.taken {
            taken.kept();
        }
        self.sees(&billing);
        self.account.moved(billing, along.closed_at);
        self.accounts.closed(&self.account);
    }

    /// Notices that another window is open.
    fn sees(&mut self, billing: &Billing) {
        let first_seq = billing.window().map(OpenWindow::first_seq);
        if self.open.0 != first_seq {
            self.open = (first_seq, Instant::now());
        }
    }

    /// It was looked whether the window is over, and what followed is done.
    pub(super) fn looked(&mut self, billing: &Billing) {
        self.sees(billing);
        let left = self.left(billing, Timestamp::now());
        // A window with nothing in it stays open, however old it is.
        self.look_at = Instant::now() + if left.is_zero() { self.interval } else { left };
    }
}

/// The close of the window behind the `staged` records, none of which changes data.
fn close<'a>(
    staged: impl Iterator<Item = &'a Record>,
    projection: &Projection,
    now: Timestamp,
) -> Option<Event> {
    let (mut billing, usage) = (*projection.billing(), *projection.usage());
    for record in staged {
        debug_assert!(!record.event.changes_data(), "what it changes is not known before it is applied");
        billing = billing.after(record, &usage, &Change::default());
    }
    billing.close(now, &usage)
}
