//! Every id that can be stored can be read, patched and deleted, whatever clients make of it in a path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::Node;

const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const IDS: [&str; 24] = [
    "a/b",
    "a%2Fb",
    "..",
    ".",
    "...",
    "a b",
    "a?b=c#d",
    "é",
    "e\u{301}",
    "delete",
    "a\\b",
    "日本",
    "\u{1f600}",
    "a+b",
    "a;b",
    "search",
    "payload",
    "..%2f",
    "%",
    "./..",
    "vectors",
    "%2e%2e",
    "~",
    "count",
];

/// A request as it is, for what clients would not send.
fn raw(node: &Node, method: &str, path: &str, body: &str) -> Value {
    let (host, length) = (node.authority(), body.len());
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    node.raw(request.as_bytes()).expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_id_can_be_read_patched_and_deleted_by_its_path() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    let vectors: Vec<Value> =
        IDS.iter().map(|id| json!({"id": id, "vector": [1], "payload": {"me": id}})).collect();
    client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    for id in IDS {
        let path = format!("/collections/words/vectors/{}", utf8_percent_encode(id, &UNRESERVED));
        // This client shortens dots in paths, as all do that take them from URLs.
        let read = client.get(&path).await.expect(200);
        assert_eq!((&read["id"], &read["payload"]["me"]), (&json!(id), &json!(id)));
        assert_eq!(raw(&node, "GET", &path, "")["id"], id);
        let patch = client.request(Method::PATCH, &format!("{path}/payload")).json(&json!({"client": id}));
        client.send(patch).await.expect(200);
        raw(&node, "PATCH", &format!("{path}/payload"), r#"{"raw":true}"#);
        let read = client.get(&path).await.expect(200);
        assert_eq!(read["payload"], json!({"me": id, "client": id, "raw": true}));
    }
    for (number, id) in IDS.iter().enumerate() {
        let path = format!("/collections/words/vectors/{}", utf8_percent_encode(id, &UNRESERVED));
        if number % 2 == 0 {
            assert_eq!(client.delete(&path).await.expect(200)["deleted"], 1, "{id}");
        } else {
            assert_eq!(raw(&node, "DELETE", &path, "")["deleted"], 1, "{id}");
        }
        assert_eq!(client.get(&path).await.status, 404, "{id}");
    }
    let facts = client.get("/collections/words").await.expect(200);
    assert_eq!(facts["count"], 0);
}
