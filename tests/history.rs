//! History costs little: it is sealed, merged and dropped, and a tenant's state, answers and bill stay the same.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_testing::{Random, Wait};

use crate::support::hub_and_node::Cluster;
use crate::support::limits::limits;
use crate::support::node::{Client, Node, vectorizer};

const KEEP_NOTHING: [&str; 2] = ["--history-keep", "0"];

/// The sizes of all files below `folder`.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.fold(0, |sum, entry| {
        let metadata = entry.metadata().unwrap();
        sum + if metadata.is_dir() { disk_bytes(&entry.path()) } else { metadata.len() }
    })
}

fn folder(node: &Node) -> PathBuf {
    node.data.join("default")
}

/// Writes `count` random vectors of 64 numbers, with ids that are the same in each cycle.
async fn write_cycle(client: &Client, random: &mut Random, count: usize) {
    for first in (0..count).step_by(1_000) {
        let vectors: Vec<Value> = (first..(first + 1_000).min(count))
            .map(|at| json!({"id": format!("v{at}"), "vector": random.units(64), "payload": {"at": at}}))
            .collect();
        client.load("/collections/words/vectors", &json!({ "vectors": vectors })).await;
    }
}

fn replayed(data: &Path) -> String {
    let data = data.display().to_string();
    let output = vectorizer(["replay", "--data-dir", &data, "--tenant", "default"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().find(|line| line.starts_with("digest")).unwrap().to_owned()
}

async fn answers(client: &Client) -> [Value; 3] {
    let search = json!({"vector": vec![0.1; 64], "limit": 20});
    [
        client.post("/collections/words/search", &search).await.expect(200)["results"].clone(),
        client.get("/collections/words/vectors/v7").await.expect(200),
        client.post("/collections/words/count", &json!({})).await.expect(200),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_history_costs_little_more_than_what_is_alive() {
    let data = TempDir::new().unwrap();
    let node = Node::start("serve", data.path(), &KEEP_NOTHING);
    let client = node.keyless();
    client.create("words", 64, "cosine").await;
    let mut random = Random::new(7);
    let count = 8_000;
    for _ in 0..12 {
        write_cycle(&client, &mut random, count).await;
    }
    let told = answers(&client).await;
    let alive = client.get("/cluster/usage").await.expect(200)["usage"]["storage_bytes"].as_u64().unwrap();
    let place = folder(&node);
    node.stop();
    let sealed = [place.join("segments"), place.join("tails")].iter().map(|it| disk_bytes(it)).sum::<u64>();
    let bytes = disk_bytes(&place);
    assert!(sealed < alive * 2, "{sealed} bytes of a log for {alive} bytes alive");
    // With the checkpoint and the graph, which are copies of the state.
    assert!(bytes < alive * 5, "{bytes} bytes for {alive} bytes alive");
    let digest = replayed(data.path());
    let node = Node::start("serve", data.path(), &KEEP_NOTHING);
    assert_eq!(answers(&node.keyless()).await, told);
    assert_eq!(node.keyless().log("").await.first().unwrap()["base"]["log_id"], json!(log_id(&place)));
    node.stop();
    assert_eq!(replayed(data.path()), digest);
    // The state does not depend on the checkpoint.
    fs::remove_file(place.join("checkpoint")).unwrap();
    let _ = fs::remove_file(place.join("closed"));
    let node = Node::start("serve", data.path(), &KEEP_NOTHING);
    assert_eq!(answers(&node.keyless()).await, told);
}

fn log_id(folder: &Path) -> String {
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    manifest["log_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_kept_is_sealed_verified_and_exported_from_its_beginning() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 64, "cosine").await;
    let mut random = Random::new(9);
    for _ in 0..3 {
        write_cycle(&client, &mut random, 4_000).await;
    }
    let told = answers(&client).await;
    let head = client.head().await;
    let place = folder(&node);
    node.stop();
    assert!(place.join("segments").exists() && !place.join("log").exists(), "a tail of 3 MB is sealed");
    let node = Node::serve(data.path());
    assert_eq!(answers(&node.keyless()).await, told);
    assert_eq!(node.keyless().head().await["chain"], head["chain"]);
    let lines = node.keyless().log("").await;
    assert_eq!(lines.first().unwrap()["seq"], 1);
    assert_eq!(lines.len() as u64, node.keyless().head().await["seq"].as_u64().unwrap());
    node.keyless()
        .put("/collections/words/vectors", &json!({"vectors": [{"id": "last", "vector": vec![0.5; 64]}]}))
        .await
        .expect(200);
    node.stop();
    let data = data.path().display().to_string();
    let verified = vectorizer(["log", "verify", "--data-dir", &data, "--tenant", "default"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_dropped_is_gone_with_the_oldest_one_named_and_a_server_is_replayed_from_its_base()
{
    let data = TempDir::new().unwrap();
    let node = Node::start("serve", data.path(), &KEEP_NOTHING);
    let client = node.keyless();
    client.create("words", 64, "cosine").await;
    let mut random = Random::new(3);
    for _ in 0..6 {
        write_cycle(&client, &mut random, 3_000).await;
    }
    node.stop();
    let digest = replayed(data.path());
    let node = Node::start("serve", data.path(), &KEEP_NOTHING);
    let client = node.keyless();
    let gone = client.get("/log?from=1").await;
    assert_eq!((gone.status.as_u16(), gone.problem()), (410, "history-dropped"));
    assert!(gone.detail().contains("the oldest record is"), "{}", gone.detail());
    let dropped: Vec<_> =
        client.log("").await.into_iter().filter(|line| line["event"]["type"] == "history_dropped").collect();
    assert!(!dropped.is_empty(), "the log says that records were dropped");
    for command in [&["replay"][..], &["log", "verify"]] {
        let arguments = command.iter().copied().chain(["--url", node.url()]);
        let output = vectorizer(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(command != ["replay"] || text.contains(&digest), "{text} is not {digest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_drops_its_history_and_a_plan_that_rewrites_its_data_each_night_never_ends() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &["--usage-report-interval", "1"]).await;
    cluster.tenant_with("acme", limits(json!({"log_bytes": 4 << 20})));
    let key = cluster.key(Some("acme"), None);
    let words = json!({"name": "words", "dimension": 64, "metric": "cosine"});
    cluster.send(&key, "POST", "/collections", &words).await.expect(201);
    let mut random = Random::new(5);
    for night in 0..12 {
        for first in (0..2_000).step_by(500) {
            let vectors: Vec<Value> = (first..first + 500)
                .map(|at| json!({"id": format!("v{at}"), "vector": random.units(64)}))
                .collect();
            let written = Wait::new("the write is taken, once the bill is delivered").value(async || {
                let body = json!({ "vectors": vectors });
                let answer = cluster.send(&key, "PUT", "/collections/words/vectors", &body).await;
                (answer.status == 200).then_some(())
            });
            written.await;
        }
        let usage = cluster.send(&key, "GET", "/cluster/usage", &Value::Null).await.expect(200);
        assert!(usage["usage"]["log_bytes"].as_u64().unwrap() <= 4 << 20, "night {night}: {usage}");
        assert_eq!(usage["usage"]["vectors"], 2_000);
    }
    let sealed = fs::read_dir(cluster.node.data.join("acme/segments")).unwrap();
    let has_base =
        sealed.map(|file| file.unwrap().path()).any(|it| it.extension().is_some_and(|it| it == "base"));
    assert!(has_base, "no history was dropped");
}
