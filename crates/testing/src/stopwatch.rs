//! Measuring time against a promise on a machine that may stand still.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the watching thread sleeps.
const INTERVAL: Duration = Duration::from_millis(10);
/// The watching thread counts wake-ups that come later than this.
const LATE: Duration = Duration::from_millis(100);

/// Measures time without the time in which the machine stood still.
///
/// A virtual machine halts for seconds now and then. A thread that only sleeps notices how late it wakes up, and that
/// delay is subtracted.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    halted_micros: u64,
}

impl Stopwatch {
    /// Begins to measure.
    pub fn start() -> Self {
        Self { halted_micros: halted_micros(), started: Instant::now() }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        // The watching thread needs to have woken up, too.
        std::thread::sleep(INTERVAL);
        self.unhalted(self.started.elapsed())
    }

    /// The time since the start. Other tasks of the thread go on while the watching thread wakes up.
    pub async fn elapsed_meanwhile(&self) -> Duration {
        let elapsed = self.started.elapsed();
        tokio::time::sleep(INTERVAL).await;
        self.unhalted(elapsed)
    }

    fn unhalted(&self, elapsed: Duration) -> Duration {
        elapsed.saturating_sub(Duration::from_micros(halted_micros() - self.halted_micros))
    }
}

/// How long the machine has stood still since the first call.
fn halted_micros() -> u64 {
    static HALTED_MICROS: AtomicU64 = AtomicU64::new(0);
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        std::thread::spawn(|| {
            loop {
                let asleep = Instant::now();
                std::thread::sleep(INTERVAL);
                let late = asleep.elapsed().saturating_sub(INTERVAL);
                if late > LATE {
                    let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                    HALTED_MICROS.fetch_add(micros, Ordering::Relaxed);
                }
            }
        });
    });
    HALTED_MICROS.load(Ordering::Relaxed)
}
