//! Waiting for a condition that nothing announces, as the state of another process.

use std::fmt;
use std::time::{Duration, Instant};

/// How long a test waits before it fails. A machine that has other work is slow, so this is long.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// How often a condition is checked.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the condition holds; fails after [`PATIENCE`].
#[track_caller]
pub fn eventually(what: impl fmt::Display, holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    Wait::new(what).until(holds)
}

/// A wait for a condition, which fails with a message that names both.
#[derive(Debug)]
#[must_use = "a wait does nothing until it has a condition"]
pub struct Wait<W> {
    what: W,
    patience: Duration,
    interval: Duration,
}

impl<W: fmt::Display> Wait<W> {
    /// A wait of [`PATIENCE`] for this.
    pub const fn new(what: W) -> Self {
        Self { what, patience: PATIENCE, interval: INTERVAL }
    }

    /// Fails after this time.
    pub fn at_most(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Checks the condition this often.
    pub fn every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Waits until the condition holds.
    #[track_caller]
    pub fn until(self, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
        self.value(async move || holds().await.then_some(()))
    }

    /// Waits until there is a value.
    #[track_caller]
    pub fn value<T>(self, mut value: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        async move {
            let started = Instant::now();
            loop {
                if let Some(value) = value().await {
                    return value;
                }
                self.check(started, caller);
                tokio::time::sleep(self.interval).await;
            }
        }
    }

    /// Waits until the condition holds, outside of asynchronous code.
    #[track_caller]
    pub fn until_blocking(self, mut holds: impl FnMut() -> bool) {
        self.value_blocking(|| holds().then_some(()));
    }

    /// Waits until there is a value, outside of asynchronous code.
    #[track_caller]
    pub fn value_blocking<T>(self, mut value: impl FnMut() -> Option<T>) -> T {
        let (started, caller) = (Instant::now(), std::panic::Location::caller());
        loop {
            if let Some(value) = value() {
                return value;
            }
            self.check(started, caller);
            std::thread::sleep(self.interval);
        }
    }

    fn check(&self, started: Instant, caller: &std::panic::Location<'_>) {
        let Self { what, patience, interval: _ } = self;
        assert!(started.elapsed() < *patience, "waited {patience:?} in vain at {caller}: {what}");
    }
}
