//! How long the first search of a sleeping tenant takes.

use std::process::Command;
use std::time::Instant;

use super::cluster::{Cluster, GENEROUS};
use super::support::Outcome;
use super::support::workload::Workload;
use super::{Scale, all_asleep, encoded, fill, operator, quantile};

fn sought(workload: &mut Workload) -> String {
    format!(r#"{{"vector":"{}","limit":10}}"#, encoded(workload))
}

/// Of tenants with 1,000 vectors.
pub(crate) fn first(scale: Scale) -> Outcome<()> {
    let (tenants, rounds) = (scale.of(40, 4), scale.of(6, 2));
    let cluster = Cluster::new(tenants, GENEROUS)?;
    let operator = operator(&cluster)?;
    let node = cluster.node(&["--tenant-idle", "1"])?;
    let mut workload = Workload::new(384);
    for key in &cluster.keys {
        fill(&mut node.client(key.expose())?, 1_000, "")?;
    }
    let mut times = Vec::new();
    let mut again = Vec::new();
    for _ in 0..rounds {
        all_asleep(&node, &operator)?;
        for key in &cluster.keys {
            let mut client = node.client(key.expose())?;
            for times in [&mut times, &mut again] {
                let body = sought(&mut workload);
                let started = Instant::now();
                client.call("POST", "/collections/w/search", &body)?;
                times.push(started.elapsed());
            }
        }
    }
    times.sort_unstable();
    again.sort_unstable();
    let of = |times: &[_]| [50, 99].map(|hundredths| quantile(times, hundredths));
    println!(
        "1,000 × 384, {} wakings: p50 and p99 {:?}; the second search {:?}",
        times.len(),
        of(&times),
        of(&again)
    );
    Ok(())
}

/// Of a tenant with 100,000 vectors, beside reading the checkpoint's file and doing nothing with it.
pub(crate) fn large(scale: Scale) -> Outcome<()> {
    let vectors = scale.of(100_000, 5_000);
    let cluster = Cluster::new(1, GENEROUS)?;
    let operator = operator(&cluster)?;
    let node = cluster.node(&["--tenant-idle", "1"])?;
    let mut workload = Workload::new(384);
    fill(&mut node.client(cluster.keys[0].expose())?, vectors, "")?;
    let file = cluster.folder.path().join("data/t0/checkpoint");
    for cold in [false, true] {
        let forget = || {
            // The system forgets what it has of the file.
            let file = format!("if={}", file.display());
            Command::new("dd").args([&file, "iflag=nocache", "count=0", "status=none"]).status()
        };
        for round in 0..scale.of(5, 2) {
            all_asleep(&node, &operator)?;
            if cold {
                forget()?;
            }
            let mut client = node.client(cluster.keys[0].expose())?;
            let body = sought(&mut workload);
            let started = Instant::now();
            client.call("POST", "/collections/w/search", &body)?;
            let first = started.elapsed();
            if cold {
                forget()?;
            }
            let started = Instant::now();
            let bytes = std::fs::read(&file)?.len();
            let read = started.elapsed();
            println!(
                "{vectors} × 384, cold {cold}, round {round}: {first:?}, reading its {bytes} bytes {read:?}"
            );
        }
    }
    Ok(())
}
