//! The state that a tenant's writer shares with readers, and the waits for it.
//!
//! The writer applies a whole record in one step, which can take long, and so can putting a compaction in place.
//! IMPORTANT: no async thread is kept waiting meanwhile, since other tenants need it. An async reader is a task that
//! waits, with a patience and with few others ([`SharedState::look`]); [`SharedState::read`] and
//! [`SharedState::write`] are for threads that may block, and panic on others. What is asked for without waiting is
//! kept beside it ([`Figures`]).

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};
use tokio::time::timeout;
use vectorizer_index::HeldBytes;
use vectorizer_log::{Head, Seq};
use vectorizer_replay::{Billing, Projection, Usage};

use super::kept::KeptSnapshots;

/// How many requests may wait for one tenant's state at the same time.
const WAITING_MAX: usize = 256;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// The projection, and the head it is at.
#[derive(Debug)]
pub(super) struct State {
    pub(super) projection: Projection,
    pub(super) head: Head,
    /// Stored bytes of the log up to there.
    pub(super) log_bytes: u64,
}

/// What of the state is small, as of the last commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) head: Head,
    pub(super) log_bytes: u64,
    /// The last record that changed data.
    pub(super) data_seq: Seq,
    pub(super) usage: Usage,
    pub(super) billing: Billing,
    /// What the projection takes up in memory, but for its graphs.
    projection_bytes: usize,
    /// What of that is in large allocations.
    large_bytes: usize,
}

impl Figures {
    fn of(State { projection, head, log_bytes }: &State) -> Self {
        Self {
            head: *head,
            log_bytes: *log_bytes,
            data_seq: projection.data_seq(),
            usage: *projection.usage(),
            billing: *projection.billing(),
            projection_bytes: projection.memory_bytes(),
            large_bytes: projection.large_bytes(),
        }
    }
}

/// As many wait for the state as may, or one has waited for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// A tenant's state. Its lock is fair: first come, first served, readers together.
#[derive(Debug)]
pub(super) struct SharedState {
    state: RwLock<State>,
    figures: Mutex<Figures>,
    /// What the projection's graphs take up in memory.
    graphs: HeldBytes,
    /// Dropped when a collection of it is deleted or compacted.
    pub(super) kept: KeptSnapshots,
    waiting: Semaphore,
    /// Whether a change has panicked.
    untrusted: AtomicBool,
}

impl SharedState {
    pub(super) fn new(state: State) -> Self {
        let figures = Mutex::new(Figures::of(&state));
        let graphs = state.projection.graphs_bytes();
        let waiting = Semaphore::new(WAITING_MAX);
        let (state, untrusted) = (RwLock::new(state), AtomicBool::new(false));
        Self { state, figures, graphs, kept: KeptSnapshots::default(), waiting, untrusted }
    }

    /// The state, for a request: at once if nothing changes it, otherwise within the bounds for requests.
    ///
    /// For as short as possible: the writer waits until it is dropped.
    pub(super) async fn look(&self) -> Result<RwLockReadGuard<'_, State>, Crowded> {
        if let Ok(state) = self.state.try_read() {
            return Ok(state);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| Crowded)?;
        timeout(PATIENCE, self.state.read()).await.map_err(|_| Crowded)
    }

    /// The same for the tenant's own tasks, which are few and wait for as long as it takes.
    pub(super) async fn wait(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().await
    }

    /// The state, on a thread that may block.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.blocking_read()
    }

    /// The state, to change it, on a thread that may block. What is small is told when the change is done.
    pub(super) fn write(&self) -> Changing<'_> {
        Changing { shared: self, state: self.state.blocking_write() }
    }

    /// The state, as soon as it can be had without blocking.
    #[cfg(test)]
    pub(super) fn peek(&self) -> RwLockReadGuard<'_, State> {
        loop {
            if let Ok(state) = self.state.try_read() {
                return state;
            }
            std::thread::yield_now();
        }
    }

    /// The same, to change it.
    #[cfg(test)]
    pub(super) fn poke(&self) -> Changing<'_> {
        loop {
            if let Ok(state) = self.state.try_write() {
                return Changing { shared: self, state };
            }
            std::thread::yield_now();
        }
    }

    /// Does not wait for changes of the state.
    pub(super) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it takes up in memory, in small allocations and in large ones. Does not wait for changes of it.
    pub(super) fn memory_bytes(&self) -> (u64, u64) {
        let Figures { projection_bytes, large_bytes, .. } = *self.figures();
        // A graph is a few large lists.
        (projection_bytes.saturating_sub(large_bytes) as u64, (large_bytes + self.graphs.get()) as u64)
    }

    /// Whether the state is what the log says: not after a change that panicked.
    pub(super) fn is_trusted(&self) -> bool {
        !self.untrusted.load(Ordering::SeqCst)
    }
}

/// The state while it is changed.
#[derive(Debug)]
pub(super) struct Changing<'a> {
    shared: &'a SharedState,
    state: RwLockWriteGuard<'a, State>,
}

impl Deref for Changing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.untrusted.store(true, Ordering::SeqCst);
        } else {
            *self.shared.figures() = Figures::of(&self.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::sync::oneshot;
    use vectorizer_log::LogId;

    use super::*;

    fn shared() -> Arc<SharedState> {
        let log_id = LogId::new(uuid::Uuid::nil());
        let state = State { projection: Projection::new(log_id), head: Head::genesis(log_id), log_bytes: 0 };
        Arc::new(SharedState::new(state))
    }

    /// All async work is done on one thread: a read that blocked it would wait for ever.
    #[tokio::test]
    async fn a_long_change_of_one_tenant_keeps_no_thread_from_the_others() {
        let (busy, other) = (shared(), shared());
        let (begin, begun) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        let changed = Arc::clone(&busy);
        let changing = tokio::task::spawn_blocking(move || {
            let mut state = changed.write();
            begin.send(()).unwrap();
            ended.recv().unwrap();
            state.log_bytes = 7;
        });
        begun.await.unwrap();
        let read = async || busy.look().await.map(|state| state.log_bytes);
        let mut waiting = Box::pin(join_all((0..WAITING_MAX).map(|_| read())));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(other.look().await.unwrap());
        assert_eq!(busy.figures().log_bytes, 0);
        assert_eq!(read().await, Err(Crowded), "more wait than may");
        end.send(()).unwrap();
        assert_eq!(waiting.await, vec![Ok(7); WAITING_MAX]);
        changing.await.unwrap();
        assert_eq!(busy.figures().log_bytes, 7);
        assert_eq!(read().await, Ok(7));
    }

    #[tokio::test]
    async fn a_read_waits_for_a_while_only() {
        let busy = shared();
        let _changing = busy.poke();
        assert_eq!(busy.look().await.map(drop), Err(Crowded));
    }

    #[test]
    fn a_state_whose_change_panicked_is_not_trusted() {
        let shared = shared();
        drop(shared.write());
        assert!(shared.is_trusted());
        let change = || {
            let _state = shared.write();
            panic!("on purpose");
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(change)).is_err());
        assert!(!shared.is_trusted());
        // It can still be read.
        drop(shared.read());
    }
}
