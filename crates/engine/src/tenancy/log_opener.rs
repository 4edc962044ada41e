//! Where a tenant's log is, for the writer that opens and closes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use vectorizer_log::{Error, LogReader, Seq, TenantFolder, TenantLog};
use vectorizer_replay::Projector as _;

use super::checkpoints::Checkpoints;
use super::history::HistoryHandle;
use super::live_tenant::WakeError;
use super::log_handle::LogHandle;
use super::shared_state::SharedState;

/// How many logs of tenants in memory are opened or closed at the same time.
const OPENING_MAX: usize = 2;

/// What opening and closing logs has to share.
#[derive(Clone, Debug)]
pub(super) struct OpenLimiter {
    permits: Arc<Semaphore>,
    opened: Arc<Opened>,
}

/// Logs that were opened, for the task that keeps room for them.
#[derive(Debug, Default)]
struct Opened {
    /// Since this was asked for last.
    logs: AtomicU64,
    told: Notify,
}

impl Default for OpenLimiter {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(OPENING_MAX)), opened: Arc::default() }
    }
}

impl OpenLimiter {
    /// A log was opened.
    pub(super) fn opened(&self) {
        self.opened.logs.fetch_add(1, Ordering::Relaxed);
        self.opened.told.notify_one();
    }

    /// Waits until one is opened. How many were since they were counted.
    pub(super) async fn opening(&self) -> u64 {
        self.opened.told.notified().await;
        self.opened.logs.load(Ordering::Relaxed)
    }

    /// Those that were opened until now are counted.
    pub(super) fn counted(&self) {
        self.opened.logs.store(0, Ordering::Relaxed);
    }
}

/// One tenant's log on disk.
#[derive(Debug)]
pub(super) struct LogOpener {
    pub(super) folder: TenantFolder,
    pub(super) checkpoints: Arc<Checkpoints>,
    /// Reads the log in this opening and in each later one.
    pub(super) reader: LogReader,
    pub(super) log_handle: Arc<LogHandle>,
    pub(super) history: Arc<HistoryHandle>,
    pub(super) limiter: OpenLimiter,
}

impl LogOpener {
    /// The permit to open or close the log; `None` if the server stops.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.limiter.permits).acquire_owned().await.ok()
    }

    /// Opens the log, all of which is verified; the state in memory has to be what it adds up to.
    pub(super) fn open(&self, state: &SharedState) -> Result<TenantLog, WakeError> {
        let base = state.read().head;
        let opened = or_put_back(&self.folder, || {
            let recovered = self.folder.open()?.recover_after(base, |record| {
                // There are none behind a log that was closed cleanly.
                let mut state = state.write();
                state.projection.apply(&record).map(drop).map_err(WakeError::from)
            })?;
            Ok::<_, WakeError>(recovered.log.with_reader(&self.reader))
        })?;
        let mut state = state.write();
        (state.head, state.log_bytes) = (opened.head(), opened.bytes());
        drop(state);
        self.limiter.opened();
        debug!("opened the log");
        Ok(opened)
    }

    /// Closes the log, and leaves beside it what it takes to read it without opening it. Only that the log
    /// could not be closed is an error.
    pub(super) fn close(&self, log: TenantLog, state: &SharedState) -> Result<(), Error> {
        let (log_id, head, bytes) = (log.log_id(), log.head(), log.bytes());
        // Records that were dropped cannot be folded behind a checkpoint.
        let beginning = log.reader().beginning().map_or(Seq::NONE, |beginning| beginning.seq);
        if (self.checkpoints.is_behind(bytes) || self.checkpoints.head().seq < beginning)
            && let Err(error) = self.checkpoints.write(state, &CancellationToken::new())
        {
            warn!(%error, "the checkpoint could not be written: waking will take longer");
        }
        // One that could not be written for long has left too much to be kept anywhere else.
        let tail = (!self.checkpoints.is_behind(bytes)).then(|| self.checkpoints.tail(&log.reader()));
        log.close()?;
        let left = tail.map_or(Ok(()), |tail| {
            let (base, records) = tail?;
            self.folder.write_closed(log_id, [base, head], bytes, &records)
        });
        if let Err(error) = left {
            warn!(%error, "it could not be kept where the log was closed: waking will take longer");
        }
        debug!("closed the log");
        Ok(())
    }
}

impl Drop for LogOpener {
    fn drop(&mut self) {
        self.log_handle.end();
    }
}

/// Opens a log, which takes away the word that it is closed. If that comes to nothing, nothing was written,
/// and the word is put back: it can still be read as it was.
pub(super) fn or_put_back<T, E>(folder: &TenantFolder, open: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let closed = folder.closed_file().ok().flatten();
    let opened = open();
    if opened.is_ok()
        && let Err(error) = folder.discard_closed()
    {
        warn!(%error, "what was left when the log was closed is still there and will be removed later");
    }
    opened.inspect_err(|_| {
        if let Some(closed) = closed
            && let Err(error) = folder.restore_closed(&closed)
        {
            warn!(%error, "it could not be kept where the log was closed");
        }
    })
}
