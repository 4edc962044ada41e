//! What metering costs, how fast bills are computed, and how fast and how soon they are delivered.
//!
//! ```text
//! cargo build --release && cargo bench --bench billing [-- metering recompute delivery latency]
//! ```
#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
#[expect(dead_code, reason = "the other measurements use more of it")]
mod cluster;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cluster::{Cluster, GENEROUS, together};
use support::{Outcome, number};
use tempfile::TempDir;
use uuid::Uuid;
use vectorizer_access::Operation;
use vectorizer_billing::Metering;
use vectorizer_hub::UsageFilter;
use vectorizer_log::{
    CollectionId, Error, Event, IndexParameters, LogId, Metric, Point, PointId, Seq, TenantFolder, TenantId,
    Timestamp, Vector,
};
use vectorizer_replay::{Projection, Projector as _};
use vectorizer_testing::events::draft;

const CONNECTIONS: usize = 8;
const WORDS: &str = r#"{"name":"w","dimension":2,"metric":"dot"}"#;

type Measurement = fn() -> Outcome<()>;

fn main() -> Outcome<()> {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let measurements: [(&str, Measurement); 4] =
        [("metering", metering), ("recompute", recompute), ("delivery", delivery), ("latency", latency)];
    for (name, measure) in measurements {
        if named.is_empty() || named.iter().any(|it| it == name) {
            measure()?;
        }
    }
    Ok(())
}

/// What is done for the bill while a search is answered.
fn metering() -> Outcome<()> {
    const SEARCHES: u32 = 1_000_000;
    let node = TempDir::new()?;
    let meter = Metering::open(node.path())?.wakes(&"t0".parse()?, LogId::new(Uuid::from_u128(1)), None);
    for round in 0..5 {
        let started = Instant::now();
        for _ in 0..SEARCHES {
            meter.request(Operation::Search);
            meter.searched(Operation::Search, 1);
        }
        let each = started.elapsed() / SEARCHES;
        println!("metering a search, round {round}: {each:?}");
    }
    Ok(())
}

/// The bill of a tenant with a million records, by the command that an auditor uses.
fn recompute() -> Outcome<()> {
    const RECORDS: u64 = 1_000_000;
    const RECORDS_PER_COMMIT: u64 = 1_000;
    const COMMITS_PER_WINDOW: u64 = 5;
    let data = TempDir::new()?;
    let folder = TenantFolder::new(data.path(), &"t0".parse()?);
    let log_id = folder.create()?;
    let mut log = folder.open()?.recover(|_| Ok::<_, Error>(()))?.log;
    let mut projection = Projection::new(log_id);
    for nth in 0..RECORDS / RECORDS_PER_COMMIT {
        let at = Timestamp::from_micros(1_767_323_045_000_000 + i64::try_from(nth)? * 1_000_000);
        let mut events: Vec<Event> = Vec::new();
        if nth == 0 {
            let dimension = 8.try_into()?;
            let (name, index) = ("w".parse()?, IndexParameters::default());
            events.push(Event::CollectionCreated { name, dimension, metric: Metric::Dot, index });
        }
        if nth % COMMITS_PER_WINDOW == 0 {
            events.extend(projection.billing().close(at, projection.usage()));
        }
        for within in 0..RECORDS_PER_COMMIT - events.len() as u64 {
            // Half of them take the place of older ones.
            let id = PointId::text(format!("p{}", (nth * RECORDS_PER_COMMIT + within) % (RECORDS / 2)))?;
            let vector = Vector::dense(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])?;
            let collection = CollectionId::created_at(Seq::OLDEST);
            events.push(Event::VectorsUpserted {
                collection,
                points: vec![Point { id, vector, payload: None }],
            });
        }
        let mut commit = log.begin()?;
        for event in events {
            commit.stage(draft(event), at)?;
        }
        for record in commit.commit()? {
            projection.apply(&record)?;
        }
    }
    log.close()?;
    for round in 0..3 {
        let started = Instant::now();
        let bill = Command::new(env!("CARGO_BIN_EXE_vectorizer"))
            .args(["bill", "--tenant", "t0", "--data-dir"])
            .arg(data.path())
            .output()?;
        let seconds = started.elapsed().as_secs_f64();
        let holds = if bill.status.success() { "holds" } else { "does not hold" };
        println!("the bill of {RECORDS} records, round {round}: {seconds:.2} s, {holds}");
    }
    Ok(())
}

/// Windows of a second pile up while the hub takes nothing, and are delivered when it does.
fn delivery() -> Outcome<()> {
    const TENANTS: usize = 100;
    const CLOSING: Duration = Duration::from_secs(30);
    let cluster = Cluster::new(TENANTS, GENEROUS)?;
    cluster.calls.refuses_usage.store(true, Ordering::Relaxed);
    let node = cluster.node(&["--usage-report-interval", "1"])?;
    let started = Instant::now();
    together(CONNECTIONS, |thread| {
        let mut clients = Vec::new();
        for tenant in (thread..TENANTS).step_by(CONNECTIONS) {
            let mut client = node.client(cluster.keys[tenant].expose())?;
            client.call("POST", "/collections", WORDS)?;
            clients.push(client);
        }
        let mut turn = 0_usize;
        while started.elapsed() < CLOSING {
            for client in &mut clients {
                let body = format!(r#"{{"vectors":[{{"id":"p{turn}","vector":[1,2]}}]}}"#);
                client.call("PUT", "/collections/w/vectors", &body)?;
                client.call("POST", "/collections/w/search", r#"{"vector":[1,2]}"#)?;
            }
            turn += 1;
        }
        Ok(())
    })?;
    // The last windows close.
    std::thread::sleep(Duration::from_secs(2));
    cluster.calls.refuses_usage.store(false, Ordering::Relaxed);
    let mut samples = vec![(Instant::now(), delivered(&cluster)?)];
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let lines = delivered(&cluster)?;
        samples.push((Instant::now(), lines));
        let before = samples.iter().rev().nth(15).map_or(0, |(_, lines)| *lines);
        // What goes on is what idle tenants close; and the node comes back after a pause of up to half a minute.
        if samples.len() > 400 || (before > 0 && lines - before < 8 * TENANTS as u64) {
            break;
        }
    }
    let mut fastest = 0.0_f64;
    for pair in samples.windows(6) {
        let ((from, before), (to, after)) = (pair[0], pair[5]);
        let lines = number(usize::try_from(after - before)?);
        fastest = fastest.max(lines / (to - from).as_secs_f64());
    }
    let lines = samples.last().map_or(0, |(_, lines)| *lines);
    println!(
        "{lines} lines of {TENANTS} tenants, piled up in {CLOSING:?}: {fastest:.0} lines/s at best over a second"
    );
    Ok(())
}

fn delivered(cluster: &Cluster) -> Outcome<u64> {
    let mut lines = 0;
    for tenant in 0..cluster.keys.len() {
        let tenant: TenantId = format!("t{tenant}").parse()?;
        lines += cluster.hub.usage_totals(&tenant)?.iter().map(|totals| totals.events).sum::<u64>();
    }
    Ok(lines)
}

/// From a write's answer to its line at the hub, with windows of a second.
fn latency() -> Outcome<()> {
    const WRITES: usize = 200;
    let cluster = Cluster::new(1, GENEROUS)?;
    let node = cluster.node(&["--usage-report-interval", "1"])?;
    let mut client = node.client(cluster.keys[0].expose())?;
    client.call("POST", "/collections", WORDS)?;
    let tenant: TenantId = "t0".parse()?;
    let mut times = Vec::new();
    for write in 0..WRITES {
        // At any moment of the window.
        std::thread::sleep(Duration::from_millis(37 * (write as u64 % 27)));
        let body = format!(r#"{{"vectors":[{{"id":"p{write}","vector":[1,2]}}]}}"#);
        let answer = client.call("PUT", "/collections/w/vectors", &body)?;
        let seq = answer["seq"].as_u64().ok_or("no seq")?;
        let started = Instant::now();
        let filter = UsageFilter { from_seq: Some(Seq::new(seq)), ..UsageFilter::default() };
        while cluster.hub.usage(&tenant, &filter, 0, 1)?.events.is_empty() {
            if started.elapsed() > Duration::from_secs(20) {
                return Err("the line does not come".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        times.push(started.elapsed().as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    println!(
        "from a write to its line at the hub, windows of 1 s, {WRITES} writes: p50 {:.2} s, p99 {:.2} s, at most {:.2} s",
        times[WRITES / 2],
        times[WRITES * 99 / 100],
        times[WRITES - 1]
    );
    Ok(())
}
