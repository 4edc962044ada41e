//! Cache, client and hub together, over HTTP, through outages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::{self, Next};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vectorizer_access::{ApiKey, Environment, Permission};
use vectorizer_hivehub::{
    Clock, HiveHubClient, Holder, KeyCache, LookupError, ManualClock, Refusal, TenantStatus,
};
use vectorizer_testing::Stopwatch;

use crate::demo::{Demo, DemoKeys};
use crate::{Hub, router};

struct Cluster {
    hub: Hub,
    keys: DemoKeys,
    cache: KeyCache<HiveHubClient>,
    clock: Arc<ManualClock>,
    calls: Arc<AtomicUsize>,
    address: String,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    _folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Demo { hub, keys } = Demo::open(folder.path()).unwrap();
        let keys = keys.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let url = format!("http://{address}").parse().unwrap();
        let client = HiveHubClient::new(&url, &keys.hivehub_api_key).unwrap();
        let clock = Arc::new(ManualClock::default());
        let client = client.on_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let ttl = Duration::from_mins(5);
        let cache = KeyCache::new(client, ttl, Arc::clone(&clock) as Arc<dyn Clock>);
        let calls = Arc::default();
        let mut cluster = Self { hub, keys, cache, clock, calls, address, running: None, _folder: folder };
        cluster.serve(listener);
        cluster
    }

    fn serve(&mut self, listener: TcpListener) {
        let calls = Arc::clone(&self.calls);
        let count = move |request: Request, next: Next| {
            calls.fetch_add(1, Ordering::SeqCst);
            next.run(request)
        };
        let router = router(self.hub.clone()).layer(middleware::from_fn(count));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
        });
        self.running = Some((stop, server));
    }

    async fn stop_hub(&mut self) {
        let (stop, server) = self.running.take().unwrap();
        stop.send(()).unwrap();
        server.await.unwrap();
    }

    async fn start_hub(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.serve(listener);
        // The longest pause.
        self.clock.pass(30);
    }

    fn key(&self) -> ApiKey {
        self.keys.tenants[0].keys.read_write.clone()
    }

    async fn lookup(&self, key: &ApiKey) -> Result<Permission, LookupError> {
        self.cache.lookup(&key.sha256()).await.map(|identity| identity.permission)
    }
}

fn refused(reason: Refusal) -> Result<Permission, LookupError> {
    Err(LookupError::Refused { reason })
}

#[tokio::test]
async fn every_demo_key_is_what_it_says() {
    let cluster = Cluster::start().await;
    for tenant in &cluster.keys.tenants {
        for (key, permission) in [
            (&tenant.keys.admin, Permission::Admin),
            (&tenant.keys.read_write, Permission::ReadWrite),
            (&tenant.keys.read_only, Permission::ReadOnly),
            (&tenant.keys.mcp, Permission::Mcp),
        ] {
            let identity = cluster.cache.lookup(&key.sha256()).await.unwrap();
            assert_eq!((&identity.key_id, identity.permission), (&key.id(), permission));
            let Holder::Tenant(holder) = &identity.holder else { panic!("{identity:?}") };
            assert_eq!(holder.id, tenant.id);
        }
    }
    let operator = cluster.cache.lookup(&cluster.keys.operator.sha256()).await.unwrap();
    assert_eq!((&operator.holder, operator.permission), (&Holder::Cluster, Permission::Admin));
}

#[tokio::test]
async fn an_unknown_key_is_unavailable_while_the_hub_is_down_and_never_refused() {
    let mut cluster = Cluster::start().await;
    cluster.stop_hub().await;
    let answer = cluster.lookup(&cluster.key()).await;
    assert!(matches!(answer, Err(LookupError::Unavailable { .. })), "{answer:?}");
    cluster.start_hub().await;
    assert_eq!(cluster.lookup(&cluster.key()).await, Ok(Permission::ReadWrite));
}

#[tokio::test]
async fn a_known_key_works_through_an_outage_until_the_ttl() {
    let mut cluster = Cluster::start().await;
    let key = cluster.key();
    cluster.lookup(&key).await.unwrap();
    cluster.stop_hub().await;
    for age in [29, 31, 61, 179, 299] {
        let passed = cluster.clock.uptime().as_secs();
        cluster.clock.pass(age - passed);
        assert_eq!(cluster.lookup(&key).await, Ok(Permission::ReadWrite), "after {age} s");
    }
    cluster.clock.pass(1);
    assert!(matches!(cluster.lookup(&key).await, Err(LookupError::Unavailable { .. })));
    cluster.start_hub().await;
    assert_eq!(cluster.lookup(&key).await, Ok(Permission::ReadWrite));
}

#[tokio::test]
async fn a_revoked_key_is_refused_as_soon_as_the_hub_is_asked() {
    let mut cluster = Cluster::start().await;
    let key = cluster.key();
    cluster.lookup(&key).await.unwrap();
    cluster.hub.revoke_key(&key.id()).unwrap();
    cluster.clock.pass(60);
    assert_eq!(cluster.lookup(&key).await, refused(Refusal::Revoked));
    cluster.stop_hub().await;
    assert_eq!(cluster.lookup(&key).await, refused(Refusal::Revoked), "and stays so in an outage");
}

#[tokio::test]
async fn a_suspended_tenants_key_is_told_apart_from_an_unknown_one() {
    let cluster = Cluster::start().await;
    let tenant = &cluster.keys.tenants[1];
    cluster.hub.set_tenant_status(&tenant.id, TenantStatus::Suspended).unwrap();
    let answer = cluster.lookup(&tenant.keys.admin).await;
    assert_eq!(answer, refused(Refusal::TenantSuspended(tenant.id.clone())));
    let made_up = ApiKey::generate(Environment::Live, &[9; ApiKey::ENTROPY_BYTES]);
    assert_eq!(cluster.lookup(&made_up).await, refused(Refusal::Unknown));
    cluster.hub.set_tenant_status(&tenant.id, TenantStatus::Active).unwrap();
    cluster.clock.pass(10);
    assert_eq!(cluster.lookup(&tenant.keys.admin).await, Ok(Permission::Admin));
}

#[tokio::test]
async fn a_hundred_requests_with_one_key_are_one_question() {
    let cluster = Cluster::start().await;
    let key = cluster.key();
    let lookups: Vec<_> = (0..100)
        .map(|_| {
            let (cache, hash) = (cluster.cache.clone(), key.sha256());
            tokio::spawn(async move { cache.lookup(&hash).await.map(drop) })
        })
        .collect();
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), Ok(()));
    }
    assert_eq!(cluster.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_dead_hub_slows_no_request_whose_key_is_known() {
    let mut cluster = Cluster::start().await;
    let key = cluster.key();
    cluster.lookup(&key).await.unwrap();
    cluster.stop_hub().await;
    // It takes connections and swallows what is said, which is the slowest way of being dead.
    let _listener = TcpListener::bind(&cluster.address).await.unwrap();
    let stranger = |number| ApiKey::generate(Environment::Live, &[number; ApiKey::ENTROPY_BYTES]).sha256();
    let strangers: Vec<_> = (0..8)
        .map(|number| {
            let (cache, key) = (cluster.cache.clone(), stranger(number));
            tokio::spawn(async move { cache.lookup(&key).await.map(drop) })
        })
        .collect();
    cluster.clock.pass(61);
    let start = Stopwatch::start();
    cluster.lookup(&key).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    for lookup in strangers {
        assert!(matches!(lookup.await.unwrap(), Err(LookupError::Unavailable { .. })));
    }
    let (start, mut took) = (Stopwatch::start(), Vec::new());
    for _ in 0..100 {
        let asked = Instant::now();
        assert_eq!(cluster.lookup(&key).await, Ok(Permission::ReadWrite));
        let answer = cluster.cache.lookup(&stranger(99)).await;
        assert!(matches!(answer, Err(LookupError::Unavailable { .. })), "{answer:?}");
        took.push(asked.elapsed());
    }
    // One question without an answer takes five seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    took.sort_unstable();
    assert!(took[50] < Duration::from_millis(10), "{took:?}");
}

#[tokio::test]
async fn a_hub_that_is_down_at_the_start_is_found_when_it_comes() {
    let mut cluster = Cluster::start().await;
    cluster.stop_hub().await;
    for _ in 0..5 {
        let answer = cluster.lookup(&cluster.key()).await;
        assert!(matches!(answer, Err(LookupError::Unavailable { .. })), "{answer:?}");
    }
    cluster.start_hub().await;
    assert_eq!(cluster.lookup(&cluster.key()).await, Ok(Permission::ReadWrite));
}
