//! Tenants: one writer each, woken by the first request that was let in.
//!
//! - `tenant`: the handle through which alone a tenant's data is reached.
//! - `awake`: a tenant in memory, and how it gets there.
//! - `writer`, `decision`, `group`, `command`: what becomes of a write.
//! - `merge_patch`: how a payload changes.

mod awake;
mod command;
mod decision;
mod group;
mod merge_patch;
mod tenant;
mod writer;
#[cfg(test)]
mod writer_tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Span, error, info};
use vectorizer_log::{TenantFolder, TenantId};

pub use self::awake::WakeError;
use self::awake::{Awake, wake};
pub use self::command::{CollectionChange, Committed, Precondition, Refusal, VectorChange, Write};
pub use self::merge_patch::MergePatch;
pub use self::tenant::{CollectionFacts, Tenant};
use crate::auth::Pass;

/// How many tenants are read from disk at the same time. Reading is work for one core each, and two
/// tenants waking must not keep the others' requests from being served.
const WAKING_MAX: usize = 2;

/// How long a tenant that could not be woken is left alone: damage does not heal by being read again,
/// and its owner's retries must not keep the disk busy.
const WAKE_BACKOFF: Duration = Duration::from_secs(5);

/// All tenants of this node.
#[derive(Clone, Debug)]
pub struct Tenancy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    data: PathBuf,
    tenants: Mutex<HashMap<TenantId, Arc<Bed>>>,
    waking: Semaphore,
    writers: TaskTracker,
    stop: CancellationToken,
}

/// Where a tenant sleeps or is awake. Whoever comes while it wakes waits for the same waking.
#[derive(Debug, Default)]
struct Bed {
    awake: OnceCell<Arc<Awake>>,
    failure: Mutex<Option<(Instant, Arc<WakeError>)>>,
}

impl Tenancy {
    /// The tenants in `data`, all asleep. Reads no tenant's folder, so it does not matter how many
    /// there are.
    pub fn new(data: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(data)?;
        TenantFolder::erase_unfinished(data)?;
        let shared = Shared {
            data: data.to_owned(),
            tenants: Mutex::default(),
            waking: Semaphore::new(WAKING_MAX),
            writers: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The tenant that `pass` is for, woken if it sleeps and created if it has never been here.
    pub async fn enter<L>(&self, pass: Pass<L>) -> Result<Tenant<L>, Arc<WakeError>> {
        if self.shared.stop.is_cancelled() {
            return Err(Arc::new(WakeError::Stopping));
        }
        let bed = self.bed(pass.tenant());
        if let Some((at, failure)) = &*bed.failure.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < WAKE_BACKOFF
        {
            return Err(Arc::clone(failure));
        }
        let woken = bed.awake.get_or_try_init(|| self.wake(pass.tenant())).await.cloned();
        match woken {
            Ok(awake) => Ok(Tenant::new(awake, pass)),
            Err(failure) => {
                let failure = Arc::new(failure);
                error!(error = %failure, "the tenant cannot be woken");
                *bed.failure.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), Arc::clone(&failure)));
                Err(failure)
            }
        }
    }

    /// Lets every writer finish what was handed to it and closes the logs. Nobody enters any more.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.writers.close();
        self.shared.writers.wait().await;
        self.beds().clear();
    }

    /// How many tenants are awake.
    pub fn awake(&self) -> usize {
        self.beds().values().filter(|bed| bed.awake.initialized()).count()
    }

    fn beds(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Arc<Bed>>> {
        self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenant's bed; a new one if its writer has failed, so that its log is opened again.
    fn bed(&self, tenant: &TenantId) -> Arc<Bed> {
        let mut beds = self.beds();
        let bed = beds.entry(tenant.clone()).or_default();
        if bed.awake.get().is_some_and(|awake| awake.has_failed()) {
            *bed = Arc::default();
        }
        Arc::clone(bed)
    }

    async fn wake(&self, tenant: &TenantId) -> Result<Arc<Awake>, WakeError> {
        let _turn = self.shared.waking.acquire().await.map_err(|_| WakeError::Stopping)?;
        let folder = TenantFolder::new(&self.shared.data, tenant);
        let started = Instant::now();
        // Within the span of the request that wakes it, which knows tenant and request.
        let request = Span::current();
        let woken = tokio::task::spawn_blocking(move || request.in_scope(|| wake(&folder)))
            .await
            .map_err(|panic| WakeError::Panicked(panic.to_string()))??;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(seq = %woken.head().seq, milliseconds, "awake");
        Ok(woken.start(tenant.clone(), &self.shared.writers, self.shared.stop.clone()))
    }
}
