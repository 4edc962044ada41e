//! A tenant in memory, and how it gets there.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error_span, info, warn};
use vectorizer_log::{DeletedTenants, Head, LogReader, TenantFolder, TenantId, TenantLog};
use vectorizer_replay::{ApplyError, Projection, Recovery};

use super::books::Books;
use super::graph_files::GraphFiles;
use super::linker::{Linker, Turns};
use super::pace::{Linking, Pace};
use super::searches::Searches;
use super::share::Share;
use super::writer::{QUEUE_COMMANDS_MAX, Queued, State, Writer};
use crate::audit::TenantDenials;
use crate::catalogue::Catalogue;
use crate::metrics::{Metrics, TenantMetrics, Waking};
use crate::quota::{Accounts, Allowance, Metering, TenantAccount, TenantMeter};

/// How many clients may read one tenant's log at the same time, and how many more may follow it.
const LOG_READERS_MAX: usize = 8;
const FOLLOWERS_MAX: usize = 8;

/// How often recovery says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A tenant in memory. Its writer runs until the server stops or a write fails.
#[derive(Debug)]
pub(super) struct Awake {
    pub(super) id: TenantId,
    pub(super) state: Arc<RwLock<State>>,
    pub(super) log: LogReader,
    pub(super) commands: mpsc::Sender<Queued>,
    pub(super) published: watch::Receiver<Head>,
    pub(super) pace: Pace,
    pub(super) searches: Searches,
    pub(super) log_readers: Arc<Semaphore>,
    pub(super) followers: Arc<Semaphore>,
    pub(super) share: Share,
    pub(super) metrics: Arc<TenantMetrics>,
    pub(super) denials: Arc<TenantDenials>,
    /// In cluster mode.
    pub(super) bill: Option<Bill>,
    /// Cancelled when the server stops or the tenant is deleted.
    pub(super) stop: CancellationToken,
    /// The writer and the linker.
    pub(super) tasks: TaskTracker,
}

impl Awake {
    /// Whether what is in memory is what the log says: not if the writer has panicked while applying.
    pub(super) fn is_readable(&self) -> bool {
        !self.state.is_poisoned()
    }

    /// Whether the writer has ended: only opening the log again makes the tenant take writes.
    pub(super) fn has_failed(&self) -> bool {
        self.commands.is_closed()
    }
}

/// Why a tenant could not be woken.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// The log could not be opened or is damaged.
    #[error(transparent)]
    Log(#[from] vectorizer_log::Error),
    /// The log holds something that cannot have happened.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Opening the log panicked.
    #[error("opening the log panicked: {0}")]
    Panicked(String),
    /// The log was deleted, and is there again without having been restored.
    #[error("this log was deleted and not restored")]
    Deleted,
    /// It takes longer than whoever asked is let wait.
    #[error("the tenant is being read from disk")]
    Waking,
    /// The tenant is being deleted or restored.
    #[error("the tenant is being deleted or restored")]
    Moving,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// Where is told what happens to a tenant in memory.
pub(super) struct Watched {
    pub(super) metrics: Metrics,
    pub(super) of_tenant: Arc<TenantMetrics>,
    pub(super) denials: Arc<TenantDenials>,
}

/// What a tenant's bill is made of while it is awake.
#[derive(Clone, Debug)]
pub(super) struct Bill {
    pub(super) meter: Arc<TenantMeter>,
    pub(super) account: Arc<TenantAccount>,
}

/// How bills are kept.
#[derive(Clone, Debug)]
pub(super) struct Billed {
    pub(super) metering: Metering,
    pub(super) accounts: Accounts,
    /// How long a window is.
    pub(super) interval: Duration,
}

/// What a tenant may take up of the node and use by its plan, and what it is billed for.
pub(super) struct Terms {
    pub(super) share: Share,
    pub(super) allowance: Arc<Allowance>,
    pub(super) bill: Option<(Bill, Books)>,
}

/// A log and what it adds up to.
pub(super) struct Woken {
    files: GraphFiles,
    log: TenantLog,
    projection: Projection,
}

/// Opens the tenant's log, or creates it, and folds it, unless `stop` is cancelled meanwhile.
/// `after_failure` says that a write to it has failed in this process. None of the `deleted` wakes.
pub(super) fn wake(
    folder: &TenantFolder,
    deleted: &DeletedTenants,
    after_failure: bool,
    mut waking: Waking,
    stop: &CancellationToken,
) -> Result<Woken, WakeError> {
    if !folder.exists() {
        let log_id = folder.create()?;
        info!(%log_id, "created the log");
    }
    let log_id = folder.log_id()?;
    if deleted.has(log_id) {
        return Err(WakeError::Deleted);
    }
    let mut projection = Projection::new(log_id);
    let unverified = if after_failure { folder.open_after_failure()? } else { folder.open()? };
    let mut reported = Instant::now();
    let mut recovery = Recovery::new(&mut projection, unverified.acknowledged().seq, |progress| {
        waking.progressed(&progress);
        if reported.elapsed() >= PROGRESS_INTERVAL {
            reported = Instant::now();
            info!(seq = %progress.applied, of = %progress.through, vectors = progress.vectors, "recovering");
        }
    });
    let recovered = unverified.recover(|record| {
        if stop.is_cancelled() {
            return Err(WakeError::Stopping);
        }
        Ok(recovery.push(&record)?)
    })?;
    if let Some(cut) = &recovered.cut {
        warn!(from = %cut.from, parts = cut.parts, reason = %cut.reason, "cut an unfinished, unacknowledged end");
    }
    Ok(Woken { files: GraphFiles::new(folder), log: recovered.log, projection })
}

impl Woken {
    pub(super) fn head(&self) -> Head {
        self.log.head()
    }

    /// The tenant's bill, kept by its writer.
    pub(super) fn keep_bill(
        &self,
        tenant: &TenantId,
        billed: &Billed,
        catalogue: &Catalogue,
    ) -> (Bill, Books) {
        let Billed { metering, accounts, interval } = billed;
        let billing = *self.projection.billing();
        let meter = metering.wakes(tenant, self.log.log_id(), billing.journal());
        let account = accounts.wakes(tenant, self.log.reader(), billing, catalogue);
        let books = Books::new(Arc::clone(&meter), Arc::clone(&account), accounts.clone(), *interval);
        (Bill { meter, account }, books)
    }

    /// Starts the writer and the linker.
    pub(super) fn start(
        self,
        id: TenantId,
        terms: Terms,
        watched: Watched,
        node_tasks: &TaskTracker,
        turns: Turns,
        stop: CancellationToken,
    ) -> Arc<Awake> {
        let Self { files, log, projection } = self;
        let Terms { share, allowance, bill } = terms;
        let head = log.head();
        let reader = log.reader();
        let state = Arc::new(RwLock::new(State { projection, head, log_bytes: log.bytes() }));
        let (commands, queue) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (publish, published) = watch::channel(head);
        // The writer outlives the request that wakes it, and works for others too.
        let span = error_span!(parent: None, "writer", tenant = %id);
        let (tell, linked) = watch::channel(Linking::Going);
        let searches = Searches::default();
        let failed = CancellationToken::new();
        let linker = Linker {
            state: Arc::clone(&state),
            published: published.clone(),
            files,
            linked: tell,
            turns,
            stop: stop.clone(),
            failed: failed.clone(),
        };
        let tasks = TaskTracker::new();
        node_tasks.spawn(tasks.track_future(linker.run().instrument(span.clone())));
        let Watched { metrics, of_tenant, denials } = watched;
        let (bill, books) = bill.unzip();
        let writer =
            Writer::new(log, allowance, Arc::clone(&state), publish, failed, Arc::clone(&denials), metrics)
                .keeping(books);
        node_tasks.spawn(tasks.track_future(writer.run(queue, stop.clone()).instrument(span)));
        Arc::new(Awake {
            id,
            state,
            log: reader,
            commands,
            published,
            pace: Pace::new(linked, searches.clone()),
            searches,
            log_readers: Arc::new(Semaphore::new(LOG_READERS_MAX)),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            share,
            metrics: of_tenant,
            denials,
            bill,
            stop,
            tasks,
        })
    }
}
