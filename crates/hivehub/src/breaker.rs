//! A circuit breaker: a failing hub is not called for a while, so that its outage does not slow requests and it can
//! recover.
//!
//! ```text
//!            failures in a row, or "come back later"
//!   closed ─────────────────────────────────────────► open ◄──────┐
//!     ▲                                                │ pause over│ fails: a longer pause
//!     │                 succeeds                       ▼           │
//!     └───────────────────────────────────────────── probing ──────┘
//! ```
//!
//! All calls of one `HiveHub` share a breaker, except for the long poll of policies: no request waits for it, and it
//! is the first to see that the hub has recovered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::error::{Garbage, HubError};
use super::jitter::growing_pause;
use super::observer::Call;

/// How many failures in a row open the breaker.
const FAILURES_MAX: u32 = 5;
/// The first pause. Each further one in a row is twice as long, with jitter.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, also if the hub asks for a longer one.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a probe prevents the next one.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Whether `HiveHub` may be called.
pub(super) struct Breaker {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Failures in a row while closed.
    failures: u32,
    /// Pauses in a row.
    pauses: u32,
    /// For each call, the uptime before which it is not made, because its answer was "too many requests".
    held_until: [Duration; Call::ALL.len()],
}

#[derive(Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Duration },
    Probing { until: Duration },
}

/// The right to make one attempt. Its holder reports how the attempt ended. If it is dropped without a report, the
/// next attempt may probe in its place.
pub(super) struct Try {
    breaker: Arc<Breaker>,
    call: Call,
    probes: bool,
}

impl Breaker {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let held_until = [Duration::ZERO; Call::ALL.len()];
        let state = State { phase: Phase::Closed, failures: 0, pauses: 0, held_until };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    /// The right to make an attempt, or how long none will be admitted.
    pub(super) fn admit(self: &Arc<Self>, call: Call) -> Result<Try, Duration> {
        let now = self.clock.uptime();
        let mut state = self.locked();
        let wait = state.wait(call, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        let probes = match state.phase {
            Phase::Closed => false,
            Phase::Open { .. } | Phase::Probing { .. } => {
                state.phase = Phase::Probing { until: now + PROBE_TIME_MAX };
                true
            }
        };
        drop(state);
        Ok(Try { breaker: Arc::clone(self), call, probes })
    }

    /// How long no attempt is admitted; zero if one is admitted now.
    pub(super) fn wait(&self, call: Call) -> Duration {
        let now = self.clock.uptime();
        self.locked().wait(call, now)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a poisoned lock can be used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&self, call: Call, now: Duration) -> Duration {
        let all = match self.phase {
            Phase::Closed => Duration::ZERO,
            Phase::Open { until } | Phase::Probing { until } => until.saturating_sub(now),
        };
        all.max(self.held_until[call as usize].saturating_sub(now))
    }

    fn close(&mut self) {
        match self.phase {
            Phase::Closed => {}
            Phase::Open { .. } | Phase::Probing { .. } => tracing::info!("HiveHub answers again"),
        }
        self.phase = Phase::Closed;
        self.failures = 0;
        self.pauses = 0;
    }

    /// Opens the breaker for `asked`, or for the next pause in the sequence.
    fn open(&mut self, now: Duration, asked: Option<Duration>) {
        let next = || growing_pause(PAUSE, PAUSE_MAX, self.pauses);
        let pause = asked.unwrap_or_else(next).min(PAUSE_MAX);
        tracing::warn!(?pause, "HiveHub fails and is not called for a while");
        self.phase = Phase::Open { until: now + pause };
        self.pauses = self.pauses.saturating_add(1);
        self.failures = 0;
    }

    fn fail(&mut self, now: Duration, probes: bool, asked: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        match self.phase {
            Phase::Closed if asked.is_some() || self.failures >= FAILURES_MAX => self.open(now, asked),
            Phase::Probing { .. } if probes => self.open(now, asked),
            // An attempt from before the pause says nothing new.
            Phase::Closed | Phase::Open { .. } | Phase::Probing { .. } => {}
        }
    }
}

impl Try {
    /// Reports how the attempt ended.
    pub(super) fn ended<T>(mut self, outcome: &Result<T, HubError>) {
        let now = self.breaker.clock.uptime();
        let probes = std::mem::take(&mut self.probes);
        let mut state = self.breaker.locked();
        match outcome {
            // An answer that contradicts itself concerns one key or tenant only.
            Ok(_) | Err(HubError::Garbage(Garbage::Contradiction(_))) => state.close(),
            Err(HubError::Failing { status: 429, retry_after }) => {
                // The hub is healthy: this call was made too often.
                state.close();
                let pause = retry_after.unwrap_or(PAUSE).min(PAUSE_MAX);
                state.held_until[self.call as usize] = now + pause;
            }
            Err(HubError::Failing { retry_after, .. }) => {
                state.fail(now, probes, retry_after.filter(|pause| !pause.is_zero()));
            }
            // Another service answers at this address, which is as bad as none.
            Err(HubError::Unreachable(_) | HubError::ServiceKeyRejected { .. } | HubError::Garbage(_)) => {
                state.fail(now, probes, None);
            }
            Err(HubError::LeftAlone { .. }) => {}
        }
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if self.probes {
            let now = self.breaker.clock.uptime();
            let mut state = self.breaker.locked();
            if let Phase::Probing { .. } = state.phase {
                state.phase = Phase::Open { until: now };
            }
        }
    }
}
