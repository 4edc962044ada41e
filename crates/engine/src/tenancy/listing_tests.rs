//! Work that goes through all tenants, while the tenants cannot be listed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use vectorizer_access::Secret;
use vectorizer_hivehub::HiveHubClient;
use vectorizer_limits::HistoryLimits;
use vectorizer_metrics::Metrics;
use vectorizer_testing::eventually;

use super::{FIRST_ANSWERS, Rules, ShareSize, Tenancy};
use crate::admission::AccessCheck;

/// A node's tenants, of which there are none, in a folder that is away until it is back.
struct Away {
    tenancy: Tenancy,
    data: PathBuf,
    elsewhere: PathBuf,
    _folder: TempDir,
}

impl Away {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
        let share = ShareSize {
            bodies: 1,
            answers: 1,
            searches: 1,
            waiting_searches: 1,
            parsing: 1,
            waiting_parses: 1,
            messages: 1,
        };
        let rules = Rules { idle: None, memory_bytes_max: u64::MAX, delete_grace: Duration::from_secs(1) };
        let window = Some(Duration::from_mins(1));
        let tenancy = Tenancy::new(&data, share, rules, window, Metrics::default()).unwrap();
        // Its databases are open then.
        tenancy.node_store().flush().unwrap();
        fs::rename(&data, &elsewhere).unwrap();
        Self { tenancy, data, elsewhere, _folder: folder }
    }

    fn is_back(&self) {
        fs::rename(&self.elsewhere, &self.data).unwrap();
    }
}

#[tokio::test]
async fn a_gap_is_not_closed_before_it_is_known_which_tenants_are_here() {
    let away = Away::new();
    // No tenant is asked about, so this HiveHub need not answer.
    let hub = HiveHubClient::new(&"http://127.0.0.1:9".parse().unwrap(), &Secret::new("k")).unwrap();
    away.tenancy.store_gap();
    assert!(!away.tenancy.close_gap(&hub).await);
    away.is_back();
    assert!(away.tenancy.has_gap().await);
    assert!(away.tenancy.close_gap(&hub).await);
    assert!(!away.tenancy.has_gap().await);
}

#[tokio::test(start_paused = true)]
async fn not_every_bill_is_known_before_it_is_known_which_tenants_are_here() {
    let away = Away::new();
    let stop = CancellationToken::new();
    let access = AccessCheck::keyless("acme".parse().unwrap(), HistoryLimits::default());
    let looking = tokio::spawn(away.tenancy.clone().look_after_bills(access, stop.clone()));
    let knows_all = || away.tenancy.node_store().knows_every_bill();
    // The clock stands still while the folder is being listed.
    tokio::time::sleep(2 * FIRST_ANSWERS).await;
    assert!(!knows_all());
    away.is_back();
    eventually("the folder is listed again", async || knows_all()).await;
    stop.cancel();
    looking.await.unwrap();
}
