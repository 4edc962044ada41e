//! What a tenant's searches take while another one does its worst.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::client::{Client, Server};
use super::cluster::{Cluster, GENEROUS, together};
use super::support::Outcome;
use super::support::workload::Workload;
use super::{Scale, at_a_rate, encoded, fill, quantile};

/// Searches a second of the good one, sent when their time has come, whatever became of the ones before.
const RATE: usize = 100;
/// Connections of the bad one.
const BAD_CONNECTIONS: usize = 8;

/// What the bad one does all the time.
struct Misdeed {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    /// Made in front of the measurement: a client that makes them meanwhile takes the cores that it shares with the
    /// server, and what is measured is the client.
    bodies: Vec<String>,
}

pub(crate) fn measure(scale: Scale) -> Outcome<()> {
    let length = Duration::from_secs(scale.of(10, 2) as u64);
    let cluster = Cluster::new(2, GENEROUS)?;
    let node = cluster.node(&[])?;
    fill(&mut node.client(cluster.keys[0].expose())?, 1_000, "")?;
    // Too long to be found without looking.
    let text = format!(r#","text":"{}""#, "x".repeat(100));
    fill(&mut node.client(cluster.keys[1].expose())?, scale.of(100_000, 3_000), &text)?;
    let misdeeds = misdeeds();
    // The graph of the huge one is to be linked.
    std::thread::sleep(Duration::from_secs(scale.of(30, 1) as u64));
    for misdeed in &misdeeds {
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
            "{} ({done} times): p99 {beside:?}, alone {alone:?}, ratio {:.2}",
            misdeed.name,
            beside.as_secs_f64() / alone.as_secs_f64()
        );
    }
    Ok(())
}

fn misdeeds() -> [Misdeed; 4] {
    let mut workload = Workload::new(384);
    let filter = format!(r#"{{"key":"text","match":{{"value":"{}y"}}}}"#, "x".repeat(100));
    let filters = vec![filter; 20].join(",");
    let mut exact = || format!(r#"{{"vector":"{}","limit":1000,"exact":true}}"#, encoded(&mut workload));
    let searches = (0..100).map(|_| exact()).collect();
    let mut point = |id: String| format!(r#"{{"id":"{id}","vector":"{}"}}"#, encoded(&mut workload));
    let mut batch = |nth: usize| {
        let points: Vec<String> = (0..100).map(|at| point(format!("s{}", nth * 100 + at))).collect();
        format!(r#"{{"vectors":[{}]}}"#, points.join(","))
    };
    let batches = (0..200).map(&mut batch).collect();
    let singles = (0..1_000).map(|nth| format!(r#"{{"vectors":[{}]}}"#, point(format!("o{nth}")))).collect();
    let (search, write) = ("/collections/w/search", "/collections/w/vectors");
    [
        ("searches a huge collection exactly", "POST", search, searches),
        (
            "counts by a filter that reads everything",
            "POST",
            "/collections/w/count",
            vec![format!(r#"{{"filter":{{"should":[{filters}]}}}}"#)],
        ),
        ("writes as fast as it can", "PUT", write, batches),
        ("writes single vectors", "PUT", write, singles),
    ]
    .map(|(name, method, path, bodies)| Misdeed { name, method, path, bodies })
}

fn beside_the_bad_one(
    node: &Server,
    cluster: &Cluster,
    misdeed: &Misdeed,
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
        while !stop.load(Ordering::Relaxed) {
            let nth = done.fetch_add(1, Ordering::Relaxed);
            let body = &misdeed.bodies[nth % misdeed.bodies.len()];
            let status = client.send(misdeed.method, misdeed.path, body)?;
            if status >= 300 && status != 503 {
                return Err(format!("a misdeed was answered with {status}").into());
            }
        }
        Ok(Vec::new())
    })?;
    Ok((outcome.into_iter().flatten().collect(), done.into_inner()))
}

/// Searches at a fixed rate.
fn searches(node: &Server, key: &str, length: Duration) -> Outcome<Vec<Duration>> {
    let body = |_, workload: &mut Workload| format!(r#"{{"vector":"{}","limit":10}}"#, encoded(workload));
    let search = |client: &mut Client, body: String| client.call("POST", "/collections/w/search", &body);
    let searched = at_a_rate(node, key, RATE, length, body, search)?;
    Ok(searched.into_iter().map(|(time, _)| time).collect())
}
