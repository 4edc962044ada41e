//! A single-tenant data folder becomes a tenant of a cluster: whole, once, whatever moment it is killed at, and
//! nothing of before is billed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_hub::UsageFilter;
use vectorizer_log::Meter;
use vectorizer_testing::eventually;

use crate::support::hub_and_node::Cluster;
use crate::support::node::{Client, Node, vectorizer};

const DIMENSION: usize = 64;
const VECTORS: usize = 3_000;
const WORDS: &str = "/collections/words";

/// What is to be the same afterwards.
#[derive(Debug, PartialEq)]
struct Seen {
    search: Value,
    count: Value,
    log: Vec<Value>,
}

fn vector(number: usize) -> Vec<f64> {
    (0..DIMENSION).map(|place| ((number * 31 + place * 17) % 101) as f64).collect()
}

fn search(filter: bool) -> Value {
    let filter =
        if filter { json!({"must": [{"key": "even", "match": {"value": true}}]}) } else { json!({}) };
    json!({"vector": vector(7), "limit": 20, "exact": true, "filter": filter})
}

async fn fill(client: &Client) {
    client.create("words", DIMENSION, "cosine").await;
    client.create("gone", 2, "dot").await;
    for batch in (0..VECTORS).collect::<Vec<_>>().chunks(100) {
        let one = |number: &usize| json!({"id": format!("v{number}"), "vector": vector(*number + 1), "payload": {"even": number.is_multiple_of(2)}});
        let body = json!({"vectors": batch.iter().map(one).collect::<Vec<_>>()});
        client.put("/collections/words/vectors", &body).await.expect(200);
    }
    client.post(&format!("{WORDS}/vectors/delete"), &json!({"ids": ["v1", "v2"]})).await.expect(200);
    client.delete("/collections/gone").await.expect(200);
}

/// A folder that a server without keys has served, and what it said.
async fn single(folder: &Path) -> Seen {
    let node = Node::serve(folder);
    let client = node.keyless();
    fill(&client).await;
    let seen = Seen {
        search: client.post(&format!("{WORDS}/search"), &search(true)).await.expect(200),
        count: client.post(&format!("{WORDS}/count"), &json!({})).await.expect(200),
        log: client.log("").await,
    };
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
    seen
}

/// Every file below a folder, by what is in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, blake3::Hash> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), blake3::hash(&std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn command(from: &Path, data: &Path, tenant: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vectorizer"));
    command.arg("migrate").arg("--from").arg(from).arg("--data-dir").arg(data).args(["--tenant", tenant]);
    command
}

fn migrate(from: &Path, data: &Path, tenant: &str) -> Output {
    command(from, data, tenant).output().unwrap()
}

/// It did not become one, with this exit code, and these words say why.
#[track_caller]
fn refused(output: &Output, code: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{said}");
}

fn digest_of(data: &Path, tenant: &str) -> String {
    let output = vectorizer(["replay", "--data-dir", data.to_str().unwrap(), "--tenant", tenant]);
    said_digest(&output)
}

fn said_digest(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let digest = said.lines().find_map(|line| line.strip_prefix("digest")).map(|rest| rest.trim().to_owned());
    digest.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_tenants_data_becomes_a_tenant_and_nothing_of_before_is_billed() {
    let folder = TempDir::new().unwrap();
    let (from, data) = (folder.path().join("from"), folder.path().join("data"));
    let seen = single(&from).await;
    let digest = digest_of(&from, "default");
    let output = migrate(&from, &data, "acme");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said_digest(&output), digest, "the state is another one");

    let cluster = Cluster::start(folder.path(), &["--usage-report-interval", "1"]).await;
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let ask = |method: &'static str, path: String, body: Value| {
        let (cluster, key) = (&cluster, &key);
        async move { cluster.send(key, method, &path, &body).await }
    };
    let found = ask("POST", format!("{WORDS}/search"), search(true)).await.expect(200);
    assert_eq!(found, seen.search);
    assert_eq!(ask("POST", format!("{WORDS}/count"), json!({})).await.expect(200), seen.count);
    // The history goes on where it was.
    let log = ask("GET", format!("/log?limit={}", seen.log.len()), Value::Null).await.body;
    let log: Vec<Value> =
        log.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(log, seen.log);
    let written = json!({"vectors": [{"id": "new", "vector": vector(9)}]});
    ask("PUT", format!("{WORDS}/vectors"), written).await.expect(200);

    // One vector was upserted for the customer, and what is stored counts from the migration on.
    let acme = "acme".parse().unwrap();
    let lines = |meter| {
        let page = cluster.hub.usage(&acme, &UsageFilter::default(), 0, 100).unwrap();
        let of_meter = page.events.into_iter().filter(move |event| event.data.meter == meter);
        of_meter.map(|event| event.data).collect::<Vec<_>>()
    };
    let is_billed =
        async || !lines(Meter::VectorsUpserted).is_empty() && !lines(Meter::StorageByteSeconds).is_empty();
    eventually("both meters are billed", is_billed).await;
    let upserted: u128 = lines(Meter::VectorsUpserted).iter().map(|line| line.value).sum();
    assert_eq!(upserted, 1);
    assert!(lines(Meter::VectorsDeleted).is_empty());
    let last = seen.log.last().unwrap()["seq"].as_u64().unwrap();
    assert!(
        lines(Meter::StorageBytes).iter().all(|line| line.first_seq.get() > last && line.corrects.is_none())
    );
    let (_hub, data) = cluster.stop_node().await;
    // The recomputed bill is right, and the windows before the migration are zero.
    let bill = vectorizer(["bill", "--data-dir", data.to_str().unwrap(), "--tenant", "acme"]);
    let said = String::from_utf8_lossy(&bill.stdout).into_owned();
    assert_eq!(bill.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&bill.stderr));
    let closed =
        |meter: &str| said.lines().find(|line| line.starts_with(meter)).unwrap().split_whitespace().nth(1);
    assert_eq!((closed("vectors_upserted"), closed("vectors_deleted")), (Some("1"), Some("0")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_moment_it_is_killed_at_the_same_command_ends_it_and_the_source_is_untouched_until_then() {
    let folder = TempDir::new().unwrap();
    let original = folder.path().join("original");
    single(&original).await;
    let digest = digest_of(&original, "default");
    let mut took = {
        let (from, data) = (folder.path().join("timed"), folder.path().join("timed-data"));
        copy(&original, &from);
        let started = Instant::now();
        assert_eq!(migrate(&from, &data, "acme").status.code(), Some(0));
        started.elapsed()
    };
    let mut killed = 0;
    for round in 0..8_u32 {
        let (from, data) =
            (folder.path().join(format!("from-{round}")), folder.path().join(format!("data-{round}")));
        copy(&original, &from);
        let untouched = files(&from.join("default"));
        // Each attempt lives a little longer than the one before, up to the whole of it.
        let mut lives = took * (round + 1) / 16;
        loop {
            let mut child = command(&from, &data, "acme").stdout(Stdio::null()).spawn().unwrap();
            tokio::time::sleep(lives).await;
            let _ = child.kill();
            let status = child.wait().unwrap();
            if status.success() {
                // Another time the machine may have been busier.
                took = took.min(lives);
                break;
            }
            assert_eq!(status.code(), None, "it failed by itself");
            killed += 1;
            if from.join("default").exists() {
                assert_eq!(files(&from.join("default")), untouched, "the source was touched");
            } else {
                assert!(data.join("acme").exists());
            }
            lives += took / 9;
        }
        assert!(!from.join("default").exists() && !data.join("_migrating").exists());
        assert_eq!(migrate(&from, &data, "acme").status.code(), Some(0), "done is done");
        let verified =
            vectorizer(["log", "verify", "--data-dir", data.to_str().unwrap(), "--tenant", "acme"]);
        assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
        // What was set aside is what it was, and can be put back.
        let aside = std::fs::read_dir(from.join("_migrated")).unwrap();
        let aside = aside.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
        std::fs::rename(aside, from.join("default")).unwrap();
        assert_eq!(files(&from.join("default")), untouched);
    }
    assert!(killed >= 16, "only {killed} attempts were killed");
    let back = folder.path().join("from-0");
    assert_eq!(digest_of(&back, "default"), digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_become_a_tenant_is_refused_and_stays_unchanged() {
    let folder = TempDir::new().unwrap();
    let (from, data) = (folder.path().join("from"), folder.path().join("data"));
    single(&from).await;
    let untouched = files(&from);
    refused(&migrate(&from, &data, "Acme/.."), 2, "is not of the form");
    refused(&migrate(&folder.path().join("nowhere"), &data, "acme"), 2, "no single-tenant data");
    refused(&migrate(&data, &from, "acme"), 2, "no single-tenant data");
    assert_eq!(files(&from), untouched);

    let node = Node::serve(&from);
    refused(&migrate(&from, &data, "acme"), 2, "is in use");
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
    let node = Node::dev(&data);
    node.client(crate::support::node::ACME).create("theirs", 2, "dot").await;
    refused(&migrate(&from, &data, "initech"), 2, "is in use");
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
    refused(&migrate(&from, &data, "acme"), 2, "already exists");
    // What was billed in a cluster is not begun anew.
    let billed = folder.path().join("billed");
    std::fs::create_dir_all(&billed).unwrap();
    std::fs::rename(data.join("acme"), billed.join("default")).unwrap();
    refused(&migrate(&billed, &data, "initech"), 2, "its manifest is that of tenant \"acme\"");
    // As of a version whose manifests did not name their tenant.
    let manifest = billed.join("default/manifest.json");
    std::fs::write(&manifest, crate::support::folders::without_tenant(&manifest)).unwrap();
    refused(&migrate(&billed, &data, "initech"), 2, "belongs to a bill");
    assert!(!data.join("initech").exists());
    std::fs::remove_dir_all(data.join("_migrating")).unwrap();

    // Damage is an answer, and nothing of it becomes a tenant.
    let damaged = folder.path().join("damaged");
    copy(&from, &damaged);
    let log = damaged.join("default/log/db");
    let mut bytes = std::fs::read(&log).unwrap();
    for at in (0..bytes.len()).step_by(512) {
        bytes[at] ^= 0x55;
    }
    std::fs::write(&log, bytes).unwrap();
    let as_it_was = files(&damaged.join("default"));
    for _ in 0..2 {
        refused(&migrate(&damaged, &data, "initech"), 1, "damage");
        assert_eq!(files(&damaged.join("default")), as_it_was);
        assert!(!data.join("initech").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_small_is_told_of_before_it_is_full() {
    let folder = TempDir::new().unwrap();
    let (from, small) = (folder.path().join("from"), folder.path().join("small"));
    single(&from).await;
    std::fs::create_dir_all(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&small).output();
    if !mounted.is_ok_and(|it| it.status.success()) {
        eprintln!("SKIPPED: a small file system cannot be mounted here");
        return;
    }
    let output = migrate(&from, &small.join("data"), "acme");
    let left = files(&small);
    assert!(Command::new("umount").arg("-l").arg(&small).status().unwrap().success());
    refused(&output, 2, "bytes free");
    assert!(!left.keys().any(|path| path.ends_with("log/db")), "{left:?}");
    assert_eq!(migrate(&from, &folder.path().join("data"), "acme").status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_data_was_moved_away_is_not_served_empty_and_is_served_again_when_it_is_back() {
    let folder = TempDir::new().unwrap();
    let (from, data) = (folder.path().join("from"), folder.path().join("data"));
    let seen = single(&from).await;
    assert_eq!(migrate(&from, &data, "acme").status.code(), Some(0));
    let output = vectorizer(["serve", "--listen", "127.0.0.1:0", "--data-dir", from.to_str().unwrap()]);
    refused(&output, 2, "was migrated to tenant acme");
    let aside = std::fs::read_dir(from.join("_migrated")).unwrap();
    let aside = aside.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    std::fs::rename(aside, from.join("default")).unwrap();
    let node = Node::serve(&from);
    let client = node.keyless();
    assert_eq!(client.post(&format!("{WORDS}/search"), &search(true)).await.expect(200), seen.search);
    assert_eq!(client.log("").await, seen.log);
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
}
