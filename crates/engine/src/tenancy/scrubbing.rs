//! Scrubbing: segments and bases of all tenants are verified again, asleep or awake, at a bounded rate.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use vectorizer_log::TenantFolder;
use vectorizer_metrics::HistoryWork;

use super::{NicePool, NiceValue, Tenancy};

/// The pause between two passes over all tenants.
const SCRUB_EVERY: Duration = Duration::from_hours(24);
/// The pause before the first pass, so that a start is not slowed down.
const SCRUB_FIRST: Duration = Duration::from_mins(10);
/// How many bytes are read in a second.
const BYTES_PER_SECOND: u64 = 8 << 20;

impl Tenancy {
    /// Verifies all segments and bases again and again, until `stop`.
    pub async fn scrub(self, stop: CancellationToken) {
        let background = NicePool::new(1, NiceValue::Ten);
        let mut pause = SCRUB_FIRST;
        while timeout(pause, stop.cancelled()).await.is_err() {
            let (tenancy, stop) = (self.clone(), stop.clone());
            if background.run(move || tenancy.scrub_once(&stop)).await.is_none() {
                error!("verifying segments again panicked");
            }
            pause = SCRUB_EVERY;
        }
    }

    /// One pass over all tenants.
    fn scrub_once(&self, stop: &CancellationToken) {
        let tenants = match TenantFolder::tenants(&self.shared.data) {
            Ok(tenants) => tenants,
            Err(error) => return warn!(%error, "the tenants' folders cannot be listed to be verified again"),
        };
        let mut damaged = 0;
        let mut pace = Pace::new(BYTES_PER_SECOND);
        for tenant in tenants {
            let folder = TenantFolder::new(&self.shared.data, &tenant);
            let scrubbed = folder.scrub(&mut |bytes| {
                self.shared.metrics.history_worked(HistoryWork::Scrubbed, bytes);
                std::thread::sleep(pace.pause(bytes));
                if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match scrubbed {
                Ok(found) => {
                    for damage in &found {
                        error!(%tenant, %damage, "a part of the sealed log is damaged");
                    }
                    damaged += found.len();
                }
                // The tenant may have been deleted meanwhile.
                Err(vectorizer_log::Error::NotFound(_)) => {}
                Err(error) => warn!(%tenant, %error, "the sealed log cannot be verified again"),
            }
            if stop.is_cancelled() {
                return;
            }
        }
        self.shared.metrics.history_damaged(damaged);
    }
}

/// Keeps a rate.
struct Pace {
    bytes_per_second: u64,
    started: Instant,
    bytes: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, started: Instant::now(), bytes: 0 }
    }

    /// How long to wait after `bytes` more.
    fn pause(&mut self, bytes: u64) -> Duration {
        self.bytes += bytes;
        let due = Duration::from_millis(self.bytes.saturating_mul(1_000) / self.bytes_per_second);
        due.saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrubbing_reads_no_faster_than_its_rate() {
        let mut pace = Pace::new(1_000);
        let paused = pace.pause(500) + pace.pause(500);
        assert!(paused > Duration::from_millis(1_400), "{paused:?}");
        assert_eq!(Pace::new(u64::MAX).pause(1 << 30), Duration::ZERO);
    }
}
