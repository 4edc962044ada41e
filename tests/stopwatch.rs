//! Time that is measured against a promise, on machines that may stand still.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often is looked whether the machine goes on, and how late that may be noticed by.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LATE: Duration = Duration::from_millis(100);

/// A virtual machine stands still for seconds now and then, which is nobody's fault in it: what it cost a thread
/// that does nothing but sleep is not counted.
pub(crate) struct Stopwatch {
    started: Instant,
    halted: u64,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { halted: halted(), started: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        // The looking thread has to have been woken, too, to have noticed.
        std::thread::sleep(LOOK_EVERY);
        self.started.elapsed().saturating_sub(Duration::from_micros(halted() - self.halted))
    }
}

/// For how many microseconds in all the machine stood still since somebody first asked.
fn halted() -> u64 {
    static HALTED: AtomicU64 = AtomicU64::new(0);
    static LOOKING: Once = Once::new();
    LOOKING.call_once(|| {
        std::thread::spawn(|| {
            loop {
                let asleep = Instant::now();
                std::thread::sleep(LOOK_EVERY);
                let late = asleep.elapsed().saturating_sub(LOOK_EVERY);
                if late > LATE {
                    HALTED.fetch_add(late.as_micros() as u64, Ordering::Relaxed);
                }
            }
        });
    });
    HALTED.load(Ordering::Relaxed)
}
