//! What the node knows of one tenant, whether it is in memory or not.
//!
//! ```text
//!              begin_waking             woke
//!    Asleep ─────────────────► Waking ────────► Live ──┐
//!     ▲  ▲                     │ │  ▲            │     │ begin_waking, after a failure: the one
//!     │  └─────────────────────┘ │  └────────────┼─────┘ that failed answers reads meanwhile
//!     │      waking_was_void     ▼               │
//!     │                      LeftAlone           │
//!     └──────────────────────────────────────────┘
//!                         leave
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use vectorizer_hivehub::PolicyCursor;
use vectorizer_log::Incarnation;

use super::WAITING_MAX;
use super::live_tenant::{LiveTenant, WakeError};

/// What came of a waking.
pub(super) type WakeOutcome = Result<Arc<LiveTenant>, Arc<WakeError>>;

/// Where the outcome of a waking is published, once there is one.
pub(super) type WakeReceiver = watch::Receiver<Option<WakeOutcome>>;

/// What the node knows of one tenant.
#[derive(Debug, Default)]
pub(super) struct TenantSlot {
    slot: Mutex<Slot>,
    /// Told when the folder is no longer being moved.
    pub(super) moved: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) state: TenantState,
    /// How many requests wait for the waking.
    waiting: usize,
    /// Ends the tenant's work, which began with the last waking.
    pub(super) stop: CancellationToken,
    /// The tenant's folder is being moved: no request enters.
    pub(super) moving: bool,
    /// The latest incarnation of the id that is known to be deleted.
    pub(super) ended: Option<Incarnation>,
    /// Where `HiveHub`'s feed has said last that the tenant is deleted, or is not after all.
    told_at: Option<PolicyCursor>,
    /// A write has failed in this life of the node, of a tenant that is not in memory any more.
    pub(super) write_failed: bool,
}

/// Where a tenant is. Each change is one of the functions below.
#[derive(Debug, Default)]
pub(super) enum TenantState {
    /// On disk only, if anywhere.
    #[default]
    Asleep,
    /// Being read from disk. All requests that come meanwhile wait for the same waking.
    Waking {
        outcome: WakeReceiver,
        /// One whose writes have failed: it answers reads, from what is durable, until the waking has replaced it.
        previous: Option<Arc<LiveTenant>>,
    },
    /// In memory.
    Live(Arc<LiveTenant>),
    /// Its last waking has failed, and is not tried again before a moment.
    LeftAlone {
        until: Instant,
        failure: Arc<WakeError>,
        /// As while it was waking.
        previous: Option<Arc<LiveTenant>>,
    },
}

impl TenantState {
    /// The tenant in memory, which may have failed.
    pub(super) fn live(&self) -> Option<&Arc<LiveTenant>> {
        match self {
            Self::Asleep => None,
            Self::Live(live) => Some(live),
            Self::Waking { previous, .. } | Self::LeftAlone { previous, .. } => previous.as_ref(),
        }
    }

    /// The waking that is under way.
    pub(super) fn waking(&self) -> Option<&WakeReceiver> {
        match self {
            Self::Waking { outcome, .. } => Some(outcome),
            Self::Asleep | Self::Live(_) | Self::LeftAlone { .. } => None,
        }
    }

    /// Why the tenant is not woken now, if it is to be left alone.
    pub(super) fn left_alone(&self) -> Option<&Arc<WakeError>> {
        match self {
            Self::LeftAlone { until, failure, .. } => Some(failure).filter(|_| Instant::now() < *until),
            Self::Asleep | Self::Waking { .. } | Self::Live(_) => None,
        }
    }

    /// A waking begins.
    pub(super) fn begin_waking(&mut self, outcome: WakeReceiver) {
        let previous = self.leave();
        *self = Self::Waking { outcome, previous };
    }

    /// The waking has succeeded. The tenant that it replaces is given back, to be dropped without the lock.
    pub(super) fn woke(&mut self, live: Arc<LiveTenant>) -> Option<Arc<LiveTenant>> {
        let replaced = self.leave();
        *self = Self::Live(live);
        replaced
    }

    /// The waking has failed, and is not to be tried again before `until`.
    pub(super) fn waking_failed(&mut self, until: Instant, failure: Arc<WakeError>) {
        let previous = self.leave();
        *self = Self::LeftAlone { until, failure, previous };
    }

    /// The waking has failed for a reason that says nothing of the tenant that is here, or will be.
    pub(super) fn waking_was_void(&mut self) {
        *self = self.leave().map_or(Self::Asleep, Self::Live);
    }

    /// Takes the tenant out of memory. What is under way or has failed stays known. It is given back, to be dropped
    /// without the lock.
    pub(super) fn leave(&mut self) -> Option<Arc<LiveTenant>> {
        match self {
            Self::Asleep => None,
            Self::Waking { previous, .. } | Self::LeftAlone { previous, .. } => previous.take(),
            Self::Live(_) => match std::mem::take(self) {
                Self::Live(live) => Some(live),
                Self::Asleep | Self::Waking { .. } | Self::LeftAlone { .. } => None,
            },
        }
    }

    /// The same, if it has no log.
    pub(super) fn leave_if_unbegun(&mut self) -> Option<Arc<LiveTenant>> {
        if self.live().is_some_and(|live| live.is_unbegun()) { self.leave() } else { None }
    }
}

impl Slot {
    /// Whether nothing has to be remembered of the tenant.
    pub(super) fn is_empty(&self) -> bool {
        let is_needed =
            self.state.live().is_some() || self.state.waking().is_some() || self.state.left_alone().is_some();
        !is_needed && !self.moving && !self.write_failed
    }
}

impl TenantSlot {
    pub(super) fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenant in memory, which may have failed.
    pub(super) fn live(&self) -> Option<Arc<LiveTenant>> {
        self.lock().state.live().map(Arc::clone)
    }

    /// This incarnation of the id is deleted.
    pub(super) fn ends(&self, ended: Option<Incarnation>) {
        let mut slot = self.lock();
        slot.ended = slot.ended.max(ended);
    }

    /// This incarnation of the id is here again, or may come.
    pub(super) fn returns(&self, back: Option<Incarnation>) {
        let unbegun = {
            let mut slot = self.lock();
            if back.is_none() || slot.ended <= back {
                slot.ended = None;
            }
            slot.state.leave_if_unbegun()
        };
        drop(unbegun);
    }

    /// HiveHub's feed says at this place whether the tenant is deleted.
    pub(super) fn is_told(&self, at: PolicyCursor) {
        self.lock().told_at = Some(at);
    }

    /// Whether it has said nothing of that since.
    pub(super) fn is_told_last(&self, at: PolicyCursor) -> bool {
        self.lock().told_at == Some(at)
    }
}

/// A place among the requests that wait for a waking.
pub(super) struct Waiter<'a>(&'a TenantSlot);

impl<'a> Waiter<'a> {
    /// A place, if there are not too many. `locked` is the slot's own lock.
    pub(super) fn join(slot: &'a TenantSlot, locked: &mut Slot) -> Result<Self, Arc<WakeError>> {
        if locked.waiting >= WAITING_MAX {
            return Err(Arc::new(WakeError::Crowded));
        }
        locked.waiting += 1;
        Ok(Self(slot))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
