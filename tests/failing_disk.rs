//! A disk that takes no more: nothing acknowledged is lost, reads go on, and writes come back only after
//! the log was copied into fresh files.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{ACME, GLOBEX, Node};

fn batch(number: usize) -> Value {
    let vectors: Vec<Value> =
        (0..50).map(|id| json!({"id": format!("{number}-{id}"), "vector": vec![number; 64]})).collect();
    json!({ "vectors": vectors })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_disk_that_fails_and_is_read_all_the_while() {
    let data = TempDir::new().unwrap();
    // No file of the server may grow beyond two megabytes: a write then fails as on a full disk.
    let node = Node::dev_with_file_limit(data.path(), 2 << 20);
    let client = node.client(ACME);
    client.create("words", 64, "dot").await;
    node.client(GLOBEX).create("others", 2, "dot").await;
    let mut acknowledged = 0;
    let failure = loop {
        let answer = client.put("/collections/words/vectors", &batch(acknowledged)).await;
        if answer.status != 200 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 2_000, "the limit is not felt");
    };
    assert!(acknowledged > 10);
    assert_eq!((failure.status.as_u16(), failure.problem()), (503, "storage-failed"), "{}", failure.body);
    for _ in 0..5 {
        let count = client.post("/collections/words/count", &json!({})).await.expect(200)["count"].clone();
        // The write that failed may have been durable before it failed.
        assert!([acknowledged * 50, (acknowledged + 1) * 50].contains(&(count.as_u64().unwrap() as usize)));
        client.get("/collections/words/vectors/0-0").await.expect(200);
    }
    // The neighbour has files of its own, and room in them.
    let other = json!({"vectors": [{"id": "a", "vector": [1, 2]}]});
    node.client(GLOBEX).put("/collections/others/vectors", &other).await.expect(200);
    node.kill();

    let node = Node::dev(data.path());
    let client = node.client(ACME);
    let log = client.log("?from=2").await;
    assert!([acknowledged, acknowledged + 1].contains(&log.len()), "{} of {acknowledged}", log.len());
    for (number, line) in log.iter().enumerate() {
        assert_eq!(line["event"]["points"][0]["id"], format!("{number}-0"));
    }
    assert!(!data.path().join("acme/condemned").exists());
    client.put("/collections/words/vectors", &batch(acknowledged)).await.expect(200);
    node.stop();
    let folder = data.path().to_str().unwrap();
    let verified = crate::node::vectorizer(["log", "verify", "--data-dir", folder, "--tenant", "acme"]);
    assert_eq!(verified.status.code(), Some(0));
}
