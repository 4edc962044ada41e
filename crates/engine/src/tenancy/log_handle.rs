//! A tenant's log is open only while it is written to or read from. Searches are answered from memory.
//!
//! An open log costs megabytes and files, and opening one reads all of it. So the writer, which owns it, opens it at
//! the first use, and closes it when it has not been used for a while. A tenant can
//! be removed from memory at any moment if its log is closed and nothing waits to be written to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::live_tenant::WakeError;

/// Whether a tenant's log is open, and whether it is to be opened or closed.
#[derive(Debug)]
pub(super) struct LogHandle {
    state: watch::Sender<LogHandleState>,
    /// The number of readers. The log is not closed while there are any.
    readers: AtomicUsize,
    /// Tells the writer that a reader waits.
    wanted: Notify,
    /// Tells the writer that it should close the log.
    to_close: Notify,
    /// The time of the last write or read.
    used: Mutex<Instant>,
}

#[derive(Clone, Debug)]
enum LogHandleState {
    Closed,
    /// The log is being opened or closed.
    Changing,
    Open,
    /// The log could not be opened.
    Stuck(Arc<WakeError>),
    /// The log is not opened again until the tenant is woken again.
    Ended,
}

impl LogHandle {
    pub(super) fn new(is_open: bool) -> Self {
        Self {
            state: watch::channel(if is_open { LogHandleState::Open } else { LogHandleState::Closed }).0,
            readers: AtomicUsize::new(0),
            wanted: Notify::new(),
            to_close: Notify::new(),
            used: Mutex::new(Instant::now()),
        }
    }

    /// Waits until the log is open. It stays open until the returned guard is dropped.
    pub(super) async fn open(self: &Arc<Self>) -> Result<OpenGuard, Arc<WakeError>> {
        // IMPORTANT: counted before the state is read. Then closing sees the count, or this call sees the closing.
        let held = OpenGuard::new(self);
        let mut states = self.state.subscribe();
        loop {
            match &*states.borrow_and_update() {
                LogHandleState::Open => return Ok(held),
                LogHandleState::Closed => self.wanted.notify_one(),
                LogHandleState::Changing => {}
                LogHandleState::Stuck(error) => return Err(Arc::clone(error)),
                LogHandleState::Ended => return Err(Arc::new(WakeError::Stopping)),
            }
            if states.changed().await.is_err() {
                return Err(Arc::new(WakeError::Stopping));
            }
        }
    }

    /// Ready when a reader waits.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Asks the writer to open the log, for a caller that tries again later.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Ready when the log should be closed.
    pub(super) async fn to_close(&self) {
        self.to_close.notified().await;
    }

    /// Asks the writer to close the log, after writing everything that waits for it.
    pub(super) fn close(&self) {
        self.to_close.notify_one();
    }

    /// Stores that the log is used now.
    pub(super) fn used(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long the log has been open unused; `None` if it is not open.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let is_idle = self.readers.load(Ordering::SeqCst) == 0 && self.is_open();
        is_idle.then(|| self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }

    /// Whether the log is open, or being opened or closed.
    pub(super) fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), LogHandleState::Open | LogHandleState::Changing)
    }

    /// Whether the log is closed and may be opened.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), LogHandleState::Closed)
    }

    /// Whether the log could not be opened. Then nothing was written to it.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(*self.state.borrow(), LogHandleState::Stuck(_))
    }

    /// The writer opens the log, unless it has ended.
    pub(super) fn begin_opening(&self) -> bool {
        self.transition(|state| matches!(state, LogHandleState::Closed), LogHandleState::Changing)
    }

    /// The writer closes the log, unless it is being read.
    pub(super) fn begin_closing(&self) -> bool {
        let is_unused = |state: &LogHandleState| {
            matches!(state, LogHandleState::Open) && self.readers.load(Ordering::SeqCst) == 0
        };
        self.transition(is_unused, LogHandleState::Changing)
    }

    pub(super) fn opened(&self) {
        self.used();
        self.transition(|state| matches!(state, LogHandleState::Changing), LogHandleState::Open);
    }

    pub(super) fn closed(&self) {
        self.transition(|state| matches!(state, LogHandleState::Changing), LogHandleState::Closed);
    }

    pub(super) fn stuck(&self, error: Arc<WakeError>) {
        self.transition(|state| matches!(state, LogHandleState::Changing), LogHandleState::Stuck(error));
    }

    /// Prevents a closed log from being opened again. Returns `false` if the log was not closed.
    pub(super) fn retire(&self) -> bool {
        self.transition(|state| matches!(state, LogHandleState::Closed), LogHandleState::Ended)
    }

    /// The writer has ended.
    pub(super) fn end(&self) {
        self.transition(|state| !matches!(state, LogHandleState::Stuck(_)), LogHandleState::Ended);
    }

    fn transition(&self, from: impl FnOnce(&LogHandleState) -> bool, to: LogHandleState) -> bool {
        self.state.send_if_modified(|state| {
            let is_due = from(state);
            if is_due {
                *state = to;
            }
            is_due
        })
    }
}

/// Keeps a log open.
#[derive(Debug)]
pub(super) struct OpenGuard(Arc<LogHandle>);

impl OpenGuard {
    fn new(log_handle: &Arc<LogHandle>) -> Self {
        log_handle.readers.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(log_handle))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.used();
        self.0.readers.fetch_sub(1, Ordering::SeqCst);
    }
}
