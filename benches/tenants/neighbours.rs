//! What a tenant's searches take while another one does its worst.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::client::{Client, Server};
use super::cluster::{Cluster, GENEROUS, together};
use super::support::Outcome;
use super::support::workload::Workload;
use super::{Scale, encoded, fill, quantile};

/// Searches a second of the good one, sent when their time has come, whatever became of the ones before.
const RATE: usize = 100;
/// Connections of the good one.
const CONNECTIONS: usize = 4;
/// Connections of the bad one.
const BAD_CONNECTIONS: usize = 8;

/// What the bad one does all the time.
type Misdeed = fn(&mut Client, &mut Workload, usize) -> Outcome<u16>;

pub(crate) fn measure(scale: Scale) -> Outcome<()> {
    let length = Duration::from_secs(scale.of(10, 2) as u64);
    let cluster = Cluster::new(2, GENEROUS)?;
    let node = cluster.node(&[])?;
    fill(&mut node.client(cluster.keys[0].expose())?, 1_000, "")?;
    // Too long to be found without looking.
    let text = format!(r#","text":"{}""#, "x".repeat(100));
    fill(&mut node.client(cluster.keys[1].expose())?, scale.of(100_000, 3_000), &text)?;
    let misdeeds: [(&str, Misdeed); 4] = [
        ("searches a huge collection exactly", |client, workload, _| {
            let body = format!(r#"{{"vector":"{}","limit":1000,"exact":true}}"#, encoded(workload));
            client.send("POST", "/collections/w/search", &body)
        }),
        ("counts by a filter that reads everything", |client, _, _| {
            let filter = format!(r#"{{"key":"text","match":{{"value":"{}y"}}}}"#, "x".repeat(100));
            let filters = vec![filter; 20].join(",");
            client.send("POST", "/collections/w/count", &format!(r#"{{"filter":{{"should":[{filters}]}}}}"#))
        }),
        ("writes as fast as it can", |client, workload, nth| {
            let point =
                |at| format!(r#"{{"id":"s{}","vector":"{}"}}"#, (nth * 100 + at) % 20_000, encoded(workload));
            let points: Vec<String> = (0..100).map(point).collect();
            client.send("PUT", "/collections/w/vectors", &format!(r#"{{"vectors":[{}]}}"#, points.join(",")))
        }),
        ("writes single vectors", |client, workload, nth| {
            let point = format!(r#"{{"id":"o{}","vector":"{}"}}"#, nth % 1_000, encoded(workload));
            client.send("PUT", "/collections/w/vectors", &format!(r#"{{"vectors":[{point}]}}"#))
        }),
    ];
    // The graph of the huge one is to be linked.
    std::thread::sleep(Duration::from_secs(scale.of(30, 1) as u64));
    for (name, misdeed) in misdeeds {
        let mut alone = Vec::new();
        let mut beside = Vec::new();
        let mut done = 0;
        for _ in 0..scale.of(2, 1) {
            alone.extend(searches(&node, cluster.keys[0].expose(), length)?);
            let (times, misdeeds) = beside_the_bad_one(&node, &cluster, misdeed, length)?;
            beside.extend(times);
            done += misdeeds;
        }
        alone.sort_unstable();
        beside.sort_unstable();
        let [alone, beside] = [&alone, &beside].map(|times| quantile(times, 99));
        println!(
            "{name} ({done} times): p99 {beside:?}, alone {alone:?}, ratio {:.2}",
            beside.as_secs_f64() / alone.as_secs_f64()
        );
    }
    Ok(())
}

fn beside_the_bad_one(
    node: &Server,
    cluster: &Cluster,
    misdeed: Misdeed,
    length: Duration,
) -> Outcome<(Vec<Duration>, usize)> {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = together(BAD_CONNECTIONS + 1, |thread| {
        if thread == 0 {
            std::thread::sleep(Duration::from_secs(1));
            let times = searches(node, cluster.keys[0].expose(), length);
            stop.store(true, Ordering::Relaxed);
            return times;
        }
        let mut client = node.client(cluster.keys[1].expose())?;
        let mut workload = Workload::new(384);
        while !stop.load(Ordering::Relaxed) {
            let nth = done.fetch_add(1, Ordering::Relaxed);
            let status = misdeed(&mut client, &mut workload, nth)?;
            if status >= 300 && status != 503 {
                return Err(format!("a misdeed was answered with {status}").into());
            }
        }
        Ok(Vec::new())
    })?;
    Ok((outcome.into_iter().flatten().collect(), done.into_inner()))
}

/// Searches at a fixed rate. A search that has to wait for the ones before it began when its time had come.
fn searches(node: &Server, key: &str, length: Duration) -> Outcome<Vec<Duration>> {
    let started = Instant::now();
    let nth = AtomicUsize::new(0);
    let all = RATE * usize::try_from(length.as_secs())?;
    let times = together(CONNECTIONS, |_| {
        let mut client = node.client(key)?;
        let mut workload = Workload::new(384);
        let mut times = Vec::new();
        loop {
            let nth = nth.fetch_add(1, Ordering::Relaxed);
            if nth >= all {
                return Ok(times);
            }
            let due = started + Duration::from_secs(1) * u32::try_from(nth)? / u32::try_from(RATE)?;
            let body = format!(r#"{{"vector":"{}","limit":10}}"#, encoded(&mut workload));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            client.call("POST", "/collections/w/search", &body)?;
            times.push(due.elapsed());
        }
    })?;
    Ok(times.into_iter().flatten().collect())
}
