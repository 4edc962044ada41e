//! Work is bounded before it is done: one tenant's large and unfinished bodies cost the others neither time nor memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_testing::Stopwatch;

use crate::support::node::{ACME, Client, GLOBEX, Key, Node};

const BODY_BYTES: usize = 32 << 20;
const MESSAGE_BYTES: usize = 4 << 20;

/// How much longer than alone a small request may take, and what it may take however quick it is alone: the programs
/// of tests are slow, and the machine may have other work. Without bounds it is tens of seconds.
const TIMES_ALONE: u32 = 20;
const AT_MOST: Duration = Duration::from_secs(3);

/// A request as it goes over the connection: with all of its body, or all but the last byte.
fn request(node: &Node, key: Key, path: &str, body: &[u8], whole: bool) -> Vec<u8> {
    let (key, length) = (node.key(key), body.len());
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n",
        node.authority()
    )
    .into_bytes();
    request.extend_from_slice(if whole { body } else { &body[..length - 1] });
    request
}

/// Sends it; the connection stays open. A server may refuse it before it has all.
fn send(authority: &str, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(authority).unwrap();
    let _ = stream.write_all(request);
    stream
}

/// Sends it from some connections again and again, until it is dropped; what it was answered first.
struct Attack {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    fn begin(node: &Node, connections: usize, request: Vec<u8>) -> Self {
        let (ends, request) = (Arc::new(AtomicBool::new(false)), Arc::new(request));
        let threads = (0..connections).map(|_| {
            let (ends, request, authority) =
                (Arc::clone(&ends), Arc::clone(&request), node.authority().to_owned());
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let mut stream = send(&authority, &request);
                    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                    let mut answer = [0; 4096];
                    // Until it is answered, the connection breaks or the attack ends.
                    while !ends.load(Ordering::Relaxed) {
                        match stream.read(&mut answer) {
                            Ok(0) => break,
                            Ok(_) => {}
                            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
                            Err(_) => break,
                        }
                    }
                }
            })
        });
        Self { threads: threads.collect(), ends }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The tenant that others must not delay.
struct Other {
    client: Client,
    /// About 91 KiB, as it is written.
    upsert: Value,
    alone: Duration,
}

impl Other {
    async fn new(node: &Node) -> Self {
        let client = node.client(GLOBEX);
        client.create("words", 64, "dot").await;
        let vector: Vec<f32> = (0..64_u8).map(|number| f32::from(number) + 0.123).collect();
        let vectors: Vec<Value> =
            (0..200).map(|id| json!({"id": id.to_string(), "vector": vector})).collect();
        let mut other = Self { client, upsert: json!({"vectors": vectors}), alone: Duration::ZERO };
        other.slowest().await;
        other.alone = other.slowest().await;
        other
    }

    /// How long the slowest of some small requests takes; all of them are answered.
    async fn slowest(&self) -> Duration {
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let started = Stopwatch::start();
            let search = json!({"vector": vec![1; 64], "limit": 1});
            let found = self.client.post("/collections/words/search", &search).await;
            found.expect(200);
            self.client.put("/collections/words/vectors", &self.upsert).await.expect(200);
            slowest = slowest.max(started.elapsed());
        }
        slowest
    }

    async fn is_not_held_up(&self, by: &str) {
        let slowest = self.slowest().await;
        let allowed = AT_MOST.max(self.alone * TIMES_ALONE);
        assert!(slowest < allowed, "{by}: {slowest:?}, alone {:?}", self.alone);
    }
}

/// A body of about this size: `piece` again and again between `begin` and `end`.
fn repeated(bytes: usize, begin: &str, piece: &str, end: &str) -> Vec<u8> {
    let times = (bytes - begin.len() - end.len()) / (piece.len() + 1);
    format!("{begin}{}{end}", vec![piece; times].join(",")).into_bytes()
}

/// Large bodies that come to nothing, each an attack on another part of the way.
fn large_bodies() -> [(&'static str, &'static str, Vec<u8>); 4] {
    [
        (
            "a filter for a collection that is not there",
            "/api/v1/collections/none/count",
            repeated(BODY_BYTES, r#"{"filter":{"must":["#, r#"{"":0}"#, "]}}"),
        ),
        (
            "a filter with too many conditions",
            "/api/v1/collections/words/count",
            repeated(BODY_BYTES, r#"{"filter":{"must":["#, r#"{"":0}"#, "]}}"),
        ),
        (
            "a batch with an error at its end",
            "/api/v1/collections/words/search/batch",
            repeated(BODY_BYTES, r#"{"searches":["#, r#"{"vector":[1]}"#, ",5]}"),
        ),
        (
            "a search with an error at its end",
            "/api/v1/collections/words/search",
            repeated(BODY_BYTES, r#"{"vector":[1],"filter":["#, r#"{"a":{"b":[]}}"#, r#"],"surprise":1}"#),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_come_to_nothing_hold_no_other_tenant_up() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    node.client(ACME).create("words", 1, "dot").await;
    let other = Other::new(&node).await;
    for (what, path, body) in large_bodies() {
        let attack = Attack::begin(&node, 3, request(&node, Key::ReadOnly(0), path, &body, true));
        other.is_not_held_up(what).await;
        drop(attack);
    }
    let peak = node.peak_kibibytes() / 1024;
    assert!(peak < 1_000, "the node has had {peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_hold_no_other_tenant_up() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let other = Other::new(&node).await;
    let call = |tool: &str, begin: &str, piece: &str, end: &str| {
        let head = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""#;
        let begin = format!(r#"{head}{tool}","arguments":{{"collection":"none",{begin}"#);
        repeated(MESSAGE_BYTES, &begin, piece, &format!("{end}}}}}}}"))
    };
    for (what, message) in [
        ("a filter", call("count", r#""filter":{"must":["#, r#"{"":0}"#, "]}")),
        ("records", call("upsert", r#""records":["#, r#"{"":0}"#, "]")),
        (
            "no call",
            repeated(
                MESSAGE_BYTES,
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":["#,
                r#"{"":0}"#,
                "]}}",
            ),
        ),
    ] {
        let attack = Attack::begin(&node, 20, request(&node, ACME, "/mcp", &message, true));
        other.is_not_held_up(what).await;
        drop(attack);
    }
    let peak = node.peak_kibibytes() / 1024;
    assert!(peak < 1_000, "the node has had {peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_never_end_hold_no_other_tenant_up() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let other = Other::new(&node).await;
    let message = vec![b' '; MESSAGE_BYTES];
    // More than the node has room for, and more than it answers at the same time.
    let unfinished = request(&node, ACME, "/mcp", &message, false);
    let mut held: Vec<TcpStream> = (0..72).map(|_| send_some(&node, &unfinished)).collect();
    let tiny = request(&node, ACME, "/mcp", b"{}", false);
    held.extend((0..128).map(|_| send(node.authority(), &tiny)));
    other.is_not_held_up("unfinished messages").await;
    let ask =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_collections"}});
    let started = Stopwatch::start();
    let asked = other.client.request_at(reqwest::Method::POST, "/mcp").bearer_auth(node.key(GLOBEX));
    let asked = asked.header("accept", "application/json, text/event-stream").json(&ask);
    other.client.send(asked).await.expect(200);
    assert!(started.elapsed() < AT_MOST, "{:?}", started.elapsed());
    drop(held);
}

/// Sends as much as is taken at once: a server that has no room for it does not read on.
fn send_some(node: &Node, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(node.authority()).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = stream.write_all(request);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_for_a_collection_that_is_not_there_is_answered_without_work_on_it() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    // Not even JSON, which would be said first if it were looked at.
    for (method, path) in [
        (reqwest::Method::POST, "/collections/none/count"),
        (reqwest::Method::POST, "/collections/none/search"),
        (reqwest::Method::POST, "/collections/none/search/batch"),
        (reqwest::Method::PUT, "/collections/none/vectors"),
        (reqwest::Method::POST, "/collections/none/vectors/delete"),
        (reqwest::Method::PATCH, "/collections/none/vectors/a/payload"),
    ] {
        let request = client.request(method, path).header("content-type", "application/json");
        let answer = client.send(request.body("!".repeat(1 << 20))).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (404, "no-such-collection"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_refused_at_its_first_element_too_many() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    let many = |piece: &str, count: usize| vec![piece; count].join(",");
    let points = many(r#"{"id":"a"}"#, 100_000);
    let ids = many("\"a\"", 100_000);
    // What comes behind it is not even JSON, which would be said if it were read.
    for (method, path, body, status, code, says) in [
        (
            reqwest::Method::POST,
            "/collections/words/search/batch",
            format!("{{\"searches\":[{},!", many(r#"{"vector":[1]}"#, 101)),
            422,
            "invalid-batch",
            "searches: it holds 101 or more",
        ),
        (
            reqwest::Method::PUT,
            "/collections/words/vectors",
            format!("{{\"vectors\":[{points},{{\"id\":\"b\"}},!"),
            413,
            "write-too-large",
            "vectors: it holds more than 100000",
        ),
        (
            reqwest::Method::POST,
            "/collections/words/vectors/delete",
            format!("{{\"ids\":[{ids},\"b\",!"),
            413,
            "write-too-large",
            "ids: it holds more than 100000",
        ),
    ] {
        let request = client.request(method, path).header("content-type", "application/json");
        let answer = client.send(request.body(body)).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (status, code), "{}", answer.body);
        assert!(answer.detail().starts_with(says), "{}", answer.body);
    }
    let lines = vec![r#"{"id":"a","vector":[1]}"#; 100_001].join("\n");
    let request = client.request(reqwest::Method::PUT, "/collections/words/vectors");
    let answer = client.send(request.header("content-type", "application/x-ndjson").body(lines)).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (413, "write-too-large"), "{}", answer.body);
    assert!(answer.detail().starts_with("line 100001: "), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_sends_more_than_can_be_parsed_is_told_so_and_no_other() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    node.client(ACME).create("words", 1, "dot").await;
    let other = Other::new(&node).await;
    // Each is parsed whole, since its error is at the end.
    let body =
        repeated(900_000, r#"{"vectors":["#, r#"{"id":"a","vector":[1],"payload":{"a":[[],{}]}}"#, ",5]}");
    let request = request(&node, ACME, "/api/v1/collections/words/vectors", &body, true);
    let request: Vec<u8> = [b"PUT".as_slice(), &request[4..]].concat();
    let attack = Attack::begin(&node, 96, request.clone());
    other.is_not_held_up("many bodies at once").await;
    drop(attack);
}
