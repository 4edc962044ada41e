//! Durable before acknowledged: after SIGKILL at any moment every acknowledged write is there, equal,
//! in order, and at most one unacknowledged commit more.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{ACME, Client, Node};

/// One in the ordinary run is a process killed ten times; `VECTORIZER_SLOW_TESTS` asks for a hundred.
fn rounds() -> u64 {
    if std::env::var_os("VECTORIZER_SLOW_TESTS").is_some() { 100 } else { 10 }
}

fn batch(number: u64) -> Value {
    let size = number % 60 + 1;
    let vectors: Vec<Value> = (0..size)
        .map(|at| json!({"id": format!("{number}-{at}"), "vector": [number, at, 1], "payload": {"batch": number}}))
        .collect();
    json!({ "vectors": vectors })
}

/// Writes batches one after the other until the server is gone; `acknowledged` gets the seq of each.
async fn write_until_the_end(client: &Client, first: u64, acknowledged: &mut Vec<(u64, u64)>) {
    for number in first.. {
        let request = client.request(Method::PUT, "/collections/load/vectors").json(&batch(number));
        let Ok(response) = request.send().await else { return };
        assert_eq!(response.status(), 200);
        let Ok(body) = response.json::<Value>().await else { return };
        acknowledged.push((number, body["seq"].as_u64().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_sigkill_at_any_moment() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    node.client(ACME).create("load", 3, "euclidean").await;
    let mut node = Some(node);
    // (number of the batch, seq of its record), of everything that was acknowledged.
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    let mut next = 0;
    for round in 0..rounds() {
        let running = node.take().unwrap_or_else(|| Node::dev(data.path()));
        let client = running.client(ACME);
        let writing = tokio::spawn({
            let client = client.clone();
            async move {
                let mut done = Vec::new();
                write_until_the_end(&client, next, &mut done).await;
                done
            }
        });
        // Different moments of the server's life, the first before it has written anything.
        tokio::time::sleep(Duration::from_millis(round * 37 % 251)).await;
        running.kill();
        acknowledged.extend(writing.await.unwrap());

        let running = Node::dev(data.path());
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
        let writes = log.len() - 1;
        assert!(writes - acknowledged.len() <= 1, "more than one unacknowledged commit");
        if writes > acknowledged.len() {
            // The one that was under way is there whole; from now on it counts.
            let number = acknowledged.last().map_or(0, |(number, _)| number + 1);
            let found = log.last().unwrap()["event"]["count"].as_u64().unwrap();
            assert_eq!(found, number % 60 + 1, "half a commit");
            acknowledged.push((number, log.len() as u64));
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
    // Some rounds are too short for a write on a busy machine; all of them together are not.
    assert!(acknowledged.len() as u64 > rounds(), "only {} writes were acknowledged", acknowledged.len());
}
