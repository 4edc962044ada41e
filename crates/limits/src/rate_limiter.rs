//! Requests per minute and per hour, as one decision.
//!
//! Each limit is a GCRA (ITU-T I.371, by `governor`): it admits a burst of as many requests as the limit, then one
//! request per `window / limit`. So within any time `t` at most `limit + limit * t / window` requests are admitted,
//! and no request within that bound is refused.
//!
//! A request is charged to both limits or to none: one that the hour refuses is not charged to the minute.

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

/// The requests of one tenant, with any of its keys.
#[derive(Debug)]
pub(super) struct RequestLimiter(Mutex<State>);

#[derive(Debug)]
struct State {
    windows: Option<Windows>,
    /// What was used of the minute and the hour. It stays when limits change or are removed.
    accounts: [Account; 2],
}

#[derive(Debug)]
struct Windows {
    limits: RequestLimits,
    minute: Window,
    hour: Window,
}

type Governor = RateLimiter<NotKeyed, Account, Hand, NoOpMiddleware<Moment>>;

/// One limit, and what was used of it.
#[derive(Debug)]
struct Window {
    limit: u32,
    length: Duration,
    /// `None` for a limit of 0.
    governor: Option<Governor>,
    account: Account,
    hand: Hand,
}

/// The state of a tenant's two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateReport {
    /// Of the minute.
    pub minute: WindowReport,
    /// Of the hour.
    pub hour: WindowReport,
}

/// The state of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowReport {
    /// Requests within the window.
    pub limit: u32,
    /// Requests that would be admitted now.
    pub remaining: u32,
    /// Seconds until the whole limit is available, without further requests.
    pub reset_seconds: u64,
}

/// How long admitted requests still use a tenant's two limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) minute: Duration,
    pub(super) hour: Duration,
}

/// A refused request. It was not charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRefused {
    /// When a request would be admitted.
    pub retry_after: Duration,
}

impl RequestLimiter {
    pub(super) fn new(limits: Option<RequestLimits>) -> Self {
        let accounts = <[Account; 2]>::default();
        Self(Mutex::new(State { windows: limits.map(|limits| Windows::new(limits, &accounts)), accounts }))
    }

    /// Changes the limits. What was used stays used.
    pub(super) fn change(&self, limits: Option<RequestLimits>) {
        let State { windows, accounts } = &mut *self.state();
        if windows.as_ref().map(|windows| windows.limits) != limits {
            *windows = limits.map(|limits| Windows::new(limits, accounts));
        }
    }

    /// Charges one request at `now`, the time since a fixed moment, unless it exceeds a limit. Also returns the state
    /// of the limits, if there are any.
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

    /// Restores what was used at `now`, at most one window.
    pub(super) fn restore(&self, now: Duration, used: Used) {
        let [minute, hour] = &self.state().accounts;
        minute.restore(now, used.minute.min(MINUTE));
        hour.restore(now, used.hour.min(HOUR));
    }

    /// The state of the limits at `now`.
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
        // The clock is at zero while the governor is made, so that both measure the node's uptime.
        let hand = Hand::default();
        let governor = NonZeroU32::new(limit).and_then(|burst| {
            let quota = Quota::with_period(Self::interval(length, burst))?.allow_burst(burst);
            Some(Governor::new(quota, account.clone(), hand.clone()))
        });
        Self { limit, length, governor, account, hand }
    }

    /// The time between two requests, rounded up, so that no more than the limit is admitted.
    fn interval(length: Duration, limit: NonZeroU32) -> Duration {
        Duration::from_nanos(nanoseconds(length).div_ceil(u64::from(limit.get())))
    }

    /// Whether a request is admitted, or the time until one is. Stages the charge.
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

/// GCRA's state, the theoretical arrival time, which is stored only when the other limit admits the request, too.
///
/// It is shared with the governor, not between threads: all access is under the tenant's lock.
#[derive(Clone, Debug, Default)]
struct Account(Arc<Arrival>);

#[derive(Debug, Default)]
struct Arrival {
    /// In nanoseconds of uptime; zero before the first request.
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

    /// How long admitted requests still use the limit.
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

/// The moment of a decision, for both limits.
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
