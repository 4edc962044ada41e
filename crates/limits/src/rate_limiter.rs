//! Requests per minute and per hour, as one decision.
//!
//! Each limit is a GCRA (ITU-T I.371, by `governor`): as many requests at once as the limit says, and then
//! one whenever its share of the window has passed. So within any time `t` no more than
//! `limit + limit * t / window` are let in, whatever the moment a window would begin, and none is refused
//! that this leaves room for.
//!
//! Both limits are asked and then both or none is charged: a request that the hour refuses costs the
//! minute nothing.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::limits::RequestLimits;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// One tenant's requests, whichever of its keys they come with.
#[derive(Debug)]
pub(super) struct RequestLimiter(Mutex<State>);

#[derive(Debug)]
struct State {
    windows: Option<Windows>,
    /// The minute's and the hour's. They outlive the limits, also while there are none.
    accounts: [Account; 2],
}

#[derive(Debug)]
struct Windows {
    limits: RequestLimits,
    minute: Window,
    hour: Window,
}

type Governor = RateLimiter<NotKeyed, Account, Hand, NoOpMiddleware<Moment>>;

/// One limit and what was used of it.
#[derive(Debug)]
struct Window {
    limit: u32,
    length: Duration,
    /// `None` for a limit of nothing.
    governor: Option<Governor>,
    account: Account,
    hand: Hand,
}

/// Where the two limits of a tenant stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateReport {
    /// Of the minute.
    pub minute: WindowReport,
    /// Of the hour.
    pub hour: WindowReport,
}

/// Where a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowReport {
    /// Requests within the window.
    pub limit: u32,
    /// Requests that would be let in at this moment.
    pub remaining: u32,
    /// Seconds until all of the limit is there again, if nothing more is asked.
    pub reset_seconds: u64,
}

/// For how long what was let in still takes up the two limits of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) minute: Duration,
    pub(super) hour: Duration,
}

/// A request that came too early. It was charged to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRefused {
    /// When one would be let in.
    pub retry_after: Duration,
}

impl RequestLimiter {
    pub(super) fn new(limits: Option<RequestLimits>) -> Self {
        let accounts = <[Account; 2]>::default();
        Self(Mutex::new(State { windows: limits.map(|limits| Windows::new(limits, &accounts)), accounts }))
    }

    /// Takes other limits; what was used stays used, also if there are none in between.
    pub(super) fn change(&self, limits: Option<RequestLimits>) {
        let State { windows, accounts } = &mut *self.state();
        if windows.as_ref().map(|windows| windows.limits) != limits {
            *windows = limits.map(|limits| Windows::new(limits, accounts));
        }
    }

    /// Charges one request at `now`, the time since a fixed moment, unless a limit is in its way. Says how
    /// things stand afterwards; `None` if there is no limit.
    pub(super) fn charge(&self, now: Duration) -> (Option<RateReport>, Result<(), RequestRefused>) {
        let mut state = self.state();
        match state.windows.as_mut() {
            None => (None, Ok(())),
            Some(windows) => {
                let outcome = windows.charge(now);
                (Some(windows.report(now)), outcome)
            }
        }
    }

    /// What is used at `now`.
    pub(super) fn used(&self, now: Duration) -> Used {
        let [minute, hour] = &self.state().accounts;
        let used = |account: &Account| Duration::from_nanos(account.used_at(nanoseconds(now)));
        Used { minute: used(minute), hour: used(hour) }
    }

    /// At least so much is used at `now`, and never more than a window.
    pub(super) fn restore(&self, now: Duration, used: Used) {
        let [minute, hour] = &self.state().accounts;
        minute.restore(now, used.minute.min(MINUTE));
        hour.restore(now, used.hour.min(HOUR));
    }

    /// How things stand at `now`.
    pub(super) fn report(&self, now: Duration) -> Option<RateReport> {
        self.state().windows.as_ref().map(|windows| windows.report(now))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    fn new(limits: RequestLimits, [minute, hour]: &[Account; 2]) -> Self {
        Self {
            limits,
            minute: Window::new(limits.per_minute, MINUTE, minute.clone()),
            hour: Window::new(limits.per_hour, HOUR, hour.clone()),
        }
    }

    fn charge(&mut self, now: Duration) -> Result<(), RequestRefused> {
        let asked = [self.minute.ask(now), self.hour.ask(now)];
        let wait = asked.iter().filter_map(|answer| answer.err()).max();
        if let Some(retry_after) = wait {
            return Err(RequestRefused { retry_after });
        }
        self.minute.account.settle();
        self.hour.account.settle();
        Ok(())
    }

    fn report(&self, now: Duration) -> RateReport {
        RateReport { minute: self.minute.report(now), hour: self.hour.report(now) }
    }
}

impl Window {
    fn new(limit: u32, length: Duration, account: Account) -> Self {
        // At zero while the governor is made, so that its time and the accounts' are the node's.
        let hand = Hand::default();
        let governor = NonZeroU32::new(limit).and_then(|burst| {
            let quota = Quota::with_period(Self::interval(length, burst))?.allow_burst(burst);
            Some(Governor::new(quota, account.clone(), hand.clone()))
        });
        Self { limit, length, governor, account, hand }
    }

    /// The time between two requests: rounded up, so that no rounding lets in more than the limit.
    fn interval(length: Duration, limit: NonZeroU32) -> Duration {
        Duration::from_nanos(nanoseconds(length).div_ceil(u64::from(limit.get())))
    }

    /// Whether there is room, or how long until there is. Stages the charge.
    fn ask(&self, now: Duration) -> Result<(), Duration> {
        self.hand.set(now);
        match &self.governor {
            None => Err(self.length),
            Some(governor) => governor.check().map_err(|not_until| not_until.wait_time_from(self.hand.now())),
        }
    }

    fn report(&self, now: Duration) -> WindowReport {
        let used = self.account.used_at(nanoseconds(now));
        let remaining = NonZeroU32::new(self.limit).map_or(0, |limit| {
            let interval = nanoseconds(Self::interval(self.length, limit));
            let room = interval.saturating_mul(u64::from(self.limit)).saturating_sub(used) / interval;
            u32::try_from(room).unwrap_or(self.limit).min(self.limit)
        });
        WindowReport { limit: self.limit, remaining, reset_seconds: used.div_ceil(1_000_000_000) }
    }
}

/// GCRA's one number, the theoretical arrival time, held back until the other limit has agreed.
///
/// Shared with the governor that asks, not between threads: all of it is behind the tenant's lock.
#[derive(Clone, Debug, Default)]
struct Account(Arc<Arrival>);

#[derive(Debug, Default)]
struct Arrival {
    /// In nanoseconds of the node's time; zero before the first request.
    settled: AtomicU64,
    staged: AtomicU64,
}

impl Account {
    fn settle(&self) {
        self.0.settled.store(self.0.staged.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn restore(&self, now: Duration, used: Duration) {
        self.0.settled.fetch_max(nanoseconds(now.saturating_add(used)), Ordering::Relaxed);
    }

    /// The time that what was let in still takes up.
    fn used_at(&self, now: u64) -> u64 {
        self.0.settled.load(Ordering::Relaxed).saturating_sub(now)
    }
}

impl StateStore for Account {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let settled = self.0.settled.load(Ordering::Relaxed);
        let (outcome, arrival) = measure((settled > 0).then(|| settled.into()))?;
        self.0.staged.store(arrival.as_u64(), Ordering::Relaxed);
        Ok(outcome)
    }
}

/// The moment a decision is made at, which both limits are told.
#[derive(Clone, Debug, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn set(&self, now: Duration) {
        self.0.store(nanoseconds(now), Ordering::Relaxed);
    }
}

impl Clock for Hand {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }
}

/// Nanoseconds since the node started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(u64);

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.as_u64()))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, span: Nanos) -> Self {
        Self(self.0.saturating_sub(span.as_u64()))
    }
}

/// 584 years of them.
fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
