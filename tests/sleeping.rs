//! Idle tenants sleep: they cost nothing, and wake unchanged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::TenantStatus;
use vectorizer_testing::{Random, Wait, eventually};

use crate::support::hub_and_node::Cluster;
use crate::support::metrics::metrics;
use crate::support::node::{ACME, Client, GLOBEX, Key, Node};

const IDLE: [&str; 2] = ["--tenant-idle", "1"];

fn dev(data: &Path) -> Node {
    Node::start("dev", data, &[&["--hub-listen", "127.0.0.1:0"], &IDLE[..]].concat())
}

async fn write(client: &Client, vectors: usize) {
    client.create("words", 64, "dot").await;
    let vectors: Vec<Value> = (0..vectors)
        .map(|at| json!({"id": format!("v{at}"), "vector": vec![at; 64], "payload": {"at": at}}))
        .collect();
    client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
}

async fn search(client: &Client) -> Value {
    let sought = json!({"vector": vec![1; 64], "limit": 3, "filter": {"must_not": [{"key": "at", "match": {"value": 1}}]}});
    client.post("/collections/words/search", &sought).await.expect(200)["results"].clone()
}

async fn tenant(node: &Node, id: &str) -> Value {
    let page = node.client(Key::Operator).get("/cluster/tenants?limit=1000").await.expect(200);
    page["tenants"].as_array().unwrap().iter().find(|tenant| tenant["id"] == id).unwrap().clone()
}

async fn asleep(node: &Node, id: &str) -> Value {
    let asleep = async || Some(tenant(node, id).await).filter(|tenant| tenant["state"] == "asleep");
    Wait::new(format!("{id} sleeps")).value(asleep).await
}

/// The files of this tenant that the node has open.
fn open_files(node: &Node, tenant: &str) -> Vec<String> {
    let folder = node.data.canonicalize().unwrap().join(tenant);
    let files = fs::read_dir(format!("/proc/{}/fd", node.process())).unwrap();
    let open = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    open.filter(|file| file.starts_with(&folder)).map(|file| file.display().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_search_after_a_start_waits_for_no_notes_about_all_tenants_and_a_write_does() {
    let data = TempDir::new().unwrap();
    let node = dev(data.path());
    write(&node.client(ACME), 20).await;
    let found = search(&node.client(ACME)).await;
    asleep(&node, "acme").await;
    let notes = File::open(node.data.join("_node/catalogue/db")).unwrap();
    node.stop();
    // As if there were so many of them that opening them takes long.
    notes.lock().unwrap();
    let begun = Instant::now();
    let node = dev(data.path());
    let acme = node.client(ACME);
    assert_eq!(search(&acme).await, found);
    let more = json!({"vectors": [{"id": "more", "vector": vec![9_999; 64]}]});
    let mut writing = pin!(acme.put("/collections/words/vectors", &more));
    // What is written counts towards a bill, and a crash must not leave an unknown one.
    let waits = tokio::time::timeout(Duration::from_millis(100), &mut writing).await.is_err();
    // What is locked for so long is begun anew.
    assert!(waits || begun.elapsed() > Duration::from_secs(2), "it waits for no notes");
    notes.unlock().unwrap();
    if waits {
        writing.await.expect(200);
    }
    assert_eq!(search(&acme).await[0]["id"], "more");
    assert_eq!(asleep(&node, "acme").await["usage"]["vectors"], 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tenant_keeps_nothing_open_and_wakes_unchanged() {
    let data = TempDir::new().unwrap();
    let node = dev(data.path());
    let acme = node.client(ACME);
    write(&acme, 2_000).await;
    assert!(!open_files(&node, "acme").is_empty());
    write(&node.client(GLOBEX), 1).await;
    let found = search(&acme).await;

    let facts = asleep(&node, "acme").await;
    assert_eq!(facts["usage"]["vectors"], 2_000);
    assert!(facts["last_used"].as_str().unwrap().starts_with("20"), "{facts}");
    assert_eq!(open_files(&node, "acme"), [""; 0]);
    assert!(!metrics(&node).await.contains("acme"));
    // What it has is known although it sleeps, and asking does not wake it.
    let usage = node.client(Key::Operator).get("/cluster/usage?tenant=acme").await.expect(200);
    assert_eq!(usage["usage"]["vectors"], 2_000);
    assert_eq!(asleep(&node, "acme").await["state"], "asleep");

    // A read is answered without opening the log.
    let reader = node.client(Key::ReadOnly(0));
    assert_eq!(search(&reader).await, found);
    assert_eq!(open_files(&node, "acme"), [""; 0]);
    assert!(metrics(&node).await.contains("tenant_id=\"acme\""));
    let before = acme.data_seq().await;
    // A write continues where the log ended.
    let more = json!({"vectors": [{"id": "more", "vector": vec![9_999; 64]}]});
    acme.put("/collections/words/vectors", &more).await.expect(200);
    assert!(acme.data_seq().await > before);
    assert_eq!(search(&reader).await[0]["id"], "more");
    let log = acme.log("").await;
    assert_eq!(log.len() as u64, log.last().unwrap()["seq"].as_u64().unwrap());
    // Requests made while nothing was open are in the log, each once.
    asleep(&node, "acme").await;
    let log = acme.log("").await;
    let observed = log.iter().filter(|line| line["event"]["type"] == "usage_observed");
    let searches: u64 = observed
        .flat_map(|line| line["event"]["operations"].as_array().unwrap().clone())
        .map(|it| it["searches"].as_u64().unwrap())
        .sum();
    assert_eq!(searches, 3, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_tenant_that_gets_many_requests_at_once_is_woken_once() {
    let data = TempDir::new().unwrap();
    let node = dev(data.path());
    write(&node.client(ACME), 2_000).await;
    let found = search(&node.client(ACME)).await;
    let wakings = |text: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with("vectorizer_wakings_total ")).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    for round in 0..3 {
        asleep(&node, "acme").await;
        let before = wakings(&metrics(&node).await);
        let reader = node.client(if round == 1 { ACME } else { Key::ReadOnly(0) });
        let searches: Vec<_> = (0..50)
            .map(|_| {
                let reader = reader.clone();
                tokio::spawn(async move { search(&reader).await })
            })
            .collect();
        for search in searches {
            assert_eq!(search.await.unwrap(), found);
        }
        assert!(wakings(&metrics(&node).await) - before < 2.0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_damaged_checkpoint_costs_time_only() {
    let data = TempDir::new().unwrap();
    let node = dev(data.path());
    let acme = node.client(ACME);
    write(&acme, 2_000).await;
    let found = search(&acme).await;
    let data_seq = acme.data_seq().await;
    let files = ["checkpoint", "closed"].map(|file| data.path().join("acme").join(file));
    for round in 0..8 {
        asleep(&node, "acme").await;
        assert!(files.iter().all(|file| file.exists()), "round {round}");
        for (at, file) in files.iter().enumerate() {
            let mut bytes = fs::read(file).unwrap();
            match (round + at) % 4 {
                0 => fs::remove_file(file).unwrap(),
                1 => fs::write(file, &bytes[..bytes.len() / 2]).unwrap(),
                2 => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(file, bytes).unwrap();
                }
                _ => {}
            }
        }
        assert_eq!(search(&acme).await, found, "round {round}");
        assert_eq!(acme.data_seq().await, data_seq);
        if round == 3 {
            // A checkpoint of another time is one that does not fit.
            let old = fs::read(&files[0]).ok();
            let same = json!({"vectors": [{"id": "v0", "vector": vec![0; 64], "payload": {"at": 0}}]});
            acme.put("/collections/words/vectors", &same).await.expect(200);
            asleep(&node, "acme").await;
            if let Some(old) = old {
                fs::write(&files[0], old).unwrap();
            }
            assert_eq!(search(&acme).await, found);
            break;
        }
    }
    node.kill();
    let node = dev(data.path());
    assert_eq!(search(&node.client(ACME)).await, found);
}

/// What a tenant should have: the number of each of its vectors.
type Model = BTreeMap<String, u32>;

/// Does one thing, and checks its answer against the model.
async fn step(cluster: &Cluster, key: &ApiKey, model: &mut Model, random: &mut Random) {
    let id = format!("v{}", random.below(20));
    match random.below(10) {
        0..4 => {
            let number = random.below(1_000) as u32 + 1;
            let body = json!({"vectors": [{"id": id, "vector": [1, number], "payload": {"number": number}}]});
            cluster.send(key, "PUT", "/collections/words/vectors", &body).await.expect(200);
            model.insert(id, number);
        }
        4 => {
            let status = if model.remove(&id).is_some() { 200 } else { 404 };
            let path = format!("/collections/words/vectors/{id}");
            cluster.send(key, "DELETE", &path, &Value::Null).await.expect(status);
        }
        5..8 => {
            let body = json!({"vector": [0, 1], "limit": 100});
            let found = cluster.send(key, "POST", "/collections/words/search", &body).await.expect(200);
            let found: Model = found["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hit| {
                    let number = hit["payload"]["number"].as_u64().unwrap();
                    (hit["id"].as_str().unwrap().to_owned(), number as u32)
                })
                .collect();
            assert_eq!(found, *model);
        }
        8 => {
            let number = random.below(1_000) as u32 + 1;
            let body = json!({"filter": {"must": [{"key": "number", "range": {"gte": number}}]}});
            let count = cluster.send(key, "POST", "/collections/words/count", &body).await.expect(200);
            assert_eq!(count["count"], model.values().filter(|it| **it >= number).count());
        }
        _ => {
            let pause = Duration::from_millis(random.below(2_500));
            tokio::time::sleep(pause).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_sleep_and_wake_at_any_moment_have_exactly_what_they_wrote() {
    let folder = TempDir::new().unwrap();
    // Room for some of their open logs.
    let flags = ["--tenant-idle", "1", "--memory-budget", "16777216", "--usage-report-interval", "2"];
    let mut cluster = Cluster::start(folder.path(), &flags).await;
    let names: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    let mut keys = Vec::new();
    for name in &names {
        cluster.tenant(name);
        let key = cluster.key(Some(name), None);
        let body = json!({"name": "words", "dimension": 2, "metric": "dot"});
        cluster.send(&key, "POST", "/collections", &body).await.expect(201);
        keys.push(key);
    }
    let mut models = vec![Model::new(); names.len()];
    for life in 0..3 {
        let until = Instant::now() + Duration::from_secs(8);
        let work = keys.iter().zip(&mut models).enumerate().map(|(number, (key, model))| {
            let cluster = &cluster;
            async move {
                let mut random = Random::new(life * 100 + number as u64);
                while Instant::now() < until {
                    step(cluster, key, model, &mut random).await;
                }
            }
        });
        futures_util::future::join_all(work).await;
        if life == 0 {
            cluster.restart_node(&flags).await;
        } else {
            cluster.change_node(&flags).await;
        }
    }
    for (key, model) in keys.iter().zip(&mut models) {
        let count = cluster.send(key, "POST", "/collections/words/count", &json!({})).await.expect(200);
        assert_eq!(count["count"], model.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_deleted_whatever_state_it_is_in() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &["--tenant-idle", "1"]).await;
    let operator = cluster.key(None, None);
    for state in ["awake", "asleep", "waking", "written to"] {
        let name = state.replace(' ', "-");
        cluster.tenant(&name);
        let key = cluster.key(Some(&name), None);
        let body = json!({"name": "words", "dimension": 2, "metric": "dot"});
        cluster.send(&key, "POST", "/collections", &body).await.expect(201);
        let point = |number: u32| json!({"vectors": [{"id": format!("v{number}"), "vector": [1, number]}]});
        cluster.send(&key, "PUT", "/collections/words/vectors", &point(0)).await.expect(200);
        if state == "asleep" || state == "waking" {
            eventually("the tenant sleeps", async || {
                let page = cluster.send(&operator, "GET", "/cluster/tenants?limit=1000", &Value::Null).await;
                let page = page.expect(200);
                let mut tenants = page["tenants"].as_array().unwrap().iter();
                tenants.any(|it| it["id"] == *name && it["state"] == "asleep")
            })
            .await;
        }
        let path = format!("/cluster/tenants/{name}");
        let delete = cluster.send(&operator, "DELETE", &path, &Value::Null);
        let beside = async {
            match state {
                "waking" => {
                    let count = cluster.send(&key, "POST", "/collections/words/count", &json!({})).await;
                    assert!([200, 410, 503].contains(&count.status.as_u16()), "{}", count.body);
                }
                "written to" => {
                    for number in 1..200 {
                        let body = point(number);
                        let written = cluster.send(&key, "PUT", "/collections/words/vectors", &body).await;
                        assert!([200, 410, 503].contains(&written.status.as_u16()), "{}", written.body);
                    }
                }
                _ => {}
            }
        };
        let (deleted, ()) = tokio::join!(delete, beside);
        deleted.expect(200);
        cluster.send(&key, "GET", "/collections", &Value::Null).await.expect(410);
        // The next tenant of the same id starts empty.
        cluster.hub.set_tenant_status(&name.parse().unwrap(), TenantStatus::Deleted).unwrap();
        cluster.tenant(&name);
        let next = cluster.key(Some(&name), None);
        let collections = cluster.send(&next, "GET", "/collections", &Value::Null).await.expect(200);
        assert_eq!(collections["collections"], json!([]), "{state}");
        assert!(!cluster.node.data.join(&name).join("checkpoint").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_checkpoint_cannot_be_written_wakes_from_its_log() {
    let data = TempDir::new().unwrap();
    let node = dev(data.path());
    let client = node.client(ACME);
    client.create("first", 2, "dot").await;
    let folder = data.path().join("acme");
    // Nothing can be put in its place.
    fs::create_dir(folder.join("checkpoint")).unwrap();
    write(&client, 2_000).await;
    asleep(&node, "acme").await;
    let found = search(&client).await;
    node.stop();
    fs::remove_dir(folder.join("checkpoint")).unwrap();
    let node = dev(data.path());
    assert_eq!(search(&node.client(ACME)).await, found);
}

/// A crash must not cost the folding of everything that was ever written.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_never_sleeps_is_kept_in_checkpoints_too() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let acme = node.client(ACME);
    acme.create("words", 4_096, "dot").await;
    for batch in 0..24_u32 {
        let bytes: Vec<u8> = (0..4_096).flat_map(|_| (batch as f32).to_le_bytes()).collect();
        let vector = STANDARD.encode(bytes);
        let vectors: Vec<Value> =
            (0..100).map(|at| json!({"id": format!("{batch}-{at}"), "vector": vector})).collect();
        acme.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
    let checkpoint = data.path().join("acme/checkpoint");
    eventually("a checkpoint is written", async || checkpoint.exists()).await;
    node.kill();
    let node = Node::dev(data.path());
    let count = node.client(Key::ReadOnly(0)).post("/collections/words/count", &json!({})).await.expect(200);
    assert_eq!(count["count"], 2_400);
    let found = node.client(ACME).get("/collections/words/vectors/23-99?with_vector=true").await.expect(200);
    assert_eq!(found["vector"][0], 23.0);
}
