//! Large collections are linked in the background, and their graphs survive restarts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_testing::{PATIENCE, Random, Stopwatch, Wait, eventually};

use crate::support::node::{ACME, Client, Node};

const VECTORS: u64 = 6_000;
const DIMENSION: u64 = 24;
/// A graph is stored again when more vectors than this have come.
const UNSTORED_MAX: u64 = 1_024;

/// The same for every life of the node, different for every number.
fn vector(number: u64) -> Vec<f32> {
    Random::new(number).units(DIMENSION as usize)
}

async fn load(client: &Client) {
    // Many candidates make linking slow, so that being spared it shows.
    let index = json!({"m": 16, "ef_construction": 1_000});
    let collection = json!({"name": "words", "dimension": DIMENSION, "metric": "euclidean", "index": index});
    client.post("/collections", &collection).await.expect(201);
    fill(client).await;
}

async fn fill(client: &Client) {
    for batch in 0..VECTORS / 500 {
        let numbers = batch * 500..(batch + 1) * 500;
        let vectors: Vec<Value> =
            numbers.map(|number| json!({"id": number.to_string(), "vector": vector(number)})).collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
}

/// Waits until everything is linked. All the while every vector is found, whatever is linked.
async fn linked(client: &Client) {
    let mut numbers = (0..VECTORS).cycle().step_by(611);
    let is_linked = async || {
        let number = numbers.next().unwrap();
        let state = client.get("/collections/words").await.expect(200)["index"].clone();
        let found = nearest(client, number).await;
        assert_eq!(found, number.to_string(), "while {state}");
        if state["state"] == "linked" {
            assert_eq!(state["unlinked"], 0);
            return true;
        }
        assert_eq!(state["state"], "linking");
        false
    };
    Wait::new("all vectors are linked").at_most(2 * PATIENCE).until(is_linked).await;
}

async fn nearest(client: &Client, number: u64) -> String {
    let search = json!({"vector": vector(number), "limit": 1});
    let found = client.post("/collections/words/search", &search).await.expect(200);
    found["results"][0]["id"].as_str().unwrap().to_owned()
}

/// The one file in the tenant's folder of graphs.
async fn kept_graph(data: &Path, tenant: &str) -> PathBuf {
    let folder = data.join(tenant).join("graphs");
    let kept = async || {
        let mut files = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let file = files.next().filter(|file| !file.ends_with("unfinished"))?;
        files.next().is_none().then_some(file)
    };
    Wait::new("the graph is stored").value(kept).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_outlives_a_kill_and_a_damaged_one_costs_time_only() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    load(&client).await;
    linked(&client).await;
    let file = kept_graph(data.path(), "acme").await;
    node.kill();

    let node = Node::dev(data.path());
    let client = node.client(ACME);
    linked(&client).await;
    let kept = node.logged(&["\"the kept graph is in use\""]).unwrap();
    // What has come since the graph was stored is linked anew.
    assert!(kept["vectors"].as_u64().unwrap() >= VECTORS - UNSTORED_MAX, "{kept}");
    let collection = client.get("/collections/words").await.expect(200);
    assert_eq!(collection["count"], VECTORS);
    node.kill();

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let node = Node::dev(data.path());
    linked(&node.client(ACME)).await;
    assert!(node.has_logged(&["\"the kept graph is of no use and is built anew\""]));
}

/// Of more vectors than may be unlinked: none of them is, as their graph was kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_upsert_after_a_restart_is_answered_at_once() {
    const LARGE: usize = 600;
    let data = TempDir::new().unwrap();
    let mut node = Node::dev(data.path());
    let mut client = node.client(ACME);
    let index = json!({"m": 4, "ef_construction": 8});
    let collection = json!({"name": "words", "dimension": LARGE, "metric": "dot", "index": index});
    client.post("/collections", &collection).await.expect(201);
    let point = |number: usize| {
        let numbers = (0..LARGE).map(|at| (number * 31 + number * at + at * at) % 97);
        json!({"id": number.to_string(), "vector": numbers.collect::<Vec<_>>()})
    };
    for first in (0..4_200).step_by(600) {
        let vectors: Vec<Value> = (first..first + 600).map(point).collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
    let is_linked = async || client.get("/collections/words").await.expect(200)["index"]["state"] == "linked";
    Wait::new("all vectors are linked").at_most(2 * PATIENCE).until(is_linked).await;
    kept_graph(data.path(), "acme").await;
    for life in 0..3 {
        if life == 0 {
            node.stop();
        } else {
            node.kill();
        }
        node = Node::dev(data.path());
        client = node.client(ACME);
        if life == 1 {
            let search = json!({"vector": point(7)["vector"], "limit": 1});
            client.post("/collections/words/search", &search).await.expect(200);
        }
        let started = Stopwatch::start();
        let vectors = json!({"vectors": [point(10_000 + life)]});
        client.put("/collections/words/vectors", &vectors).await.expect(200);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "the upsert of life {life} took {took:?}");
    }
}

/// A write of more vectors than may be unlinked is taken whole. What follows waits for linking only where it
/// adds to the same collection, and never for longer than until everything is linked.
#[tokio::test(flavor = "multi_thread")]
async fn one_large_write_holds_up_nothing_but_its_own_collection_and_that_not_for_ever() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("large", 256, "cosine").await;
    client.create("other", 2, "dot").await;
    let numbers = |number: u64| (0..256).map(move |at| (number * 31 + at * at) % 97 + 1);
    let vectors: Vec<Value> = (0..9_000)
        .map(|number| json!({"id": number.to_string(), "vector": numbers(number).collect::<Vec<u64>>()}))
        .collect();
    client.put("/collections/large/vectors", &json!({ "vectors": vectors })).await.expect(200);
    let started = Stopwatch::start();
    let small = json!({"vectors": [{"id": "a", "vector": [1, 2]}]});
    client.put("/collections/other/vectors", &small).await.expect(200);
    assert!(started.elapsed() < Duration::from_secs(2), "another collection's write waited for linking");
    let search = json!({"vector": numbers(7).collect::<Vec<u64>>(), "limit": 1});
    let is_linked = async || {
        let found = client.post("/collections/large/search", &search).await.expect(200);
        assert!(found["results"][0]["score"].as_f64().unwrap() > 0.999);
        client.get("/collections/large").await.expect(200)["index"]["state"] == "linked"
    };
    Wait::new("all vectors are linked").at_most(2 * PATIENCE).until(is_linked).await;
    let started = Stopwatch::start();
    let more = json!({"vectors": [{"id": "a", "vector": numbers(7).collect::<Vec<u64>>()}]});
    client.put("/collections/large/vectors", &more).await.expect(200);
    client.send(client.request(Method::DELETE, "/collections/large")).await.expect(200);
    assert!(started.elapsed() < Duration::from_secs(2), "a write waited for linking that was done");
    let started = Stopwatch::start();
    node.stop();
    assert!(started.elapsed() < Duration::from_secs(5), "stopping took too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_linked_collection_is_compacted_and_found_all_the_while() {
    const LEFT: u64 = 2_000;
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", DIMENSION as usize, "euclidean").await;
    fill(&client).await;
    linked(&client).await;
    // A kept graph that is larger than any could be is not read, and costs time only.
    let kept = kept_graph(data.path(), "acme").await;
    node.kill();
    fs::OpenOptions::new().write(true).open(kept).unwrap().set_len(1 << 40).unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    linked(&client).await;
    // A graph that has grown is repaired when nothing was written for two seconds, unless it was repaired as it grew.
    let mut looks = 0..;
    let is_repaired = async || {
        if looks.next().unwrap() % 250 == 0 {
            let again = json!({"vectors": [{"id": "0", "vector": vector(0)}]});
            client.put("/collections/words/vectors", &again).await.expect(200);
        }
        node.has_logged(&["\"repaired the graph\""])
    };
    eventually("the graph is repaired", is_repaired).await;
    for first in (LEFT..VECTORS).step_by(500) {
        let ids: Vec<String> = (first..first + 500).map(|number| number.to_string()).collect();
        client.post("/collections/words/vectors/delete", &json!({ "ids": ids })).await.expect(200);
    }
    let mut numbers = (0..LEFT).cycle().step_by(97);
    let is_compacted = async || {
        let number = numbers.next().unwrap();
        assert_eq!(nearest(&client, number).await, number.to_string());
        node.has_logged(&["\"message\":\"compacted\""])
    };
    eventually("the collection is compacted", is_compacted).await;
    for number in (0..LEFT).step_by(13) {
        assert_eq!(nearest(&client, number).await, number.to_string());
    }
    assert_eq!(client.get("/collections/words").await.expect(200)["count"], LEFT);
}
