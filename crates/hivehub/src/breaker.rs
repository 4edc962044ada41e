//! A hub that fails is left alone for a while, so that its outage costs requests nothing and it can
//! come back in peace.
//!
//! ```text
//!            failures in a row, or "come back later"
//!   closed ─────────────────────────────────────────► open ◄──────┐
//!     ▲                                                │ pause over│ fails: a longer pause
//!     │                 succeeds                       ▼           │
//!     └───────────────────────────────────────────── probing ──────┘
//! ```
//!
//! Every call of one `HiveHub` shares this, but for the long poll of policies: that one has all the
//! time in the world, and must not be kept from seeing that the hub is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::error::{Garbage, HubError};
use super::jitter::with_jitter;
use super::observer::Call;

/// Tries that fail one after the other before the hub is left alone.
const FAILURES_MAX: u32 = 5;
/// The first pause; each further one in a row is twice as long, shortened by chance.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, and the longest that a hub can ask for.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a probe stands in the way of the next one.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Whether `HiveHub` may be asked.
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
    /// The uptime before which a call is not made, because it alone was answered by "too many".
    held_until: [Duration; Call::ALL.len()],
}

#[derive(Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Duration },
    Probing { until: Duration },
}

/// The right to make one try. Whoever has it says how the try ended; if nobody does, because nobody
/// waited for its end, the next one may probe in its place.
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

    /// The right to make a try, or how long there will be none.
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

    /// How long no try would be admitted; zero is not at all.
    pub(super) fn wait(&self, call: Call) -> Duration {
        let now = self.clock.uptime();
        self.locked().wait(call, now)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere spoils nothing.
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

    /// Leaves the hub alone for `asked`, or for as long as it is the turn of.
    fn open(&mut self, now: Duration, asked: Option<Duration>) {
        let doubled = PAUSE.saturating_mul(1 << self.pauses.min(16)).min(PAUSE_MAX);
        let pause = asked.unwrap_or_else(|| with_jitter(doubled)).min(PAUSE_MAX);
        tracing::warn!(?pause, "HiveHub fails and is left alone for a while");
        self.phase = Phase::Open { until: now + pause };
        self.pauses = self.pauses.saturating_add(1);
        self.failures = 0;
    }

    fn fail(&mut self, now: Duration, probes: bool, asked: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        match self.phase {
            Phase::Closed if asked.is_some() || self.failures >= FAILURES_MAX => self.open(now, asked),
            Phase::Probing { .. } if probes => self.open(now, asked),
            // A try of before the pause: it says nothing new.
            Phase::Closed | Phase::Open { .. } | Phase::Probing { .. } => {}
        }
    }
}

impl Try {
    /// Enters how the try ended.
    pub(super) fn ended<T>(mut self, outcome: &Result<T, HubError>) {
        let now = self.breaker.clock.uptime();
        let probes = std::mem::take(&mut self.probes);
        let mut state = self.breaker.locked();
        match outcome {
            // What was understood and contradicts itself is about this one key or tenant.
            Ok(_) | Err(HubError::Garbage(Garbage::Contradiction(_))) => state.close(),
            Err(HubError::Failing { status: 429, retry_after }) => {
                // The hub is well, and this one call was made too often.
                state.close();
                let pause = retry_after.unwrap_or(PAUSE).min(PAUSE_MAX);
                state.held_until[self.call as usize] = now + pause;
            }
            Err(HubError::Failing { retry_after, .. }) => {
                state.fail(now, probes, retry_after.filter(|pause| !pause.is_zero()));
            }
            // Whatever answers there speaks another language, and helps no more than one that is silent.
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
