//! Whose turn it is on a core: what answers somebody must not wait for what takes long.
//!
//! Niceness is little help with that. It says how much of the cores a thread gets, and not how soon: on Linux a thread
//! that wakes and has just had its share, be it a microsecond more, waits until the running one has used up its slice,
//! which is noticed at the next tick of the clock, up to 4 ms later. Three things are, and none needs a privilege:
//!
//! - A thread that asks for short slices takes the core at once from one that has asked for longer ones, if it has not
//!   had more than its share (`sched_setattr(2)`, Linux 6.12 and later; an earlier one takes no notice).
//! - What takes long [`pause`]s now and then, for whoever has had more than that.
//! - Any thread takes the core from one that only wants what is idle, and a core that has only such is free to one that
//!   wakes elsewhere: where another program takes a core for some milliseconds, who waits there goes to this one. So
//!   what takes longest, linking, wants what is idle, but for a tenth of the time ([`rest`]).
//!
//! The crate knows threads and the system's scheduler. It knows nothing of tenants, requests or storage.

use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;
use tracing::{Span, warn};

/// How soon a thread gets a core, and how soon it has to let go of it. It says nothing of how much it gets in all, but
/// for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Soon, for a moment: what somebody waits for and is soon done.
    Prompt,
    /// Later, and until somebody wants it: what takes longer.
    Bulk,
    /// When nobody else wants it: what can be left for later altogether.
    Idle,
}

impl Turn {
    /// Linux takes 0.1 to 100 ms.
    fn slice_nanoseconds(self) -> u64 {
        match self {
            Self::Prompt => 100_000,
            // What is left of it is given up at every pause.
            Self::Bulk | Self::Idle => 250_000,
        }
    }

    /// Makes it so for the calling thread and those that it starts. It changes how long others wait and nothing else,
    /// so where it cannot be had, that is said once and all goes on.
    pub fn take(self) {
        TAKEN.set(self);
        if let Err(error) = self.ask() {
            static SAID: Once = Once::new();
            SAID.call_once(
                || warn!(%error, "how soon threads get a core cannot be changed, searches wait longer"),
            );
        }
    }

    #[cfg(target_os = "linux")]
    fn ask(self) -> std::io::Result<()> {
        let policy = match self {
            Self::Prompt | Self::Bulk => libc::SCHED_OTHER,
            Self::Idle => libc::SCHED_IDLE,
        };
        // `None` is the calling thread; it stays as nice as it is.
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
    fn ask(self) -> std::io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static TAKEN: Cell<Turn> = const { Cell::new(Turn::Prompt) };
}

/// Lets others go first, if what the calling thread does takes long. Half a microsecond where nobody waits.
pub fn pause() {
    if TAKEN.get() != Turn::Prompt {
        std::thread::yield_now();
    }
}

/// Leaves nine tenths of the time to others: parks for so many times as long as the calling thread has worked since it
/// did so last, unless it is unparked.
pub fn rest() {
    /// Whatever was done before the first time counts, too.
    const LONGEST: Duration = Duration::from_millis(10);
    thread_local! {
        static WORKED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
    let worked = worked();
    let since = worked.saturating_sub(WORKED.replace(worked));
    std::thread::park_timeout(since.saturating_mul(9).min(LONGEST));
}

/// For how long the calling thread has had a core since it began.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// What async work is done on: all of its threads, and the calling one, are prompt unless they are [`in_bulk`].
pub fn runtime() -> std::io::Result<Runtime> {
    Turn::Prompt.take();
    Builder::new_multi_thread().enable_all().on_thread_start(|| Turn::Prompt.take()).build()
}

/// The calling thread's turns are [`Turn::Bulk`] until this is dropped, and [`Turn::Prompt`] from then on.
struct InBulk;

impl InBulk {
    fn begin() -> Self {
        Turn::Bulk.take();
        Self
    }
}

impl Drop for InBulk {
    fn drop(&mut self) {
        Turn::Prompt.take();
    }
}

/// Does `work` where it may block and may take long, within the current span; an error if it panicked.
pub async fn in_bulk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let span = Span::current();
    let work = move || {
        let _in_bulk = InBulk::begin();
        span.in_scope(work)
    };
    tokio::task::spawn_blocking(work).await
}

/// The turns of a task that reads a stream: after so many bytes it lets the others go first.
///
/// tokio's own budget counts pieces, not bytes: 128 of them may be 16 MiB, which take milliseconds to copy. With 64
/// streams, a task that is woken in between would wait for all of that.
#[derive(Debug, Default)]
pub struct StreamTurn {
    bytes: usize,
}

impl StreamTurn {
    const BYTES: usize = 128 * 1024;

    /// So many bytes were read.
    pub async fn took(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= Self::BYTES {
            self.bytes = 0;
            // And other threads, the kernel's too: a sync of the disk waits for several of them, each for a tick of the
            // clock otherwise.
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// What Linux says of the calling thread: its niceness, and by what policy it gets a core.
    fn scheduled() -> (i64, i64) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // Behind the name, which may hold anything, stands the third field.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let field = |number: usize| fields.split_whitespace().nth(number - 3).unwrap().parse().unwrap();
        (field(19), field(41))
    }

    /// The slice that it has asked for, in nanoseconds, if this Linux tells.
    fn slice() -> Option<u64> {
        let told = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = told.lines().find(|line| line.starts_with("se.slice"))?;
        line.split(':').nth(1)?.trim().parse().ok()
    }

    #[test]
    fn a_thread_takes_its_turns_as_it_says_and_stays_as_nice_as_it_is() {
        let work = || {
            let (niceness, policy) = scheduled();
            assert_eq!(policy, i64::from(libc::SCHED_OTHER));
            for turn in [Turn::Bulk, Turn::Idle, Turn::Prompt] {
                turn.ask().unwrap();
                let expected = if turn == Turn::Idle { libc::SCHED_IDLE } else { libc::SCHED_OTHER };
                assert_eq!(scheduled(), (niceness, expected.into()), "{turn:?}");
                if let Some(slice) = slice() {
                    assert_eq!(slice, turn.slice_nanoseconds(), "{turn:?}");
                }
            }
        };
        std::thread::spawn(work).join().unwrap();
    }

    fn work(length: Duration) {
        let until = worked() + length;
        while worked() < until {}
    }

    #[test]
    fn who_rests_leaves_nine_tenths_of_the_time_to_others_unless_it_is_woken() {
        let working = || {
            rest();
            let (begun, before) = (Instant::now(), worked());
            for _ in 0..20 {
                work(Duration::from_micros(200));
                rest();
            }
            let (took, worked) = (begun.elapsed(), worked().saturating_sub(before));
            assert!(took >= 8 * worked, "{worked:?} of {took:?}");
            let woken = |_| {
                work(Duration::from_millis(2));
                std::thread::current().unpark();
                let begun = Instant::now();
                rest();
                begun.elapsed()
            };
            let quickest = (0..20).map(woken).min().unwrap();
            assert!(quickest < Duration::from_millis(5), "it rested for {quickest:?}");
        };
        std::thread::spawn(working).join().unwrap();
    }

    #[test]
    fn what_takes_long_is_told_from_what_does_not_on_every_thread_of_the_runtime() {
        let runtime = runtime().unwrap();
        runtime.block_on(async {
            assert_eq!(tokio::spawn(async { TAKEN.get() }).await.unwrap(), Turn::Prompt);
            assert_eq!(in_bulk(|| TAKEN.get()).await.unwrap(), Turn::Bulk);
            let panicked = in_bulk(|| panic!("on purpose")).await;
            assert!(panicked.is_err());
            // Whatever comes after it on the same thread is not in bulk.
            assert_eq!(tokio::task::spawn_blocking(|| TAKEN.get()).await.unwrap(), Turn::Prompt);
        });
    }
}
