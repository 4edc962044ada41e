//! The memory of tenants is counted, shown, and kept within the budget.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_testing::{Random, eventually};

use crate::support::hub_and_node::Cluster;

const RECORDS_PER_WRITE: usize = 500;
const PAGE: u64 = 4096;

/// Texts with many words that no other text has.
fn text(number: usize, random: &mut Random) -> Value {
    let words = (0..40).map(|place| match place % 4 {
        0 => format!("rare{}", random.index(1 << 40)),
        _ => format!("word{}", random.index(2_000)),
    });
    json!({"id": format!("t{number}"), "text": words.collect::<Vec<_>>().join(" ")})
}

/// Payloads with values that no other payload has.
fn url(number: usize, random: &mut Random) -> Value {
    let payload =
        json!({"url": format!("https://example.com/{:x}/{number}", random.index(1 << 50)), "n": number});
    json!({"id": format!("u{number}"), "vector": [number, 1], "payload": payload})
}

fn texts() -> Value {
    json!({"name": "words", "text": true})
}

fn vectors() -> Value {
    json!({"name": "words", "dimension": 2, "metric": "dot"})
}

async fn write(
    cluster: &Cluster,
    key: &ApiKey,
    record: fn(usize, &mut Random) -> Value,
    numbers: std::ops::Range<usize>,
) {
    let mut random = Random::new(numbers.start as u64);
    for first in numbers.clone().step_by(RECORDS_PER_WRITE) {
        let range = first..numbers.end.min(first + RECORDS_PER_WRITE);
        let records: Vec<Value> = range.map(|number| record(number, &mut random)).collect();
        let path = "/collections/words/vectors";
        cluster.send(key, "PUT", path, &json!({ "vectors": records })).await.expect(200);
    }
}

async fn counted(cluster: &Cluster, operator: &ApiKey) -> Value {
    cluster.send(operator, "GET", "/cluster/tenants?limit=1000", &Value::Null).await.expect(200)["tenants"]
        .clone()
}

fn memory_of(tenants: &Value, id: &str) -> u64 {
    let tenant = tenants.as_array().unwrap().iter().find(|tenant| tenant["id"] == id).unwrap();
    tenant["memory_bytes"].as_u64().unwrap()
}

fn resident_bytes(cluster: &Cluster) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{}/statm", cluster.node.process())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE
}

/// The least that is seen within a moment, in which the allocator gives back what is free.
async fn settled_bytes(cluster: &Cluster, key: &ApiKey) -> u64 {
    let mut lowest = u64::MAX;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..10 {
            cluster.send(key, "GET", "/collections/words", &Value::Null).await.expect(200);
        }
        lowest = lowest.min(resident_bytes(cluster));
    }
    lowest
}

/// Wide bounds, since little is written: `benches/memory.rs` measures ten kinds of data within a fifth.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_counted_for_a_tenant_is_what_it_adds_to_the_process() {
    type Record = fn(usize, &mut Random) -> Value;
    let shapes: [(&str, Value, Record, usize); 2] =
        [("words", texts(), text, 12_000), ("urls", vectors(), url, 40_000)];
    for (name, collection, record, count) in shapes {
        let folder = TempDir::new().unwrap();
        let cluster = Cluster::start(folder.path(), &[]).await;
        let operator = cluster.key(None, None);
        cluster.tenant(name);
        let key = cluster.key(Some(name), None);
        cluster.send(&key, "POST", "/collections", &collection).await.expect(201);
        // From here on the node has the memory that such requests take for any tenant.
        write(&cluster, &key, record, 0..count / 4).await;
        let before =
            (settled_bytes(&cluster, &key).await, memory_of(&counted(&cluster, &operator).await, name));
        write(&cluster, &key, record, count / 4..count).await;
        let after =
            (settled_bytes(&cluster, &key).await, memory_of(&counted(&cluster, &operator).await, name));
        let (added, counted) = (after.0 - before.0, after.1 - before.1);
        assert!(counted > 5 << 20, "{name}: {counted} bytes are counted");
        let is_near = counted * 10 > added * 6 && counted * 10 < added * 15;
        assert!(is_near, "{name}: {counted} bytes are counted, {added} were added to {}", before.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_shown_for_as_long_as_a_tenant_is_awake() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &["--tenant-idle", "2"]).await;
    let operator = cluster.key(None, None);
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    cluster.send(&key, "POST", "/collections", &vectors()).await.expect(201);
    write(&cluster, &key, url, 0..2_000).await;
    let shown = memory_of(&counted(&cluster, &operator).await, "acme");
    // With the log open.
    assert!((2 << 20..5 << 20).contains(&shown), "{shown}");
    let series = "vectorizer_tenant_memory_bytes{tenant_id=\"acme\"} ";
    let metrics = cluster.node.keyless().request_at(reqwest::Method::GET, "/metrics");
    let metrics = metrics.bearer_auth(operator.expose()).send().await.unwrap().text().await.unwrap();
    let measured = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    assert!(measured.parse::<f64>().unwrap() > 1_000_000.0, "{measured}");
    let is_asleep = async || counted(&cluster, &operator).await[0]["state"] == "asleep";
    eventually("the tenant sleeps", is_asleep).await;
    assert_eq!(memory_of(&counted(&cluster, &operator).await, "acme"), 0);
    // Awake again, with its log closed.
    cluster.send(&key, "GET", "/collections/words", &Value::Null).await.expect(200);
    let woken = memory_of(&counted(&cluster, &operator).await, "acme");
    assert!((200_000..shown).contains(&woken), "{woken} of {shown}");
}

/// All of them together take up three times the budget and more, though they store little.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_many_different_words_stay_within_the_budget() {
    const BUDGET: u64 = 48 << 20;
    const TENANTS: usize = 10;
    /// What the process takes up beside tenants, with what the allocator holds back, and for one that is being written
    /// to and woken.
    const BESIDE_BYTES: u64 = 128 << 20;
    let folder = TempDir::new().unwrap();
    let budget = BUDGET.to_string();
    let cluster = Cluster::start(folder.path(), &["--tenant-idle", "600", "--memory-budget", &budget]).await;
    let operator = cluster.key(None, None);
    let mut total = 0;
    for number in 0..TENANTS {
        let name = format!("t{number}");
        cluster.tenant(&name);
        let key = cluster.key(Some(&name), None);
        cluster.send(&key, "POST", "/collections", &texts()).await.expect(201);
        write(&cluster, &key, text, 0..12_000).await;
        total += memory_of(&counted(&cluster, &operator).await, &name);
    }
    assert!(total > 3 * BUDGET, "{total} bytes are counted in all");
    let is_within = async || {
        let tenants = counted(&cluster, &operator).await;
        (0..TENANTS).map(|number| memory_of(&tenants, &format!("t{number}"))).sum::<u64>() <= BUDGET
    };
    eventually("what is counted is within the budget", is_within).await;
    let peak = cluster.node.peak_kibibytes() * 1024;
    assert!(peak < BUDGET + BESIDE_BYTES, "{peak} bytes of memory");
}
