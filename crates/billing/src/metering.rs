//! The meters of all tenants, and the task that writes their counts to the journal.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::error;
use vectorizer_journal::JournalError;
use vectorizer_log::storage::StorageFailure;
use vectorizer_log::{JournalPosition, LogId, TenantId};

use super::journal::UsageJournal;
use super::meter::{Positions, TenantMeter, Wanted};

/// How often counts are written. A crash loses the counts since.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a failure to do so is logged.
const SHOUT_EVERY: Duration = Duration::from_mins(1);

/// All meters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metering {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    positions: Arc<Positions>,
    meters: Mutex<HashMap<LogId, Arc<TenantMeter>>>,
    /// Locked while the disk is written, and never while waiting for meters.
    journal: Mutex<UsageJournal>,
    /// Whether the last write failed.
    is_failing: AtomicBool,
}

impl Metering {
    /// Opens the journal in the `node` folder. Each tenant's counts wait for its log.
    pub fn open(node: &Path) -> io::Result<Self> {
        let mut entries = Vec::new();
        let journal = UsageJournal::open(node, &mut |entry| entries.push(entry))?;
        Self::with(journal, entries)
    }

    pub(crate) fn with(journal: UsageJournal, entries: Vec<super::meter::Entry>) -> io::Result<Self> {
        let positions = Arc::new(Positions::new(journal.id(), journal.first_place()));
        let mut meters = HashMap::new();
        for entry in entries {
            let meter = meters.entry(entry.log_id).or_insert_with(|| {
                let (tenant, log_id) = (entry.tenant.clone(), entry.log_id);
                Arc::new(TenantMeter::new(tenant, log_id, Arc::clone(&positions)))
            });
            meter.read(entry);
        }
        meters.retain(|_, meter| meter.is_pending());
        let shared = Shared {
            positions,
            meters: Mutex::new(meters),
            journal: Mutex::new(journal),
            is_failing: AtomicBool::new(false),
        };
        let metering = Self { shared: Arc::new(shared) };
        match metering.write() {
            // Writing is tried again each second; until then the counts are in the older files.
            Err(JournalError::Io { source, .. }) if StorageFailure::of(&source).is_unavailable() => {
                error!(error = %source, "requests are counted in memory only: a crash would lose them");
                metering.shared.is_failing.store(true, Ordering::Relaxed);
            }
            written => written.map_err(io::Error::other)?,
        }
        Ok(metering)
    }

    /// The meter of a tenant that wakes, whose log has all counts up to `folded`.
    pub fn wakes(
        &self,
        tenant: &TenantId,
        log_id: LogId,
        folded: Option<JournalPosition>,
    ) -> Arc<TenantMeter> {
        // Locked until the meter is marked as awake, since unused meters are removed.
        let mut meters = self.meters();
        let meter = meters.entry(log_id).or_insert_with(|| {
            Arc::new(TenantMeter::new(tenant.clone(), log_id, Arc::clone(&self.shared.positions)))
        });
        meter.wakes(folded);
        Arc::clone(meter)
    }

    /// The tenant with this log sleeps, or is gone.
    pub fn sleeps(&self, log_id: LogId) {
        if let Some(meter) = self.meters().get(&log_id) {
            meter.sleeps();
        }
    }

    /// The log is deleted, and its waiting counts with it.
    pub fn forget(&self, log_id: LogId) {
        self.meters().remove(&log_id);
    }

    /// The sleeping tenants with counts that wait for their logs.
    pub fn pending(&self) -> Vec<(TenantId, LogId)> {
        let meters = self.meters();
        let pending = meters.values().filter(|meter| meter.is_pending());
        pending.map(|meter| (meter.tenant().clone(), meter.log_id())).collect()
    }

    /// Whether counts are in memory only.
    pub fn is_failing(&self) -> bool {
        self.shared.is_failing.load(Ordering::Relaxed)
    }

    /// Writes counts once a second until `stop` is cancelled, and once more at the end.
    pub async fn run(self, stop: CancellationToken) {
        let mut shouted: Option<Instant> = None;
        loop {
            let ending = tokio::time::timeout(INTERVAL, stop.cancelled()).await.is_ok();
            let metering = self.clone();
            let outcome = tokio::task::spawn_blocking(move || metering.write()).await;
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error}: {:?}", std::error::Error::source(&error))),
                Err(panic) => Some(panic.to_string()),
            };
            self.shared.is_failing.store(failure.is_some(), Ordering::Relaxed);
            if let Some(failure) = failure
                && shouted.is_none_or(|at| at.elapsed() >= SHOUT_EVERY)
            {
                error!(failure, "requests are counted in memory only: a crash would lose them");
                shouted = Some(Instant::now());
            }
            if ending {
                return;
            }
        }
    }

    pub(crate) fn write(&self) -> Result<(), JournalError> {
        let mut journal = self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let meters: Vec<_> = self.meters().values().cloned().collect();
        let mut entries = Vec::new();
        let begins = journal.is_full();
        let wanted = if begins { Wanted::All } else { Wanted::New };
        for meter in &meters {
            meter.entries(wanted, &mut entries);
        }
        if begins {
            let first = journal.first_place();
            journal.begin(&entries)?;
            // IMPORTANT: only after the file exists, since a place in a file that does not exist could be given out
            // again.
            self.shared.positions.advance(first);
        } else if !entries.is_empty() {
            journal.write(&entries)?;
        }
        self.meters().retain(|_, meter| !(Arc::strong_count(meter) <= 2 && meter.is_done()));
        Ok(())
    }

    fn meters(&self) -> MutexGuard<'_, HashMap<LogId, Arc<TenantMeter>>> {
        self.shared.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
