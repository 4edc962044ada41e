//! Durable before acknowledged: after SIGKILL at any moment every acknowledged write is there, equal,
//! in order, and at most one unacknowledged commit more. Tenants fall asleep and wake in between.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{ACME, Client, Node};

/// The ordinary run is a process killed ten times; `VECTORIZER_SIGKILL_ROUNDS` asks for more, and
/// `VECTORIZER_SLOW_TESTS` for a hundred.
fn rounds() -> u64 {
    let asked = std::env::var("VECTORIZER_SIGKILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    asked.unwrap_or(if vectorizer_testing::is_long_run() { 100 } else { 10 })
}

/// So many of them go on with the same log, which grows.
const ROUNDS_OF_A_LOG: u64 = 50;

fn dev(data: &Path) -> Node {
    Node::start("dev", data, &["--hub-listen", "127.0.0.1:0", "--tenant-idle", "1"])
}

fn batch(number: u64) -> Value {
    let size = number % 60 + 1;
    let vectors: Vec<Value> = (0..size)
        .map(|at| json!({"id": format!("{number}-{at}"), "vector": [number, at, 1], "payload": {"batch": number}}))
        .collect();
    json!({ "vectors": vectors })
}

/// Writes batches one after the other until the server is gone; `acknowledged` gets the seq of each.
async fn write_until_the_end(client: &Client, first: u64, acknowledged: &Mutex<Vec<(u64, u64)>>) {
    for number in first.. {
        let request = client.request(Method::PUT, "/collections/load/vectors").json(&batch(number));
        let Ok(response) = request.send().await else { return };
        assert_eq!(response.status(), 200);
        let Ok(body) = response.json::<Value>().await else { return };
        acknowledged.lock().unwrap().push((number, body["seq"].as_u64().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_sigkill_at_any_moment() {
    let mut acknowledged = 0;
    for first in (0..rounds()).step_by(ROUNDS_OF_A_LOG as usize) {
        acknowledged += kill_again_and_again(first..rounds().min(first + ROUNDS_OF_A_LOG)).await;
    }
    // Some rounds are too short for a write on a busy machine; all of them together are not.
    assert!(acknowledged as u64 > rounds(), "only {acknowledged} writes were acknowledged");
}

/// How many writes were acknowledged.
async fn kill_again_and_again(rounds: Range<u64>) -> usize {
    let data = TempDir::new().unwrap();
    let node = dev(data.path());
    node.client(ACME).create("load", 3, "euclidean").await;
    let mut node = Some(node);
    // (number of the batch, seq of its record), of everything that was acknowledged.
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    let mut next = 0;
    for round in rounds {
        let running = node.take().unwrap_or_else(|| dev(data.path()));
        let client = running.client(ACME);
        let done = Arc::new(Mutex::new(Vec::new()));
        let writing = tokio::spawn({
            let (client, done) = (client.clone(), Arc::clone(&done));
            async move { write_until_the_end(&client, next, &done).await }
        });
        // Different moments of the server's life, the first before it has written anything.
        tokio::time::sleep(Duration::from_millis(round * 37 % 251)).await;
        if round % 4 == 1 {
            // Nobody writes for a while: it is killed while the tenant falls asleep, or sleeps.
            writing.abort();
            tokio::time::sleep(Duration::from_millis(900 + round * 13 % 700)).await;
        }
        running.kill();
        acknowledged.extend(done.lock().unwrap().drain(..));
        let _ = writing.await;
        acknowledged.extend(done.lock().unwrap().drain(..));

        let running = dev(data.path());
        let client = running.client(ACME);
        let log = client.log("?with_vector=true").await;
        let seqs: Vec<u64> = log.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>(), "a gap");
        for (number, seq) in &acknowledged {
            let event = &log[usize::try_from(*seq - 1).unwrap()]["event"];
            let points = event["points"].as_array().unwrap();
            let expected = batch(*number);
            let expected = expected["vectors"].as_array().unwrap();
            assert_eq!(points.len(), expected.len());
            for (point, expected) in points.iter().zip(expected) {
                assert_eq!((&point["id"], &point["payload"]), (&expected["id"], &expected["payload"]));
            }
        }
        // Beside what the server writes for itself when a tenant falls asleep.
        let written: Vec<&Value> =
            log.iter().filter(|line| line["event"]["type"] == "vectors_upserted").collect();
        let writes = written.len();
        assert!(writes - acknowledged.len() <= 1, "more than one unacknowledged commit");
        if writes > acknowledged.len() {
            // The one that was under way is there whole; from now on it counts.
            let number = acknowledged.last().map_or(0, |(number, _)| number + 1);
            let last = written.last().unwrap();
            assert_eq!(last["event"]["count"].as_u64().unwrap(), number % 60 + 1, "half a commit");
            acknowledged.push((number, last["seq"].as_u64().unwrap()));
        }
        next = acknowledged.last().map_or(0, |(number, _)| number + 1);

        // And all of it can be found again, bit for bit.
        let total: u64 = acknowledged.iter().map(|(number, _)| number % 60 + 1).sum();
        assert_eq!(client.post("/collections/load/count", &json!({})).await.expect(200)["count"], total);
        if let Some((number, _)) = acknowledged.last() {
            let path = format!("/collections/load/vectors/{number}-0?with_vector=true");
            let found = client.get(&path).await.expect(200);
            assert_eq!(found["vector"], json!([*number as f64, 0.0, 1.0]));
        }
        node = Some(running);
    }
    acknowledged.len()
}
