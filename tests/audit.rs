//! The audit trail: who did what, when, in which request; the same over HTTP and on the command line.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{ACME, Answer, GLOBEX, Key, Node, vectorizer};

/// Writes of every kind by keys of every level that may write, and what the log has to say of each.
async fn story(node: &Node) -> Vec<(Answer, Key, &'static str)> {
    let (admin, writer) = (node.client(ACME), node.client(Key::ReadWrite(0)));
    let create = json!({"name": "words", "dimension": 2, "metric": "dot"});
    let upsert = json!({"vectors": [
        {"id": "a", "vector": [1, 2], "payload": {"kind": "x"}},
        {"id": "b", "vector": [3, 4]},
    ]});
    let patch = writer.request(reqwest::Method::PATCH, "/collections/words/vectors/a/payload");
    vec![
        (admin.post("/collections", &create).await, ACME, "collection_created"),
        (writer.put("/collections/words/vectors", &upsert).await, Key::ReadWrite(0), "vectors_upserted"),
        (writer.send(patch.json(&json!({"seen": true}))).await, Key::ReadWrite(0), "payload_changed"),
        (writer.delete("/collections/words/vectors/b").await, Key::ReadWrite(0), "vectors_deleted"),
        (admin.delete("/collections/words").await, ACME, "collection_deleted"),
    ]
}

/// A key's public name, as it stands in the key.
fn key_id(node: &Node, key: Key) -> String {
    node.key(key).split('_').nth(2).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_key_operation_time_and_request_of_each_change() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let before = jiff::Timestamp::now();
    let story = story(&node).await;
    let after = jiff::Timestamp::now();
    let log = node.client(ACME).log("").await;
    assert_eq!(log.len(), story.len());
    let mut last = before;
    for (line, (answer, key, event)) in log.iter().zip(&story) {
        assert!(answer.status.is_success(), "{}", answer.body);
        assert_eq!(line["seq"], answer.body["seq"]);
        assert_eq!(line["event"]["type"], *event);
        assert_eq!(line["actor"], json!({"key_id": key_id(&node, *key), "via": "rest"}));
        assert_eq!(line["request_id"].as_str().unwrap(), answer.headers["x-request-id"]);
        let at: jiff::Timestamp = line["at"].as_str().unwrap().parse().unwrap();
        assert!(last.as_microsecond() <= at.as_microsecond() && at <= after, "{at}");
        last = at;
    }
    // What reading requests leave in it: nothing.
    node.client(Key::ReadOnly(0)).get("/collections").await.expect(200);
    assert_eq!(node.client(ACME).log("").await.len(), story.len());
    // And no key's secret.
    let text = serde_json::to_string(&log).unwrap();
    for key in [ACME, Key::ReadWrite(0), GLOBEX] {
        assert!(!text.contains(node.key(key).split('_').nth(3).unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_is_the_same_over_http_and_from_the_folder() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    story(&node).await;
    let (url, key) = (node.url().to_owned(), node.key(ACME));
    let folder = data.path().to_str().unwrap();
    let remote = ["--url", &url, "--key", &key];
    let local = ["--data-dir", folder, "--tenant", "acme"];
    let queries: [(&str, &[&str]); 7] = [
        ("", &[]),
        ("?from=2&to=4", &["--from", "2", "--to", "4"]),
        ("?limit=2", &["--limit", "2"]),
        ("?with_vector=true&with_payload=false", &["--with-vector", "true", "--with-payload", "false"]),
        ("?with_stored=true", &["--with-stored"]),
        ("?format=csv&from=2", &["--format", "csv", "--from", "2"]),
        ("?since=2026-01-02T03:04:05Z&to=3", &["--since", "2026-01-02T03:04:05Z", "--to", "3"]),
    ];
    let export = |source: &[&str], flags: &[&str]| {
        let arguments = [&["log", "export"], source, flags].concat();
        let output = vectorizer(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut over_http = Vec::new();
    for (query, flags) in queries {
        let request = node.client(ACME).request(reqwest::Method::GET, &format!("/log{query}"));
        let text = request.send().await.unwrap().text().await.unwrap();
        assert!(!text.is_empty());
        assert_eq!(export(&remote, flags), text, "{query}");
        over_http.push(text);
    }
    // A folder that a server has open cannot be asked.
    let busy = vectorizer([&["log", "verify"], &local[..]].concat());
    assert_eq!(busy.status.code(), Some(2), "{}", String::from_utf8_lossy(&busy.stderr));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("--url"));

    let verified = vectorizer([&["log", "verify"], &remote[..]].concat());
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    let replayed = vectorizer([&["replay"], &remote[..]].concat());
    let digest = digest(&replayed.stdout);
    // A stop would write down what was asked for; killed, the folder is what was asked.
    node.kill();

    for ((_, flags), text) in queries.iter().zip(&over_http) {
        assert_eq!(&export(&local, flags), text);
    }
    let verified = vectorizer([&["log", "verify"], &local[..]].concat());
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    let replayed = vectorizer([&["replay", "--expect", &digest], &local[..]].concat());
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_log_is_asked_for_by_time_and_as_a_table() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    story(&node).await;
    let client = node.client(ACME);
    let whole = client.log("").await;
    let third = whole[2]["at"].as_str().unwrap();
    let last = whole[4]["at"].as_str().unwrap();
    assert_eq!(client.log(&format!("?until={third}")).await, whole[..2]);
    assert_eq!(client.log(&format!("?since={third}")).await, whole[2..]);
    assert_eq!(client.log(&format!("?since={third}&until={last}")).await, whole[2..4]);
    assert_eq!(client.log(&format!("?since={third}&from=4&limit=1")).await, whole[3..4]);
    assert_eq!(client.log("?since=2999-01-01T00:00:00Z").await, whole[..0]);
    // Followed, it ends with the first record behind the range.
    assert_eq!(client.log(&format!("?follow=true&since={third}&until={last}")).await, whole[2..4]);

    let table = |query: &str| {
        let request = client.request(reqwest::Method::GET, &format!("/log?format=csv{query}"));
        async move { request.send().await.unwrap() }
    };
    let answer = table(&format!("&since={third}")).await;
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8; header=present");
    let text = answer.text().await.unwrap();
    let rows: Vec<_> = text.lines().collect();
    assert_eq!(rows[0], "seq,at,event,collection,key_id,via,request_id,count,details");
    assert!(rows[1].starts_with(&format!("3,{third},payload_changed,1,")), "{text}");
    assert_eq!(rows.len(), 4);
    // Without a single record it is a table still.
    let empty = table("&from=99").await.text().await.unwrap();
    assert_eq!(empty.lines().collect::<Vec<_>>(), rows[..1]);
    for wrong in ["?format=csv&with_stored=true", "?format=xlsx", "?since=yesterday", "?until=2026-01-02"] {
        let refused = client.get(&format!("/log{wrong}")).await.expect(400);
        assert_eq!(refused["type"], "urn:vectorizer:problem:invalid-parameter", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_refused_requests_and_a_flood_of_them_is_a_few_records() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (client, reader) = (node.client(ACME), node.client(Key::ReadOnly(0)));
    client.create("words", 2, "dot").await;
    for _ in 0..300 {
        reader.delete("/collections/words").await.expect(403);
    }
    // They come with the next commit, behind what was asked for, and change no data.
    let seq = client.create("more", 2, "dot").await["seq"].as_u64().unwrap();
    assert_eq!(client.data_seq().await, seq);
    let log = client.log("").await;
    assert_eq!(log.len(), 3, "{log:?}");
    let (line, event) = (&log[2], &log[2]["event"]);
    assert_eq!(line["actor"], json!({"key_id": null, "via": "system"}));
    assert_eq!(event["type"], "access_denied");
    assert_eq!(event["key_id"], key_id(&node, Key::ReadOnly(0)));
    assert_eq!(
        (&event["what"], &event["why"]),
        (&json!("delete_collection"), &json!("insufficient-permission"))
    );
    assert_eq!((&event["from"], &event["count"]), (&json!("127.0.0.1"), &json!(300)));
    assert!(event["since"].as_str().unwrap() <= event["through"].as_str().unwrap());
    // Others within a minute wait, however many commits there are, and are there after a stop.
    for number in 0..5 {
        reader.delete("/collections/words").await.expect(403);
        node.client(Key::Mcp(0)).get("/collections").await.expect(403);
        client.create(&format!("c{number}"), 2, "dot").await;
    }
    assert_eq!(client.log("").await.len(), 8);
    node.stop();
    let folder = data.path().to_str().unwrap();
    let local = ["--data-dir", folder, "--tenant", "acme"];
    let verified = vectorizer([&["log", "verify"], &local[..]].concat());
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    let exported = vectorizer([&["log", "export", "--from", "9"], &local[..]].concat());
    let text = String::from_utf8(exported.stdout).unwrap();
    let counts: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
        .filter(|event| event["type"] == "access_denied")
        .map(|event| event["count"].clone())
        .collect();
    assert_eq!(counts, [5, 5], "{text}");
    // A tenant that sleeps is told when it wakes.
    let node = Node::dev(data.path());
    node.client(Key::Mcp(1)).get("/collections").await.expect(403);
    node.client(GLOBEX).create("words", 2, "dot").await;
    let log = node.client(GLOBEX).log("").await;
    assert_eq!(log.last().unwrap()["event"]["type"], "access_denied", "{log:?}");
}

fn digest(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().find_map(|line| line.strip_prefix("digest")).expect("replay shows a digest");
    line.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_another_process_finds_what_the_server_serves() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 2, "euclidean").await;
    for round in 0..5 {
        let vectors: Vec<Value> =
            (0..200).map(|id| json!({"id": id.to_string(), "vector": [round, id]})).collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
        client.post("/collections/words/vectors/delete", &json!({"ids": ["7", "8"]})).await.expect(200);
    }
    let served = client.get("/collections/words").await.expect(200);
    node.kill();
    let folder = data.path().to_str().unwrap();
    let replayed = vectorizer(["replay", "--data-dir", folder, "--tenant", "acme"]);
    assert_eq!(replayed.status.code(), Some(0));
    let text = String::from_utf8(replayed.stdout).unwrap();
    for (field, value) in [("vectors", &served["count"]), ("bytes", &served["bytes"]), ("seq", &json!(11))] {
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        let value = value.to_string();
        assert!(line.split_whitespace().any(|word| word == value), "{line} should say {value}");
    }
}
