//! What one client does, or fails to do, costs the others nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{ACME, GLOBEX, Key, Node};

/// Opens a request with a body and sends none of it.
fn idle_upload(node: &Node, length: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.url().trim_start_matches("http://")).unwrap();
    let key = node.key(Key::ReadOnly(0));
    let head = format!(
        "POST /api/v1/collections/words/search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\n{length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_hold_nobody_up() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(GLOBEX);
    client.create("words", 2, "dot").await;
    let idle: Vec<TcpStream> = (0..64)
        .map(|number| match number % 2 {
            0 => idle_upload(&node, "Content-Length: 33554432"),
            _ => idle_upload(&node, "Transfer-Encoding: chunked"),
        })
        .collect();
    for round in 0..20 {
        let started = Instant::now();
        let body = json!({"vectors": [{"id": round.to_string(), "vector": [1, 2]}]});
        client.put("/collections/words/vectors", &body).await.expect(200);
        assert!(started.elapsed() < Duration::from_secs(4), "a write waited for other people's bodies");
    }
    // And they are not waited for for ever.
    let mut first = idle.into_iter().next().unwrap();
    first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 64];
    let read = first.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 408 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_wakes_although_whoever_woke_it_has_left() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 128, "dot").await;
    for batch in 0..20 {
        let vectors: Vec<Value> =
            (0..1_000).map(|id| json!({"id": format!("{batch}-{id}"), "vector": vec![id; 128]})).collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
    node.kill();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    // Each leaves before the log can have been read; the waking they asked for goes on.
    for _ in 0..3 {
        let impatient =
            client.request(reqwest::Method::GET, "/collections").timeout(Duration::from_millis(15));
        let _ = impatient.send().await;
    }
    assert_eq!(client.get("/collections").await.expect(200)["collections"][0]["count"], 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_should_hold_is_refused_before_it_is_made() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 4_096, "dot").await;
    for batch in 0..4 {
        let vectors: Vec<Value> =
            (0..100).map(|id| json!({"id": format!("{batch}-{id}"), "vector": vec![id; 4_096]})).collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
    let search = json!({"vector": vec![1; 4_096], "limit": 400, "with_vector": true});
    let one = client.post("/collections/words/search", &search).await.expect(200);
    assert_eq!(one["results"].as_array().unwrap().len(), 400);
    let batch = json!({"searches": vec![search; 4]});
    let many = client.post("/collections/words/search/batch", &batch).await;
    assert_eq!((many.status.as_u16(), many.problem()), (422, "answer-too-large"), "{}", many.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_share_a_data_folder() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let folder = data.path().to_str().unwrap();
    let second = crate::node::vectorizer(["serve", "--listen", "127.0.0.1:0", "--data-dir", folder]);
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another server uses it"));
    node.stop();
}
