//! Many tenants on one machine: starting, waking, working at the same time, and living beside bad neighbours.
//!
//! ```text
//! cargo build --release && cargo bench --bench tenants [-- start first large mixed neighbours attacks] [short]
//! ```
#![expect(clippy::print_stdout, reason = "what it is for")]

mod attacks;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/cluster.rs"]
#[expect(dead_code, reason = "the other measurements use more of it")]
mod cluster;
mod mixed;
mod neighbours;
mod start;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;
mod waking;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Server};
use cluster::Cluster;
use support::Outcome;
use support::workload::Workload;
use vectorizer_access::ApiKey;
use vectorizer_log::vector_le_bytes;

/// How long, and how much of it, is measured.
#[derive(Clone, Copy)]
struct Scale {
    short: bool,
}

impl Scale {
    /// The second number in a short run.
    fn of(self, long: usize, short: usize) -> usize {
        if self.short { short } else { long }
    }
}

type Measurement = fn(Scale) -> Outcome<()>;

fn main() -> Outcome<()> {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let scale = Scale { short: named.iter().any(|it| it == "short") };
    let named: Vec<_> = named.into_iter().filter(|it| it != "short").collect();
    if let [first, arguments @ ..] = &named[..]
        && first == attacks::ATTACKER
    {
        return attacks::attack(arguments);
    }
    let measurements: [(&str, Measurement); 6] = [
        ("start", start::measure),
        ("first", waking::first),
        ("large", waking::large),
        ("mixed", mixed::measure),
        ("neighbours", neighbours::measure),
        ("attacks", attacks::measure),
    ];
    for (name, measure) in measurements {
        if named.is_empty() || named.iter().any(|it| it == name) {
            measure(scale)?;
        }
    }
    Ok(())
}

/// The value below which this share of the sorted ones lie.
fn quantile(sorted: &[Duration], hundredths: usize) -> Duration {
    sorted[(sorted.len() * hundredths / 100).min(sorted.len() - 1)]
}

/// What the system says of the server's memory, in MiB: `VmRSS` now, `VmHWM` the most so far.
fn mebibytes(node: &Server, field: &str) -> Outcome<f64> {
    let kibibytes = node.memory_kibibytes(field).ok_or("no such field")?;
    Ok(f64::from(u32::try_from(kibibytes)?) / 1024.0)
}

/// A vector as it is sent.
fn encoded(workload: &mut Workload) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(vector_le_bytes(&workload.vector()))
}

/// Fills a collection `w` of 384 numbers with so many vectors.
fn fill(client: &mut Client, vectors: usize, payload: &str) -> Outcome<()> {
    client.call("POST", "/collections", r#"{"name":"w","dimension":384,"metric":"cosine"}"#)?;
    let mut workload = Workload::new(384);
    for first in (0..vectors).step_by(1_000) {
        let last = vectors.min(first + 1_000);
        let points: Vec<String> = (first..last)
            .map(|at| {
                let vector = encoded(&mut workload);
                format!(r#"{{"id":"v{at}","vector":"{vector}","payload":{{"at":{at}{payload}}}}}"#)
            })
            .collect();
        let body = format!(r#"{{"vectors":[{}]}}"#, points.join(","));
        client.call("PUT", "/collections/w/vectors", &body)?;
    }
    Ok(())
}

/// Makes requests at a fixed rate over some connections, each ready when its time has come; what came of them. One that
/// has to wait for the ones before it began when its time had come.
fn at_a_rate<P, T: Send>(
    node: &Server,
    key: &str,
    rate: usize,
    length: Duration,
    prepare: impl Fn(usize, &mut Workload) -> P + Sync,
    send: impl Fn(&mut Client, P) -> Outcome<T> + Sync,
) -> Outcome<Vec<(Duration, T)>> {
    const CONNECTIONS: usize = 4;
    let started = Instant::now();
    let nth = AtomicUsize::new(0);
    let all = rate * usize::try_from(length.as_secs())?;
    let done = cluster::together(CONNECTIONS, |_| {
        let mut client = node.client(key)?;
        let mut workload = Workload::new(384);
        let mut done = Vec::new();
        loop {
            let nth = nth.fetch_add(1, Ordering::Relaxed);
            if nth >= all {
                return Ok(done);
            }
            let due = started + Duration::from_secs(1) * u32::try_from(nth)? / u32::try_from(rate)?;
            let prepared = prepare(nth, &mut workload);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let came = send(&mut client, prepared)?;
            done.push((due.elapsed(), came));
        }
    })?;
    Ok(done.into_iter().flatten().collect())
}

/// Waits until no tenant is in memory.
fn all_asleep(node: &Server, operator: &ApiKey) -> Outcome<()> {
    let mut client = node.client(operator.expose())?;
    let started = Instant::now();
    while client.call("GET", "/cluster/health", "")?["tenants_awake"] != 0 {
        if started.elapsed() > Duration::from_mins(3) {
            return Err("they do not sleep".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// An operator's key.
fn operator(cluster: &Cluster) -> Outcome<ApiKey> {
    use vectorizer_hub::NewKey;
    let new = NewKey { permission: vectorizer_hivehub::Permission::Admin, tenant: None, expires_at: None };
    Ok(cluster.hub.create_key(vectorizer_access::Environment::Live, &new)?)
}
