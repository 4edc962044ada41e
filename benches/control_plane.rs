//! What keys, limits and quotas cost, and whether they hold: in process and over HTTP, against a HiveHub in
//! this process.
//!
//! ```text
//! cargo build --release && cargo bench --bench control_plane [-- cost throughput calls hammering quotas memory]
//! ```
#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
#[expect(dead_code, reason = "the other measurements use more of it")]
mod cluster;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Server};
use cluster::{Cluster, GENEROUS, SERVICE_KEY, together};
use futures_util::future::BoxFuture;
use support::{Outcome, number};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vectorizer::config::Secret;
use vectorizer_access::{Asked, Operation};
use vectorizer_engine::admission::{AccessCheck, FailedAuthentications};
use vectorizer_hivehub::{Clock, HiveHubClient, HubError, KeyCache, QuotaNumbers, SystemClock};
use vectorizer_limits::{DefaultLimits, HistoryLimits, QuotaManager, QuotaSource, RequestLimits};
use vectorizer_log::TenantId;
use vectorizer_metrics::Metrics;
use vectorizer_node_store::{NodeStore, StoredQuota};

const TENANTS: usize = 100;
const CONNECTIONS: usize = 8;
const WRITERS: usize = 32;

type Measurement = fn() -> Outcome<()>;

fn main() -> Outcome<()> {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let measurements: [(&str, Measurement); 6] = [
        ("cost", cost),
        ("throughput", throughput),
        ("calls", calls),
        ("hammering", hammering),
        ("quotas", quotas),
        ("memory", memory),
    ];
    for (name, measure) in measurements {
        if named.is_empty() || named.iter().any(|it| it == name) {
            measure()?;
        }
    }
    Ok(())
}

/// Who it is, whether it comes too often, whether it may, and the counters: of a request whose key is known.
fn cost() -> Outcome<()> {
    const REQUESTS: usize = 300_000;
    let cluster = Cluster::new(1, GENEROUS)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let metrics = Metrics::default();
    let of_tenant = metrics.tenant(&"t0".parse()?);
    let client = HiveHubClient::new(&cluster.url.parse()?, &Secret::new(SERVICE_KEY))?;
    let hub: Arc<dyn QuotaSource> = Arc::new(client.clone());
    let quotas = manager(hub, &cluster.folder.path().join("node"), Arc::clone(&clock))?;
    let ttl = Duration::from_mins(5);
    let keys = KeyCache::new(client, ttl, clock);
    let access =
        AccessCheck::Keys { keys, failures: FailedAuthentications::default(), quotas, deployment: None };
    let key = cluster.keys[0].expose().to_owned();
    let mut times = cluster.runtime.block_on(async {
        let mut times = Vec::with_capacity(REQUESTS);
        for number in 0..REQUESTS {
            let asked = Asked {
                operation: Operation::Search,
                from: Some([127, 0, 0, 1].into()),
                request_id: format!("{number:032x}").into(),
            };
            let started = Instant::now();
            let admitted = access.admit(&asked, Some(&key)).await;
            of_tenant.request(asked.operation);
            metrics.request(asked.operation, axum::http::StatusCode::OK, started.elapsed());
            times.push(started.elapsed());
            admitted.outcome.map_err(|denied| denied.denial)?;
        }
        Outcome::Ok(times)
    })?;
    times.sort_unstable();
    let [half, most] = [times.len() / 2, times.len() * 99 / 100].map(|at| times[at].as_secs_f64() * 1e6);
    println!("admitting a request, {REQUESTS} of them: p50 {half:.2} µs, p99 {most:.2} µs");
    Ok(())
}

fn manager(hub: Arc<dyn QuotaSource>, node: &Path, clock: Arc<dyn Clock>) -> Outcome<QuotaManager> {
    std::fs::create_dir_all(node)?;
    let defaults =
        DefaultLimits::new(RequestLimits { per_minute: 1_000, per_hour: 10_000 }, HistoryLimits::default());
    Ok(QuotaManager::new(hub, NodeStore::open(node)?, defaults, Duration::from_mins(1), clock))
}

/// A cheap read with keys and without, in turns.
fn throughput() -> Outcome<()> {
    const ROUNDS: usize = 7;
    const ROUND: Duration = Duration::from_secs(3);
    let cluster = Cluster::new(1, GENEROUS)?;
    let alone = TempDir::new()?;
    let key = cluster.keys[0].expose();
    let servers = [(Server::start(&["serve"], alone.path())?, ""), (cluster.node(&[])?, key)];
    for (server, key) in &servers {
        server.client(key)?.call("POST", "/collections", r#"{"name":"w","dimension":2,"metric":"dot"}"#)?;
    }
    let mut ratios = Vec::new();
    let mut rates = [0.0, 0.0];
    for _ in 0..ROUNDS {
        for (rate, (server, key)) in rates.iter_mut().zip(&servers) {
            *rate = reads(server, key, ROUND)?;
        }
        let [without, with] = rates;
        println!(
            "a cheap read, {CONNECTIONS} connections: {without:.0}/s without keys, {with:.0}/s in cluster mode"
        );
        ratios.push(with / without);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    println!("cluster mode over single-tenant mode: {ratios:.2?}, median {:.2}", ratios[ROUNDS / 2]);
    Ok(())
}

fn reads(server: &Server, key: &str, round: Duration) -> Outcome<f64> {
    let started = Instant::now();
    let ask = || {
        let mut client = server.client(key)?;
        let mut answered = 0;
        while started.elapsed() < round {
            client.call("GET", "/collections/w", "")?;
            answered += 1;
        }
        Outcome::Ok(answered)
    };
    let answered = together(CONNECTIONS, |_| ask())?.into_iter().sum();
    Ok(number(answered) / started.elapsed().as_secs_f64())
}

/// What HiveHub hears of 100,000 requests of 100 tenants within a minute.
fn calls() -> Outcome<()> {
    const REQUESTS: usize = 100_000;
    let cluster = Cluster::new(TENANTS, r#"{"requests_per_minute":10000,"requests_per_hour":1000000}"#)?;
    let node = cluster.node(&[])?;
    let started = Instant::now();
    together(CONNECTIONS, |thread| {
        // A connection each, and tenants in turn on it.
        let mut clients = (thread..TENANTS)
            .step_by(CONNECTIONS)
            .map(|tenant| node.client(cluster.keys[tenant].expose()))
            .collect::<Outcome<Vec<Client>>>()?;
        let count = REQUESTS * clients.len() / TENANTS;
        for turn in 0..count {
            let due = started + Duration::from_mins(1).mul_f64(number(turn) / number(count));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let at = turn % clients.len();
            clients[at].call("GET", "/collections", "")?;
        }
        Ok(())
    })?;
    let took = started.elapsed().as_secs_f64();
    let of = |end: &str| cluster.calls.of(end);
    let sum = |end: &str| of(end).into_iter().sum::<usize>();
    let (validations, quotas, polls) = (sum("/validate"), sum("/quota"), sum("/policies"));
    println!(
        "{REQUESTS} requests of {TENANTS} tenants in {took:.1} s: HiveHub was called {validations} times for keys, \
         {quotas} for limits ({} at most for one tenant), {polls} for news of all; {:.2} per tenant and minute",
        of("/quota").into_iter().max().unwrap_or(0),
        number(validations + quotas + polls) / number(TENANTS) / (took / 60.0)
    );
    Ok(())
}

/// Every tenant asks as often as it can, for two minutes.
fn hammering() -> Outcome<()> {
    const PER_MINUTE: usize = 300;
    const LASTING: Duration = Duration::from_mins(2);
    let plan = format!(r#"{{"requests_per_minute":{PER_MINUTE},"requests_per_hour":1000000}}"#);
    let cluster = Cluster::new(TENANTS, &plan)?;
    let node = cluster.node(&[])?;
    let rate = number(PER_MINUTE) / 60.0;
    let ended = together(TENANTS, |tenant| {
        let mut client = node.client(cluster.keys[tenant].expose())?;
        let before = Instant::now();
        client.call("GET", "/collections", "")?;
        let first = Instant::now();
        let (mut admitted, mut refused, mut wrongly) = (1, 0, 0);
        while before.elapsed() < LASTING {
            let sent = first.elapsed().as_secs_f64();
            match client.send("GET", "/collections", "")? {
                200 => admitted += 1,
                429 => {
                    refused += 1;
                    // Less than this was used up when it was refused: it would have had a whole one left.
                    wrongly += usize::from(number(admitted) + 1.0 < number(PER_MINUTE) + rate * sent);
                }
                status => return Err(format!("status {status}").into()),
            }
        }
        let allowed = number(PER_MINUTE) + rate * before.elapsed().as_secs_f64();
        Ok((admitted, refused, wrongly, number(admitted) > allowed))
    })?;
    let sum = |of: fn(&(usize, usize, usize, bool)) -> usize| ended.iter().map(of).sum::<usize>();
    println!(
        "{TENANTS} tenants hammering for {} s at {PER_MINUTE} a minute each: {} admitted, {} refused; {} of them \
         below the limit; {} tenants beyond it",
        LASTING.as_secs(),
        sum(|it| it.0),
        sum(|it| it.1),
        sum(|it| it.2),
        sum(|it| usize::from(it.3)),
    );
    Ok(())
}

/// Thirty-two connections that write until nothing fits any more.
fn quotas() -> Outcome<()> {
    for (name, plan) in [
        ("vectors", r#"{"vectors":5003,"requests_per_minute":10000000,"requests_per_hour":10000000}"#),
        (
            "storage_bytes",
            r#"{"storage_bytes":250007,"requests_per_minute":10000000,"requests_per_hour":10000000}"#,
        ),
        ("log_bytes", r#"{"log_bytes":1000003,"requests_per_minute":10000000,"requests_per_hour":10000000}"#),
        ("collections", r#"{"collections":203,"requests_per_minute":10000000,"requests_per_hour":10000000}"#),
    ] {
        let cluster = Cluster::new(1, plan)?;
        let node = cluster.node(&[])?;
        let key = cluster.keys[0].expose();
        node.client(key)?.call("POST", "/collections", r#"{"name":"w","dimension":2,"metric":"dot"}"#)?;
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let refused = together(WRITERS, |_| {
            let mut client = node.client(key)?;
            let mut refused = 0;
            while refused < 20 {
                let id = next.fetch_add(1, Ordering::Relaxed);
                let status = if name == "collections" {
                    let body = format!(r#"{{"name":"c{id}","dimension":2,"metric":"dot"}}"#);
                    client.send("POST", "/collections", &body)?
                } else {
                    // One to three, so that what is left does not always fit what comes.
                    let vectors: Vec<_> =
                        (0..=id % 3).map(|nth| format!(r#"{{"id":"p{id}-{nth}","vector":[1,2]}}"#)).collect();
                    let body = format!(r#"{{"vectors":[{}]}}"#, vectors.join(","));
                    client.send("PUT", "/collections/w/vectors", &body)?
                };
                match status {
                    200 | 201 => {}
                    429 => refused += 1,
                    status => return Err(format!("status {status}").into()),
                }
            }
            Ok(refused)
        })?;
        let answer = node.client(key)?.call("GET", "/cluster/usage", "")?;
        println!(
            "{WRITERS} writers until nothing fits: {name} {} of {}, after {:.1} s, {} writes refused",
            answer["usage"][name],
            answer["quota"][name],
            started.elapsed().as_secs_f64(),
            refused.iter().sum::<usize>()
        );
    }
    Ok(())
}

/// A hub that gives everybody the same plan.
struct SamePlan;

impl QuotaSource for SamePlan {
    fn quota<'call>(&'call self, _: &'call TenantId) -> BoxFuture<'call, Result<StoredQuota, HubError>> {
        let numbers = QuotaNumbers { vectors: Some(1_000_000), ..QuotaNumbers::default() };
        Box::pin(std::future::ready(Ok(StoredQuota { numbers, incarnation: None })))
    }
}

/// What the process grows by for each tenant whose limits it knows.
fn memory() -> Outcome<()> {
    const KNOWN: usize = 100_000;
    let folder = TempDir::new()?;
    let runtime = Runtime::new()?;
    let manager = manager(Arc::new(SamePlan), folder.path(), Arc::new(SystemClock::default()))?;
    let before = resident()?;
    runtime.block_on(async {
        for tenant in 0..KNOWN {
            let tenant: TenantId = format!("tenant-{tenant:06}").parse()?;
            let tenant_limits = manager.limits_of(&tenant, None).await?;
            let now = manager.uptime();
            tenant_limits.charge(now).1.map_err(|_| "refused")?;
        }
        Outcome::Ok(())
    })?;
    // Questions are ended behind their answers.
    std::thread::sleep(Duration::from_secs(2));
    let grown = number(resident()?.saturating_sub(before));
    println!(
        "{} tenants known: {:.1} MB, {:.2} MB for each 1,000",
        manager.tenants_known(),
        grown / 1e6,
        grown / 1e3 / number(KNOWN)
    );
    Ok(())
}

/// Bytes of this process in memory.
fn resident() -> Outcome<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    Ok(statm.split(' ').nth(1).ok_or("no such field")?.parse::<usize>()? * 4_096)
}
