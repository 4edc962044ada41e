//! A declared path of payloads is indexed whatever other paths there are, wherever its declaration has been since.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use vectorizer_testing::{PATIENCE, eventually};

use crate::support::node::{ACME, Answer, Client, GLOBEX, Key, Node, vectorizer};

/// It sorts before all others, so it is the first of those that are left out.
const LATE: &str = "-late";
const INDEXES: &str = "/collections/words/indexes";

/// So many vectors with so many paths each: together they take more room than all paths may.
const VECTORS: usize = 140;
const PATHS_EACH: usize = 60;

async fn put(client: &Client, vectors: impl Iterator<Item = (String, Value)>) {
    let vectors: Vec<Value> =
        vectors.map(|(id, payload)| json!({"id": id, "vector": [1, 2], "payload": payload})).collect();
    client.load("/collections/words/vectors", &json!({ "vectors": vectors })).await;
}

/// `words` without room for another path, and `count` vectors that all have one, `-late`, of ten values.
async fn full(client: &Client, count: usize) {
    client.create("words", 2, "dot").await;
    put_crowd(client).await;
    for first in (0..count).step_by(10_000) {
        let late = |number| (format!("late-{number}"), json!({LATE: number % 10, "also": {"n": number}}));
        put(client, (first..count.min(first + 10_000)).map(late)).await;
    }
}

/// The paths that take all the room, a mebibyte of them.
async fn put_crowd(client: &Client) {
    let crowd: Vec<(String, Value)> = (0..VECTORS)
        .map(|vector| {
            let path = |number| (format!("{number:0>1000}"), Value::from(1));
            let paths = (vector * PATHS_EACH..(vector + 1) * PATHS_EACH).map(path);
            (format!("crowd-{vector}"), Value::from(paths.collect::<Map<_, _>>()))
        })
        .collect();
    for crowd in crowd.chunks(20) {
        put(client, crowd.iter().cloned()).await;
    }
}

async fn declare(client: &Client, path: &str) -> Answer {
    client.send(client.request(Method::PUT, &format!("{INDEXES}/{path}"))).await
}

async fn undeclare(client: &Client, path: &str) -> Answer {
    client.delete(&format!("{INDEXES}/{path}")).await
}

async fn indexes(client: &Client) -> Value {
    client.get(INDEXES).await.expect(200)
}

async fn declared(client: &Client) -> Vec<String> {
    let indexes = indexes(client).await;
    let paths = indexes["declared"].as_array().unwrap().iter();
    paths.map(|declared| declared["path"].as_str().unwrap().to_owned()).collect()
}

async fn payload_index(client: &Client) -> Value {
    client.get("/collections/words").await.expect(200)["payload_index"].clone()
}

/// Waits until nothing is being indexed.
async fn ready(client: &Client) {
    eventually("the index", async || payload_index(client).await["building"] == 0).await;
}

async fn count(client: &Client, value: u64) -> Value {
    let filter = json!({"filter": {"must": [{"key": LATE, "match": {"value": value}}]}});
    client.post("/collections/words/count", &filter).await.expect(200)["count"].clone()
}

/// The quickest of some counts: what other processes do is no part of it.
async fn quickest_count(client: &Client) -> Duration {
    let mut quickest = PATIENCE;
    for _ in 0..9 {
        let begun = Instant::now();
        assert_eq!(count(client, 3).await, 5_000);
        quickest = quickest.min(begun.elapsed());
    }
    quickest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_path_has_room_when_thousands_of_others_came_first() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    full(&client, 50_000).await;
    let before = indexes(&client).await;
    assert_eq!(before["declared"], json!([]));
    assert_eq!(before["left_out"]["first"][0], LATE, "there is room for it");
    assert_eq!(before["left_out"]["reason"], "no-room");
    let left_out = before["left_out"]["count"].as_u64().unwrap();
    let automatic = before["automatic"]["count"].as_u64().unwrap();
    assert_eq!(before["automatic"]["first"].as_array().unwrap().len(), 100);
    let scanned = quickest_count(&client).await;

    assert_eq!(declare(&client, LATE).await.expect(201)["path"], LATE);
    // As exact while the index is made.
    assert_eq!(count(&client, 3).await, 5_000);
    ready(&client).await;
    let after = indexes(&client).await;
    assert_eq!(after["declared"], json!([{"path": LATE, "state": "ready"}]));
    assert_eq!(after["left_out"]["count"], left_out - 1);
    assert_eq!(after["automatic"]["count"], automatic, "it has taken the room of another path");
    let described = payload_index(&client).await;
    assert_eq!((&described["declared"], &described["building"]), (&json!(1), &json!(0)));
    assert_eq!(described["paths"], automatic + 1);
    assert_eq!(described["left_out"], left_out - 1);
    let quick = quickest_count(&client).await;
    assert!(quick * 5 < scanned, "{quick:?} with an index, {scanned:?} without");
    // What is written and deleted from now on is in it.
    put(&client, [("late-3".to_owned(), json!({LATE: 4})), ("new".to_owned(), json!({LATE: 3}))].into_iter())
        .await;
    client.delete("/collections/words/vectors/late-13").await.expect(200);
    assert_eq!((count(&client, 3).await, count(&client, 4).await), (json!(4_999), json!(5_001)));

    // Dropped it is like all others, and there is no room for it.
    undeclare(&client, LATE).await.expect(200);
    let dropped = indexes(&client).await;
    assert_eq!(dropped["left_out"]["first"][0], LATE);
    assert_eq!((&dropped["declared"], &dropped["automatic"]["count"]), (&json!([]), &json!(automatic)));
    assert_eq!(count(&client, 3).await, 4_999);
    // With those that took the room gone there is some again, without a word.
    let crowd: Vec<String> = (0..VECTORS).map(|vector| format!("crowd-{vector}")).collect();
    client.post("/collections/words/vectors/delete", &json!({ "ids": crowd })).await.expect(200);
    eventually("room", async || payload_index(&client).await["left_out"] == 0).await;
    assert_eq!(count(&client, 3).await, 4_999);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_outlasts_restarts_kills_and_sleep() {
    let data = TempDir::new().unwrap();
    let start = || Node::start("dev", data.path(), &["--hub-listen", "127.0.0.1:0", "--tenant-idle", "1"]);
    let mut node = start();
    full(&node.client(ACME), 300).await;
    declare(&node.client(ACME), LATE).await.expect(201);
    declare(&node.client(ACME), "other").await.expect(201);
    undeclare(&node.client(ACME), "other").await.expect(200);
    // The tenant may have slept since the first records. Now its log has grown enough for another checkpoint.
    put_crowd(&node.client(ACME)).await;
    for end in ["kill", "sleep", "stop", "kill", "sleep", "kill"] {
        let client = node.client(ACME);
        assert_eq!(declared(&client).await, [LATE], "before {end}");
        ready(&client).await;
        assert_eq!(count(&client, 3).await, 30, "before {end}");
        match end {
            "kill" => node.kill(),
            "stop" => node.stop(),
            _ => {
                asleep(&node).await;
                let checkpoint = std::fs::read(node.data.join("acme/checkpoint")).unwrap();
                assert!(checkpoint.windows(4).any(|tag| tag == b"PATH"), "it is not in the checkpoint");
                assert_eq!(count(&client, 3).await, 30);
                assert_eq!(indexes(&client).await["declared"], json!([{"path": LATE, "state": "ready"}]));
                node.kill();
            }
        }
        node = start();
    }
}

async fn asleep(node: &Node) {
    let operator = node.client(Key::Operator);
    eventually("sleep", async || {
        let tenants = operator.get("/cluster/tenants?limit=1000").await.expect(200);
        let mut tenants = tenants["tenants"].as_array().unwrap().iter();
        tenants.any(|tenant| tenant["id"] == "acme" && tenant["state"] == "asleep")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declaring_twice_is_as_good_as_once_and_a_key_gets_its_answer_again() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    let keyed = async |method: Method, path: &str, key: &str| {
        let request = client.request(method, &format!("{INDEXES}/{path}")).header("idempotency-key", key);
        let answer = client.send(request).await;
        (answer.status.as_u16(), answer.headers.contains_key("idempotency-replayed"), answer.body)
    };
    assert_eq!(declare(&client, "a.b").await.expect(201), json!({"seq": 2, "path": "a.b"}));
    // However it is written, and without a record.
    for written in ["a.b", "a%5B%5D.b%5B%5D", "%22a%22.%22b%22"] {
        assert_eq!(declare(&client, written).await.expect(200), json!({"seq": 2, "path": "a.b"}));
    }
    assert_eq!(keyed(Method::PUT, "c", "k1").await, (201, false, json!({"seq": 3, "path": "c"})));
    assert_eq!(keyed(Method::PUT, "c", "k2").await, (200, false, json!({"seq": 4, "path": "c"})));
    assert_eq!(keyed(Method::DELETE, "c", "k3").await, (200, false, json!({"seq": 5, "path": "c"})));
    assert_eq!(keyed(Method::PUT, "c", "k1").await, (201, true, json!({"seq": 3, "path": "c"})));
    assert_eq!(keyed(Method::PUT, "c", "k2").await, (200, true, json!({"seq": 4, "path": "c"})));
    assert_eq!(keyed(Method::DELETE, "c", "k3").await, (200, true, json!({"seq": 5, "path": "c"})));
    assert_eq!(declared(&client).await, ["a.b"]);
    let reused = client.request(Method::PUT, &format!("{INDEXES}/d")).header("idempotency-key", "k1");
    assert_eq!(client.send(reused).await.problem(), "idempotency-key-reused");
    let gone = undeclare(&client, "c").await;
    assert_eq!((gone.status.as_u16(), gone.problem()), (404, "no-such-index"));
    // No vector has changed, so whoever has read the collection may go on.
    let matching = client.request(Method::PUT, &format!("{INDEXES}/e")).header("if-match", "\"1\"");
    client.send(matching).await.expect(201);
    assert_eq!(client.data_seq().await, 1);
    let stale = client.request(Method::DELETE, &format!("{INDEXES}/e")).header("if-match", "\"7\"");
    assert_eq!(client.send(stale).await.problem(), "precondition-failed");
    let with_body = client.put(&format!("{INDEXES}/f"), &json!({"type": "keyword"})).await;
    assert_eq!((with_body.status.as_u16(), with_body.problem()), (422, "unexpected-body"));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_64_paths_are_declared_and_each_of_them_is_one() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    for (written, code) in [
        ("a.", "invalid-index-path"),
        (".a", "invalid-index-path"),
        ("a%5D", "invalid-index-path"),
        ("%22a", "invalid-index-path"),
        ("a%5B0%5D", "invalid-index-path"),
        ("a%5B%5D%5B%5D", "invalid-index-path"),
        (&"a".repeat(1_025), "invalid-index-path"),
    ] {
        let refused = declare(&client, written).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (422, code), "{written}");
        let refused = undeclare(&client, written).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (422, code), "{written}");
    }
    let refused = declare(&client, "%ff").await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (400, "invalid-path"));
    assert_eq!(declared(&client).await, [""; 0]);

    let at_once = (0..70).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { declare(&client, &format!("p{number}")).await.status.as_u16() })
    });
    let mut statuses = Vec::new();
    for answer in at_once.collect::<Vec<_>>() {
        statuses.push(answer.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [[201].repeat(64), [409].repeat(6)].concat());
    let full = declared(&client).await;
    assert_eq!(full.len(), 64);
    let refused = declare(&client, "another").await;
    assert_eq!(refused.problem(), "too-many-indexes");
    assert!(refused.detail().contains("64 declared indexes"), "{}", refused.detail());
    // One of them is no other.
    declare(&client, &full[0]).await.expect(200);
    undeclare(&client, &full[1]).await.expect(200);
    declare(&client, "another").await.expect(201);
    // Names as odd as any: a slash, a dot, a quote, nothing at all.
    for path in full.iter().skip(2) {
        undeclare(&client, path).await.expect(200);
    }
    let odd = json!({"a/b": 1, "c.d": {"e\"f": [{"": 1}]}});
    put(&client, [("odd".to_owned(), odd)].into_iter()).await;
    for (written, path) in
        [("a%2Fb", "a/b"), (r"%22c.d%22.%22e%5C%22f%22%5B%5D.%22%22", r#""c.d"."e\"f"."""#)]
    {
        assert_eq!(declare(&client, written).await.expect(201)["path"], path);
        assert!(declared(&client).await.contains(&path.to_owned()));
        let filter = json!({"filter": {"must": [{"key": path, "match": {"value": 1}}]}});
        assert_eq!(client.post("/collections/words/count", &filter).await.expect(200)["count"], 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_are_their_collections_and_their_tenants_own() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    for client in [&acme, &globex] {
        client.create("words", 2, "dot").await;
    }
    declare(&acme, "mark-of-acme").await.expect(201);
    assert_eq!(declared(&globex).await, [""; 0]);
    assert_eq!(undeclare(&globex, "mark-of-acme").await.problem(), "no-such-index");
    declare(&globex, "mark-of-globex").await.expect(201);
    assert_eq!(declared(&acme).await, ["mark-of-acme"]);
    // Who may read sees them, and who may not manage collections does not declare any.
    assert_eq!(declared(&node.client(Key::ReadOnly(0))).await, ["mark-of-acme"]);
    for key in [Key::ReadOnly(0), Key::ReadWrite(0)] {
        declare(&node.client(key), "more").await.expect(403);
        undeclare(&node.client(key), "mark-of-acme").await.expect(403);
    }
    // A collection takes them with it.
    acme.delete("/collections/words").await.expect(200);
    acme.get(INDEXES).await.expect(404);
    acme.create("words", 2, "dot").await;
    assert_eq!(declared(&acme).await, [""; 0]);
    assert_eq!(declared(&globex).await, ["mark-of-globex"]);
}

fn run(command: &[&str], data: &Path) -> String {
    let folder = ["--data-dir", data.to_str().unwrap(), "--tenant", "acme"];
    let done = vectorizer([command, &folder[..]].concat());
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{command:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_are_in_the_log_and_cost_a_request_and_no_bytes() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 2, "dot").await;
    put(&client, [("a".to_owned(), json!({"n": 1}))].into_iter()).await;
    let storage = async || client.get("/cluster/usage").await.expect(200)["usage"]["storage_bytes"].clone();
    let before = storage().await;
    declare(&client, "a%5B%5D.b").await.expect(201);
    undeclare(&client, "a.b").await.expect(200);
    declare(&client, "n").await.expect(201);
    assert!(before.is_number() && storage().await == before, "{before}");
    let log = client.log("").await;
    let events: Vec<&Value> = log.iter().map(|line| &line["event"]).collect();
    let expected = [
        json!({"type": "index_declared", "collection": 1, "path": "a.b"}),
        json!({"type": "index_dropped", "collection": 1, "path": "a.b"}),
        json!({"type": "index_declared", "collection": 1, "path": "n"}),
    ];
    for expected in &expected {
        assert!(events.contains(&expected), "{expected} is not among {events:?}");
    }
    let csv = client.request(Method::GET, "/log?format=csv").send().await.unwrap().text().await.unwrap();
    assert_eq!(csv.matches(",index_declared,1,").count(), 2, "{csv}");
    node.stop();
    run(&["log", "verify"], data.path());
    let exported = run(&["log", "export"], data.path());
    assert_eq!(exported.matches("\"index_declared\"").count(), 2);
    let digest = run(&["replay"], data.path());
    assert!(digest.contains("digest"), "{digest}");
    run(&["bill"], data.path());
}
