//! The clock of the cache and the breaker, which tests replace.

#[cfg(any(test, feature = "testing"))]
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use vectorizer_log::Timestamp;

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Time since a fixed moment. It never goes backwards. Ages are measured with it.
    fn uptime(&self) -> Duration;
    /// The wall clock. Keys expire by it.
    fn now(&self) -> Timestamp;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn uptime(&self) -> Duration {
        self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock for tests, which stands still until it is moved.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Duration>);

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Moves it forward.
    pub fn pass(&self, seconds: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += Duration::from_secs(seconds);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn uptime(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.uptime().as_micros()).unwrap_or(i64::MAX))
    }
}
