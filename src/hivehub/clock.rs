//! Time, as what remembers `HiveHub`'s answers sees it.

use std::time::{Duration, Instant};

use vectorizer_log::Timestamp;

/// Time, as the cache and the breaker see it.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment; never runs backwards. Ages are measured with it.
    fn uptime(&self) -> Duration;
    /// The date. Keys expire by it.
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
