//! Many tenants at the same time, with memory for a few: every answer has what its tenant wrote, and
//! none is affected when others sleep and wake. `benches/tenants` does the same with a thousand of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_testing::Random;

use crate::support::hub_and_node::Cluster;

const TENANTS: usize = 80;
/// Who asks at the same time.
const WORKERS: usize = 8;
const LENGTH: Duration = Duration::from_secs(8);
/// Room for fourteen open logs.
const BUDGET: u64 = 32 << 20;
/// What the process takes up beside tenants. All their logs open would take 560 MiB if all of what they take were
/// used, as it is where an allocator gives them memory that was used before: then 337 MB were seen in all, and 58 to
/// 99 otherwise.
const BESIDE_BYTES: u64 = 96 << 20;

/// What a tenant has written: numbers by id.
type Model = BTreeMap<String, usize>;

struct Tenant {
    number: usize,
    key: ApiKey,
    model: Model,
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_take_turns_in_little_memory_and_each_has_its_own() {
    let folder = TempDir::new().unwrap();
    let budget = BUDGET.to_string();
    let cluster = Cluster::start(folder.path(), &["--tenant-idle", "2", "--memory-budget", &budget]).await;
    let operator = cluster.key(None, None);
    let tenants = (0..TENANTS).map(|number| {
        let name = format!("t{number}");
        cluster.tenant(&name);
        Tenant { number, key: cluster.key(Some(&name), None), model: Model::new() }
    });
    let mut shares: Vec<Vec<Tenant>> = (0..WORKERS).map(|_| Vec::new()).collect();
    for tenant in tenants {
        shares[tenant.number % WORKERS].push(tenant);
    }
    let work = shares.into_iter().enumerate().map(|(worker, mut share)| {
        let cluster = &cluster;
        async move {
            for tenant in &share {
                let body = json!({"name": "words", "dimension": 2, "metric": "dot"});
                cluster.send(&tenant.key, "POST", "/collections", &body).await.expect(201);
            }
            let mut random = Random::new(worker as u64);
            let until = Instant::now() + LENGTH;
            let mut requests = 0;
            while Instant::now() < until {
                let at = random.index(share.len());
                for _ in 0..3 {
                    step(cluster, &mut share[at], &mut random).await;
                    requests += 1;
                }
            }
            for tenant in &share {
                assert_eq!(found(cluster, tenant).await, tenant.model, "t{}", tenant.number);
            }
            requests
        }
    });
    let requests: usize = futures_util::future::join_all(work).await.into_iter().sum();
    // They did sleep, more than once each.
    let metrics = cluster.node.keyless().request_at(reqwest::Method::GET, "/metrics");
    let metrics = metrics.bearer_auth(operator.expose()).send().await.unwrap().text().await.unwrap();
    let wakings = metrics.lines().find_map(|line| line.strip_prefix("vectorizer_wakings_total ")).unwrap();
    let wakings: usize = wakings.parse().unwrap();
    assert!(wakings > 2 * TENANTS, "{wakings} wakings in {requests} requests");
    let peak = cluster.node.peak_kibibytes() * 1024;
    assert!(peak < BUDGET + BESIDE_BYTES, "{peak} bytes of memory");
}

/// One request of a tenant, and its answer held against what it has written.
async fn step(cluster: &Cluster, tenant: &mut Tenant, random: &mut Random) {
    let Tenant { number: tenant_number, key, model } = tenant;
    let id = format!("v{}", random.index(20));
    match random.index(4) {
        0 => {
            let number = random.index(1_000_000);
            let payload = json!({"tenant": tenant_number, "number": number});
            let body = json!({"vectors": [{"id": id, "vector": [1, 1], "payload": payload}]});
            cluster.send(key, "PUT", "/collections/words/vectors", &body).await.expect(200);
            model.insert(id, number);
        }
        1 => {
            let body = json!({"ids": [id]});
            let answer =
                cluster.send(key, "POST", "/collections/words/vectors/delete", &body).await.expect(200);
            assert_eq!(answer["deleted"] == 1, model.remove(&id).is_some(), "t{tenant_number} {answer}");
        }
        2 => {
            let answer = cluster.send(key, "POST", "/collections/words/count", &json!({})).await.expect(200);
            assert_eq!(answer["count"], model.len(), "t{tenant_number}");
        }
        _ => assert_eq!(found(cluster, tenant).await, tenant.model, "t{}", tenant.number),
    }
}

/// All that a tenant's search finds; nothing in it may be another's.
async fn found(cluster: &Cluster, tenant: &Tenant) -> Model {
    let body = json!({"vector": [1, 1], "limit": 100});
    let answer = cluster.send(&tenant.key, "POST", "/collections/words/search", &body).await.expect(200);
    let hit = |hit: &Value| {
        assert_eq!(hit["payload"]["tenant"], tenant.number, "{hit}");
        let number = hit["payload"]["number"].as_u64().unwrap();
        (hit["id"].as_str().unwrap().to_owned(), usize::try_from(number).unwrap())
    };
    answer["results"].as_array().unwrap().iter().map(hit).collect()
}
