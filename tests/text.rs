//! Texts are kept as they are, found by their words, counted to the byte, and nobody else's.

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hub_and_node::Cluster;
use crate::limits::limits;
use crate::node::{ACME, Client, GLOBEX, Key, Node, vectorizer};

const NOTES: &str = "/collections/notes/vectors";
const SEARCH: &str = "/collections/notes/search";

async fn create(client: &Client, body: Value) {
    client.post("/collections", &body).await.expect(201);
}

/// A collection of texts only, with some.
async fn notes(client: &Client) {
    create(client, json!({"name": "notes", "text": true})).await;
    let notes = json!({"vectors": [
        {"id": "apple", "text": "An apple a day keeps the doctor away", "payload": {"kind": "proverb"}},
        {"id": "pie", "text": "Apple pie: apples, butter, apples", "payload": {"kind": "recipe"}},
        {"id": "cafe", "text": "CAFÉ — the doctor's favourite", "payload": {"kind": "place"}},
        {"id": "odd", "text": "\u{0}\n\u{1b}[31m東京 🙂"},
    ]});
    client.put(NOTES, &notes).await.expect(200);
}

async fn found(client: &Client, body: Value) -> Vec<String> {
    let results = client.post(SEARCH, &body).await.expect(200)["results"].clone();
    results.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_found_by_their_words_and_come_back_as_they_were() {
    let data = TempDir::new().unwrap();
    let mut before = Value::Null;
    // In one life and the next.
    for life in 0..2 {
        let node = Node::serve(data.path());
        let client = node.keyless();
        if life == 0 {
            notes(&client).await;
            before = client.get(&format!("{NOTES}?limit=100")).await.expect(200);
            assert_eq!(before["vectors"][1]["text"], "CAFÉ — the doctor's favourite");
        }
        assert_eq!(client.get(&format!("{NOTES}?limit=100")).await.expect(200), before);
        let facts = client.get("/collections/notes").await.expect(200);
        assert_eq!(
            (&facts["dimension"], &facts["text"], &facts["count"]),
            (&Value::Null, &json!(true), &json!(4))
        );
        assert_eq!(found(&client, json!({"text": "apple"})).await, ["pie", "apple"]);
        assert_eq!(found(&client, json!({"text": "APPLES"})).await, ["pie"]);
        assert_eq!(found(&client, json!({"text": "cafe"})).await, ["cafe"]);
        assert_eq!(found(&client, json!({"text": "東"})).await, ["odd"]);
        assert_eq!(found(&client, json!({"text": "nobody wrote so"})).await, Vec::<String>::new());
        let recipe = json!({"must": {"key": "kind", "match": {"value": "recipe"}}});
        assert_eq!(found(&client, json!({"text": "doctor", "filter": recipe})).await, Vec::<String>::new());
        assert_eq!(found(&client, json!({"text": "apple", "filter": recipe})).await, ["pie"]);
        let odd = client.get(&format!("{NOTES}/odd")).await.expect(200);
        assert_eq!(odd, json!({"id": "odd", "text": "\u{0}\n\u{1b}[31m東京 🙂"}));
        assert_eq!(
            client.get(&format!("{NOTES}/odd?with_text=false")).await.expect(200),
            json!({"id": "odd"})
        );
        let shown = client.post(SEARCH, &json!({"text": "東", "with_text": false})).await.expect(200);
        assert!(shown["results"][0].get("text").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_or_deleted_text_is_not_found_and_a_new_payload_leaves_it_alone() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    notes(&client).await;
    let again = json!({"vectors": [{"id": "apple", "text": "pears"}]});
    client.put(NOTES, &again).await.expect(200);
    assert_eq!(found(&client, json!({"text": "apple"})).await, ["pie"]);
    assert_eq!(found(&client, json!({"text": "pears"})).await, ["apple"]);
    let patch = client.request(Method::PATCH, &format!("{NOTES}/apple/payload")).json(&json!({"n": 1}));
    client.send(patch).await.expect(200);
    let apple = client.get(&format!("{NOTES}/apple")).await.expect(200);
    assert_eq!(apple, json!({"id": "apple", "text": "pears", "payload": {"n": 1}}));
    assert_eq!(found(&client, json!({"text": "pears"})).await, ["apple"]);
    client.delete(&format!("{NOTES}/apple")).await.expect(200);
    let filter = json!({"filter": {"must": {"key": "kind", "match": {"value": "recipe"}}}});
    assert_eq!(client.post(&format!("{NOTES}/delete"), &filter).await.expect(200)["deleted"], 1);
    assert_eq!(found(&client, json!({"text": "pears apple"})).await, Vec::<String>::new());
    assert_eq!(client.post("/collections/notes/count", &json!({})).await.expect(200)["count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_and_vectors_together_are_one_ranking() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    create(&client, json!({"name": "notes", "dimension": 2, "metric": "euclidean", "text": true})).await;
    let points = json!({"vectors": [
        {"id": "near", "vector": [0, 0]},
        {"id": "both", "vector": [1, 0], "text": "apple pie"},
        {"id": "word", "vector": [9, 9], "text": "apple apple"},
        {"id": "far", "vector": [5, 5], "text": "pears"},
    ]});
    client.put(NOTES, &points).await.expect(200);
    assert_eq!(found(&client, json!({"vector": [0, 0], "limit": 2})).await, ["near", "both"]);
    assert_eq!(found(&client, json!({"text": "apple"})).await, ["word", "both"]);
    let both = json!({"vector": [0, 0], "text": "apple"});
    let fused = client.post(SEARCH, &both).await.expect(200);
    let score = |place: usize| fused["results"][place]["score"].as_f64().unwrap();
    assert_eq!(found(&client, both.clone()).await, ["both", "word", "near", "far"]);
    assert!((score(0) - 2.0 / 62.0).abs() < 1e-6 && (score(2) - 1.0 / 61.0).abs() < 1e-6, "{fused}");
    let least = json!({"vector": [0, 0], "text": "apple", "score_threshold": 0.03});
    assert_eq!(found(&client, least).await, ["both", "word"]);
    // Each of a batch as if it were alone.
    let searches =
        json!({"searches": [both, {"text": "pears"}, {"vector": [9, 9], "limit": 1, "exact": true}]});
    let batch = client.post("/collections/notes/search/batch", &searches).await.expect(200);
    assert_eq!(batch["searches"][0], fused);
    assert_eq!(batch["searches"][1]["results"][0]["id"], "far");
    assert_eq!(batch["searches"][2]["results"][0]["id"], "word");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_a_collection_with_or_without_texts_is_refused_whole() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    notes(&client).await;
    create(&client, json!({"name": "both", "dimension": 2, "metric": "dot", "text": true})).await;
    client.create("plain", 2, "dot").await;
    let before = client.data_seq().await;
    let long = "a".repeat(64 * 1024 + 1);
    for (collection, point, status, code, says) in [
        ("plain", json!({"id": "x", "vector": [1, 2], "text": "t"}), 422, "text-unexpected", "text: \"x\""),
        ("plain", json!({"id": "x"}), 422, "vector-missing", "vector: \"x\""),
        ("both", json!({"id": "x", "text": "t"}), 422, "vector-missing", "dimension 2"),
        ("both", json!({"id": "x", "vector": [1], "text": "t"}), 422, "wrong-dimension", "dimension 1"),
        (
            "notes",
            json!({"id": "x", "vector": [1, 2], "text": "t"}),
            422,
            "vector-unexpected",
            "vector: \"x\"",
        ),
        ("notes", json!({"id": "x"}), 422, "text-missing", "text: \"x\""),
        ("notes", json!({"id": "x", "text": null}), 422, "invalid-body", "null"),
        ("notes", json!({"id": "x", "text": ""}), 422, "invalid-text", "empty"),
        ("notes", json!({"id": "x", "text": 5}), 422, "invalid-body", "text"),
        ("notes", json!({"id": "x", "text": long}), 413, "text-too-large", "65537"),
    ] {
        let body = json!({"vectors": [{"id": "good", "text": "t"}, point]});
        let body = if collection == "notes" { body } else { json!({"vectors": [body["vectors"][1]]}) };
        let answer = client.put(&format!("/collections/{collection}/vectors"), &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (status, code),
            "{collection} {}",
            answer.body
        );
        assert!(answer.detail().contains(says), "{}", answer.detail());
    }
    let lone = r#"{"vectors":[{"id":"x","text":"\ud800"}]}"#;
    let lone = client.request(Method::PUT, NOTES).header("content-type", "application/json").body(lone);
    assert_eq!(client.send(lone).await.problem(), "malformed-json");
    for (body, code, says) in [
        (json!({"name": "x"}), "invalid-body", "dimension"),
        (json!({"name": "x", "text": false}), "invalid-body", "dimension"),
        (json!({"name": "x", "text": true, "dimension": 2}), "invalid-body", "metric"),
        (json!({"name": "x", "text": true, "metric": "dot"}), "invalid-body", "dimension"),
        (json!({"name": "x", "text": true, "index": {"m": 8}}), "invalid-index", "index"),
        (json!({"name": "x", "text": "yes"}), "invalid-body", "text"),
    ] {
        let answer = client.post("/collections", &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, code), "{body}");
        assert!(answer.detail().contains(says), "{}", answer.detail());
    }
    let words = (0..257).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    for (collection, body, code, says) in [
        ("notes", json!({}), "nothing-sought", "text"),
        ("notes", json!({"text": " ?! "}), "invalid-text", "no word"),
        ("notes", json!({"text": "a ".repeat(4097)}), "invalid-text", "8194"),
        ("notes", json!({"text": words}), "invalid-text", "257"),
        ("notes", json!({"vector": [1, 2]}), "vector-unexpected", "vector"),
        ("notes", json!({"vector": [1, 2], "text": "a"}), "vector-unexpected", "vector"),
        ("plain", json!({"text": "a"}), "text-unexpected", "text"),
        ("both", json!({"vector": [1], "text": "a"}), "wrong-dimension", "dimension 1"),
    ] {
        let answer = client.post(&format!("/collections/{collection}/search"), &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, code), "{body} {}", answer.body);
        assert!(answer.detail().contains(says), "{}", answer.detail());
        let batch = json!({"searches": [body]});
        let answer = client.post(&format!("/collections/{collection}/search/batch"), &batch).await;
        assert_eq!(answer.problem(), code, "{body}");
    }
    assert_eq!(client.data_seq().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_finds_the_words_of_another_tenant() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    notes(&acme).await;
    let theirs = globex.post(SEARCH, &json!({"text": "apple"})).await;
    assert_eq!((theirs.status.as_u16(), theirs.problem()), (404, "no-such-collection"));
    create(&globex, json!({"name": "notes", "text": true})).await;
    assert_eq!(found(&globex, json!({"text": "apple"})).await, Vec::<String>::new());
    globex.put(NOTES, &json!({"vectors": [{"id": "mine", "text": "apple"}]})).await.expect(200);
    // Statistics are one's own, too: of one text a word is in every text.
    let score = |hits: Value| hits["results"][0]["score"].as_f64().unwrap();
    let one = score(globex.post(SEARCH, &json!({"text": "apple"})).await.expect(200));
    assert!((one - (1.0 + 0.5 / 1.5_f64).ln()).abs() < 1e-6, "{one}");
    assert_eq!(found(&globex, json!({"text": "apple"})).await, ["mine"]);
    assert_eq!(found(&acme, json!({"text": "apple"})).await, ["pie", "apple"]);
    let reader = node.client(Key::ReadOnly(0));
    assert_eq!(found(&reader, json!({"text": "cafe"})).await, ["cafe"]);
    assert_eq!(reader.put(NOTES, &json!({"vectors": [{"id": "x", "text": "t"}]})).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_counts_its_bytes_to_the_quota_and_to_usage() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    // A text of ten bytes under an id of one comes to 43.
    cluster.tenant_with("acme", limits(json!({"storage_bytes": 2 * 43, "requests_per_minute": 10_000})));
    let key = cluster.key(Some("acme"), None);
    cluster.send(&key, "POST", "/collections", &json!({"name": "notes", "text": true})).await.expect(201);
    let put = async |id: &str, text: &str| {
        cluster.send(&key, "PUT", NOTES, &json!({"vectors": [{"id": id, "text": text}]})).await
    };
    put("a", "0123456789").await.expect(200);
    assert_eq!(put("b", "0123456789x").await.problem(), "quota-exceeded");
    put("b", "012345678ä").await.expect(429);
    put("b", "01234567ä").await.expect(200);
    let facts = cluster.send(&key, "GET", "/collections/notes", &Value::Null).await.expect(200);
    assert_eq!(facts["bytes"], 86);
    assert_eq!(put("a", "0123456789x").await.status, 429);
    put("a", "short").await.expect(200);
    let facts = cluster.send(&key, "GET", "/collections/notes", &Value::Null).await.expect(200);
    assert_eq!(facts["bytes"], 86 - 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_shows_texts_and_a_repeated_write_is_done_once() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    create(&client, json!({"name": "notes", "text": true})).await;
    let body = json!({"vectors": [{"id": "a", "text": "first words"}]});
    let mut seqs = Vec::new();
    for repetition in [false, true] {
        let write = client.request(Method::PUT, NOTES).header("idempotency-key", "once").json(&body);
        let answer = client.send(write).await;
        assert_eq!(answer.headers.contains_key("idempotency-replayed"), repetition);
        seqs.push(answer.expect(200)["seq"].clone());
    }
    assert_eq!(seqs[0], seqs[1]);
    let log = client.log("").await;
    let events: Vec<&Value> = log.iter().map(|line| &line["event"]).collect();
    assert_eq!(*events[0], json!({"type": "text_collection_created", "name": "notes", "vectors": null}));
    assert_eq!(events[1]["documents"], json!([{"id": "a", "text": "first words"}]));
    assert_eq!(events.len(), 2);
    drop(node);
    let folder = data.path().to_str().unwrap();
    let exported = vectorizer(["log", "export", "--data-dir", folder, "--tenant", "default"]);
    assert!(exported.status.success());
    let exported = String::from_utf8(exported.stdout).unwrap();
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, log);
    assert!(vectorizer(["replay", "--data-dir", folder, "--tenant", "default"]).status.success());
}
