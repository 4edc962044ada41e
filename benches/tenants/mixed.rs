//! Many tenants at the same time, every answer held against what its tenant has written.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use vectorizer_testing::Random;

use super::client::{Client, Server};
use super::cluster::{Cluster, GENEROUS, together};
use super::support::Outcome;
use super::{Scale, mebibytes, operator, quantile};

const CONNECTIONS: usize = 8;
const BUDGET: &str = "536870912";

pub(crate) fn measure(scale: Scale) -> Outcome<()> {
    let tenants = scale.of(1_000, 50);
    let length = Duration::from_secs(scale.of(120, 10) as u64);
    let cluster = Cluster::new(tenants, GENEROUS)?;
    let operator = operator(&cluster)?;
    let node = cluster.node(&["--tenant-idle", "5", "--memory-budget", BUDGET])?;
    let creating = Instant::now();
    let done = together(CONNECTIONS, |thread| {
        let mut mine = Vec::new();
        for tenant in (thread..tenants).step_by(CONNECTIONS) {
            node.client(cluster.keys[tenant].expose())?.call(
                "POST",
                "/collections",
                r#"{"name":"w","dimension":2,"metric":"dot"}"#,
            )?;
            mine.push((tenant, BTreeMap::new()));
        }
        let created = creating.elapsed();
        let mut random = Random::new(thread as u64);
        let mut times = Vec::new();
        let started = Instant::now();
        while started.elapsed() < length {
            let at = random.index(mine.len());
            let (tenant, model) = &mut mine[at];
            step(&node, cluster.keys[*tenant].expose(), *tenant, model, &mut random, &mut times)?;
        }
        Ok((created, times))
    })?;
    let created = done.iter().map(|(created, _)| *created).max().unwrap_or_default();
    let mut times: Vec<Duration> = done.into_iter().flat_map(|(_, times)| times).collect();
    times.sort_unstable();
    let awake = node.client(operator.expose())?.call("GET", "/cluster/health", "")?["tenants_awake"].clone();
    println!(
        "{tenants} tenants, created in {created:?}: {} requests in {length:?}, no error, no mix-up; p50 {:?}, p99 {:?}; \
         {awake} awake at the end, most memory {:.0} MiB",
        times.len(),
        quantile(&times, 50),
        quantile(&times, 99),
        mebibytes(&node, "VmHWM")?,
    );
    Ok(())
}

/// A few requests of one tenant, over a connection of its own.
fn step(
    node: &Server,
    key: &str,
    tenant: usize,
    model: &mut BTreeMap<String, usize>,
    random: &mut Random,
    times: &mut Vec<Duration>,
) -> Outcome<()> {
    let mut client = node.client(key)?;
    let mut call = |client: &mut Client, path: &str, method: &str, body: String| {
        let started = Instant::now();
        let answer = client.call(method, path, &body);
        times.push(started.elapsed());
        answer
    };
    for _ in 0..3 {
        let id = format!("v{}", random.index(20));
        match random.index(4) {
            0 => {
                let number = random.index(1_000_000);
                let body = json!({"vectors": [{"id": id, "vector": [1, 1], "payload": {"tenant": tenant, "number": number}}]});
                call(&mut client, "/collections/w/vectors", "PUT", body.to_string())?;
                model.insert(id, number);
            }
            1 => {
                let body = json!({"ids": [id]}).to_string();
                call(&mut client, "/collections/w/vectors/delete", "POST", body)?;
                model.remove(&id);
            }
            _ => {
                let body = r#"{"vector":[1,1],"limit":100}"#.to_owned();
                let answer = call(&mut client, "/collections/w/search", "POST", body)?;
                let mut found = BTreeMap::new();
                for hit in answer["results"].as_array().ok_or("no results")? {
                    if hit["payload"]["tenant"] != tenant {
                        return Err(format!("t{tenant} was given {hit}").into());
                    }
                    let number = hit["payload"]["number"].as_u64().ok_or("no number")?;
                    found.insert(hit["id"].as_str().ok_or("no id")?.to_owned(), usize::try_from(number)?);
                }
                if found != *model {
                    return Err(format!("t{tenant} has {model:?} and was given {found:?}").into());
                }
            }
        }
    }
    Ok(())
}
