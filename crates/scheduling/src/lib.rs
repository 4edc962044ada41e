//! Which work gets a core first: short work must not wait for long work.
//!
//! Nice values do not help. They set how much of the cores a thread gets, not how soon: on Linux, a thread that wakes
//! up and has just used its share waits until the running thread has used up its time slice. The kernel notices that
//! at the next tick of the clock, up to 4 ms later. Three measures help, and none of them needs a privilege:
//!
//! - A thread with a short time slice preempts one with a longer slice at once, if it has not had more than its share
//!   (`sched_setattr(2)`, Linux 6.12 and later; earlier kernels ignore the slice).
//! - Long work calls [`yield_point`] often, for threads that have had more than their share.
//! - Any thread preempts one at `SCHED_IDLE`, and a core that runs only such threads counts as idle: when another
//!   program takes a core for some milliseconds, threads that wait for it move to that one. The longest work,
//!   linking, runs at `SCHED_IDLE`, except for one thread that runs at normal priority for a tenth of the time
//!   ([`throttle`]).
//!
//! The crate knows threads and the system's scheduler. It knows nothing of tenants, requests or storage.

use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;
use tracing::{Span, warn};

/// How soon a thread gets a core, and how soon it is preempted. Only [`Idle`](Self::Idle) changes how much of the cores
/// it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Soon, and for a short time: work that a caller waits for.
    Prompt,
    /// Later, and until another thread wants the core: long work.
    Bulk,
    /// When no other thread wants the core: work that can be delayed.
    Idle,
}

impl Priority {
    /// Linux accepts 0.1 to 100 ms.
    fn slice_nanoseconds(self) -> u64 {
        match self {
            Self::Prompt => 100_000,
            // Each yield point gives up the rest of it.
            Self::Bulk | Self::Idle => 250_000,
        }
    }

    /// Applies it to the calling thread and to threads that this one starts. It changes waiting times only, so a
    /// failure is logged once and ignored.
    pub fn apply(self) {
        PRIORITY.set(self);
        if let Err(error) = self.set() {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(
                || warn!(%error, "the time slices of threads cannot be changed: searches wait longer"),
            );
        }
    }

    #[cfg(target_os = "linux")]
    fn set(self) -> std::io::Result<()> {
        let policy = match self {
            Self::Prompt | Self::Bulk => libc::SCHED_OTHER,
            Self::Idle => libc::SCHED_IDLE,
        };
        // `None` is the calling thread. Its nice value stays.
        let niceness = rustix::process::getpriority_process(None)?;
        let attributes = libc::sched_attr {
            size: u32::try_from(size_of::<libc::sched_attr>()).map_err(std::io::Error::other)?,
            sched_policy: policy.cast_unsigned(),
            sched_flags: 0,
            sched_nice: niceness,
            sched_priority: 0,
            sched_runtime: self.slice_nanoseconds(),
            sched_deadline: 0,
            sched_period: 0,
        };
        let flags: libc::c_uint = 0;
        // SAFETY: the call reads `size` bytes at the address it is given, which are those of `attributes` and live
        // until it returns, and writes none: 0 is the calling thread, and there are no flags.
        #[expect(
            unsafe_code,
            reason = "no library has a safe one; without it a search waits for writers (BENCHMARKS.md)"
        )]
        let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, flags) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }

    #[cfg(not(target_os = "linux"))]
    fn set(self) -> std::io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static PRIORITY: Cell<Priority> = const { Cell::new(Priority::Prompt) };
}

/// Yields the core, unless the calling thread is at [`Priority::Prompt`]. Takes half a microsecond if no thread waits.
#[inline]
pub fn yield_point() {
    if PRIORITY.get() != Priority::Prompt {
        std::thread::yield_now();
    }
}

/// Limits the calling thread to a tenth of the time: parks it for nine times as long as it has run since the last call,
/// unless it is unparked.
pub fn throttle() {
    /// The first call counts all the work before it, so the pause has a bound.
    const LONGEST: Duration = Duration::from_millis(10);
    thread_local! {
        static WORKED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
    let worked = running_time();
    let since = worked.saturating_sub(WORKED.replace(worked));
    std::thread::park_timeout(since.saturating_mul(9).min(LONGEST));
}

/// How long the calling thread has run since it started.
fn running_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The runtime for async work. Its threads and the calling one are at [`Priority::Prompt`], except in [`run_blocking`].
pub fn runtime() -> std::io::Result<Runtime> {
    Priority::Prompt.apply();
    Builder::new_multi_thread().enable_all().on_thread_start(|| Priority::Prompt.apply()).build()
}

/// The calling thread is at [`Priority::Bulk`] until this is dropped, and at [`Priority::Prompt`] from then on.
struct BulkGuard;

impl BulkGuard {
    fn begin() -> Self {
        Priority::Bulk.apply();
        Self
    }
}

impl Drop for BulkGuard {
    fn drop(&mut self) {
        Priority::Prompt.apply();
    }
}

/// Runs `work`, which may block and take long, on a thread for blocking work, within the current span. The error says
/// that it panicked.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let span = Span::current();
    let work = move || {
        let _guard = BulkGuard::begin();
        span.in_scope(work)
    };
    tokio::task::spawn_blocking(work).await
}

/// How much a task that reads a stream reads before it yields.
///
/// tokio's own budget counts chunks, not bytes: 128 chunks may be 16 MiB, which take milliseconds to copy. With 64
/// streams, another task would wait for all of them.
#[derive(Debug, Default)]
pub struct StreamBudget {
    bytes: usize,
}

impl StreamBudget {
    const BYTES: usize = 128 * 1024;

    /// Counts bytes that were read, and yields after 128 KiB.
    pub async fn spend(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= Self::BYTES {
            self.bytes = 0;
            // The thread yields as well as the task: a sync of the disk waits for several kernel threads, and without
            // this for a tick of the clock for each of them.
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The nice value and the scheduling policy of the calling thread.
    fn scheduled() -> (i64, i64) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The third field follows the name, which may contain any character.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let field = |number: usize| fields.split_whitespace().nth(number - 3).unwrap().parse().unwrap();
        (field(19), field(41))
    }

    /// The time slice of the calling thread in nanoseconds, if this kernel shows it.
    fn slice() -> Option<u64> {
        let told = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = told.lines().find(|line| line.starts_with("se.slice"))?;
        line.split(':').nth(1)?.trim().parse().ok()
    }

    #[test]
    fn a_priority_sets_policy_and_time_slice_and_keeps_the_nice_value() {
        let work = || {
            let (niceness, policy) = scheduled();
            assert_eq!(policy, i64::from(libc::SCHED_OTHER));
            for priority in [Priority::Bulk, Priority::Idle, Priority::Prompt] {
                priority.set().unwrap();
                let expected = if priority == Priority::Idle { libc::SCHED_IDLE } else { libc::SCHED_OTHER };
                assert_eq!(scheduled(), (niceness, expected.into()), "{priority:?}");
                if let Some(slice) = slice() {
                    assert_eq!(slice, priority.slice_nanoseconds(), "{priority:?}");
                }
            }
        };
        std::thread::spawn(work).join().unwrap();
    }

    fn work(length: Duration) {
        let until = running_time() + length;
        while running_time() < until {}
    }

    #[test]
    fn a_throttled_thread_runs_a_tenth_of_the_time_unless_it_is_unparked() {
        let working = || {
            throttle();
            let (begun, before) = (Instant::now(), running_time());
            for _ in 0..20 {
                work(Duration::from_micros(200));
                throttle();
            }
            let (took, worked) = (begun.elapsed(), running_time().saturating_sub(before));
            assert!(took >= 8 * worked, "{worked:?} of {took:?}");
            let woken = |_| {
                work(Duration::from_millis(2));
                std::thread::current().unpark();
                let begun = Instant::now();
                throttle();
                begun.elapsed()
            };
            let quickest = (0..20).map(woken).min().unwrap();
            assert!(quickest < Duration::from_millis(5), "it was parked for {quickest:?}");
        };
        std::thread::spawn(working).join().unwrap();
    }

    #[test]
    fn every_thread_of_the_runtime_has_the_priority_of_its_work() {
        let runtime = runtime().unwrap();
        runtime.block_on(async {
            assert_eq!(tokio::spawn(async { PRIORITY.get() }).await.unwrap(), Priority::Prompt);
            assert_eq!(run_blocking(|| PRIORITY.get()).await.unwrap(), Priority::Bulk);
            let panicked = run_blocking(|| panic!("on purpose")).await;
            assert!(panicked.is_err());
            // The next task on the same thread has the usual priority.
            assert_eq!(tokio::task::spawn_blocking(|| PRIORITY.get()).await.unwrap(), Priority::Prompt);
        });
    }
}
