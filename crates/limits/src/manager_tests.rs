//! The manager in front of a double of `HiveHub`, on a clock of the test's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use vectorizer_hivehub::{Clock, HubError, QuotaNumbers};
use vectorizer_log::{Incarnation, TenantId, Timestamp};
use vectorizer_node_store::{NodeStore, StoredQuota};
use vectorizer_testing::Wait;

use super::limits::{DefaultLimits, HistoryLimits, RequestLimits};
use super::manager::{LimitsUnavailable, QuotaManager, QuotaSource};

/// How often a test checks a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);
const INTERVAL: Duration = Duration::from_mins(1);
/// Stands for a hub that does not answer.
const DOWN: u64 = u64::MAX;
const PERMITS: u32 = 64;

#[derive(Default)]
struct Hands(AtomicU64);

impl Clock for Hands {
    fn uptime(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
}

/// A hub whose plans all allow as many vectors, and whose answers arrive when they have a permit.
struct Double {
    vectors: AtomicU64,
    calls: AtomicUsize,
    permits: Semaphore,
}

impl QuotaSource for Double {
    fn quota<'call>(&'call self, _: &'call TenantId) -> BoxFuture<'call, Result<StoredQuota, HubError>> {
        Box::pin(async {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let answer = self.vectors.load(Ordering::SeqCst);
            let _on_its_way = self.permits.acquire().await;
            match answer {
                DOWN => Err(HubError::Failing { status: 500, retry_after: None }),
                vectors => {
                    let numbers = QuotaNumbers { vectors: Some(vectors), ..QuotaNumbers::default() };
                    Ok(StoredQuota { numbers, incarnation: None })
                }
            }
        })
    }
}

struct Bench {
    hub: Arc<Double>,
    hands: Arc<Hands>,
    manager: QuotaManager,
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn bench(node: &Path, vectors: u64) -> Bench {
    let permits = Semaphore::new(PERMITS as usize);
    let hub = Arc::new(Double { vectors: vectors.into(), calls: AtomicUsize::new(0), permits });
    let hands = Arc::new(Hands::default());
    let defaults =
        DefaultLimits::new(RequestLimits { per_minute: 7, per_hour: 70 }, HistoryLimits::default());
    let manager = QuotaManager::new(
        Arc::clone(&hub) as Arc<dyn QuotaSource>,
        NodeStore::open(node).unwrap(),
        defaults,
        INTERVAL,
        Arc::clone(&hands) as Arc<dyn Clock>,
    );
    Bench { hub, hands, manager }
}

impl Bench {
    fn says(&self, vectors: u64) {
        self.hub.vectors.store(vectors, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.hub.calls.load(Ordering::SeqCst)
    }

    fn at(&self, seconds: u64) {
        self.hands.0.store(seconds, Ordering::SeqCst);
    }

    async fn vectors(&self) -> Result<Option<u64>, LimitsUnavailable> {
        Ok(self.manager.limits_of(&acme(), None).await?.current().vectors)
    }

    /// What is asked behind an answer lands soon.
    async fn comes_to_allow(&self, vectors: u64) {
        let known = || self.manager.known(&acme()).and_then(|limits| limits.vectors);
        let wait = Wait::new(format!("{vectors} vectors are allowed")).every(CHECK_INTERVAL);
        wait.until(async || known() == Some(vectors)).await;
    }

    /// Makes requests until HiveHub was asked so often. It is not asked while the answer before is being stored.
    async fn comes_to_ask(&self, calls: usize) {
        let asks = async || {
            self.vectors().await.unwrap();
            self.calls() == calls
        };
        Wait::new(format!("HiveHub was asked {calls} times")).every(CHECK_INTERVAL).until(asks).await;
    }
}

#[tokio::test]
async fn all_who_come_together_ask_once_and_what_a_plan_leaves_open_is_the_default() {
    let node = tempfile::tempdir().unwrap();
    let bench = bench(node.path(), 5);
    let came: Vec<_> = (0..32)
        .map(|_| {
            let manager = bench.manager.clone();
            tokio::spawn(async move { manager.limits_of(&acme(), None).await.unwrap() })
        })
        .collect();
    for tenant_limits in came {
        let limits = tenant_limits.await.unwrap().current();
        assert_eq!((limits.vectors, limits.storage_bytes), (Some(5), None));
        assert_eq!(limits.requests.map(|it| (it.per_minute, it.per_hour)), Some((7, 70)));
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_tenant_of_which_nothing_is_known_waits_while_hivehub_is_down() {
    let node = tempfile::tempdir().unwrap();
    let bench = bench(node.path(), DOWN);
    assert!(bench.vectors().await.is_err());
    // HiveHub is not asked again at once.
    assert!(bench.vectors().await.is_err());
    assert_eq!(bench.calls(), 1);
    bench.says(5);
    bench.at(10);
    assert_eq!(bench.vectors().await, Ok(Some(5)));
}

#[tokio::test]
async fn the_last_known_limits_hold_while_hivehub_is_down_and_over_a_restart() {
    let node = tempfile::tempdir().unwrap();
    let first = bench(node.path(), 5);
    assert_eq!(first.vectors().await, Ok(Some(5)));
    first.says(DOWN);
    first.at(3_600);
    first.comes_to_ask(2).await;
    assert_eq!(first.vectors().await, Ok(Some(5)));
    drop(first);
    let second = bench(node.path(), DOWN);
    assert_eq!(second.vectors().await, Ok(Some(5)));
    second.says(6);
    second.at(60);
    second.comes_to_ask(2).await;
    second.comes_to_allow(6).await;
}

#[tokio::test]
async fn limits_are_asked_for_again_behind_the_answer_when_their_time_is_over() {
    let node = tempfile::tempdir().unwrap();
    let bench = bench(node.path(), 5);
    bench.vectors().await.unwrap();
    bench.says(6);
    bench.at(59);
    assert_eq!((bench.vectors().await, bench.calls()), (Ok(Some(5)), 1));
    bench.at(60);
    bench.comes_to_ask(2).await;
    bench.comes_to_allow(6).await;
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_change_announced_while_an_answer_is_under_way_is_not_lost() {
    let node = tempfile::tempdir().unwrap();
    let bench = bench(node.path(), 5);
    bench.vectors().await.unwrap();
    for vectors in 6..26 {
        let calls = bench.calls();
        // An answer made before the change, on its way when the change is announced.
        let answering = bench.hub.permits.acquire_many(PERMITS).await.unwrap();
        bench.manager.changed(&acme());
        Wait::new("HiveHub is asked").every(CHECK_INTERVAL).until(async || bench.calls() > calls).await;
        bench.says(vectors);
        bench.manager.changed(&acme());
        drop(answering);
        bench.comes_to_allow(vectors).await;
    }
}

#[tokio::test]
async fn a_key_of_an_ids_former_tenant_is_refused_and_its_numbers_are_not_those_of_the_next() {
    let node = tempfile::tempdir().unwrap();
    let bench = bench(node.path(), 5);
    let [earlier, later] = [1, 2].map(|millis| Incarnation::at_millis(millis, &[0; 10]));
    let tenant_limits =
        async |of| bench.manager.limits_of(&acme(), Some(of)).await.map(|it| it.current().vectors);
    assert_eq!(tenant_limits(earlier).await, Ok(Some(5)));
    bench.says(9);
    assert_eq!(tenant_limits(later).await, Ok(Some(9)), "what was known is another one's");
    assert_eq!(tenant_limits(earlier).await, Err(LimitsUnavailable::Outdated));
    assert_eq!(tenant_limits(later).await, Ok(Some(9)));
    assert_eq!(bench.calls(), 2);
}
