//! The answer to a refused request arrives although the client is still sending, and a refusal costs little.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::Environment;
use vectorizer_hivehub::Permission;
use vectorizer_hub::NewKey;
use vectorizer_testing::{PATIENCE, Stopwatch};

use crate::support::certificates::{Pair, authority, client};
use crate::support::foreign_clients::{program, python};
use crate::support::hub_and_node::Cluster;
use crate::support::limits::limits;
use crate::support::node::{ACME, Key, Node};
use crate::support::secrets;

const REQUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/refused.py");
const FETCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/refused.mjs");

/// Requests that are refused before their bodies are read. `http` trusts the node.
async fn cases(cluster: &Cluster, http: &reqwest::Client) -> Value {
    const VECTORS: &str = "/api/v1/collections/words/vectors";
    let plenty = json!({"requests_per_minute": 1_000_000, "requests_per_hour": 1_000_000});
    cluster.tenant_with("acme", limits(plenty));
    cluster.tenant_with("poor", limits(json!({"requests_per_minute": 1, "requests_per_hour": 1_000_000})));
    let admin = cluster.key(Some("acme"), None);
    let tenant = Some("acme".parse().unwrap());
    let new = NewKey { permission: Permission::ReadOnly, tenant, expires_at: None };
    let reader = cluster.hub.create_key(Environment::Live, &new).unwrap();
    secrets::watch(reader.expose());
    let poor = cluster.key(Some("poor"), None);
    let url = format!("{}/api/v1/collections", cluster.node.url());
    assert_eq!(http.get(url).bearer_auth(poor.expose()).send().await.unwrap().status(), 200);
    let case = |method: &str, path: &str, key: Option<&str>, kind: &str, status: u16| {
        let mut headers = json!({"content-type": kind});
        if let Some(key) = key {
            headers["authorization"] = format!("Bearer {key}").into();
        }
        json!({"method": method, "path": path, "headers": headers, "status": status})
    };
    let (json, text) = ("application/json", "text/plain");
    json!([
        case("PUT", VECTORS, None, json, 401),
        case("PUT", VECTORS, Some(reader.expose()), json, 403),
        case("PUT", "/api/v1/nothing", Some(admin.expose()), json, 404),
        case("POST", "/api/v1/log", Some(admin.expose()), json, 405),
        case("PUT", VECTORS, Some(admin.expose()), text, 415),
        case("PUT", VECTORS, Some(poor.expose()), json, 429),
    ])
}

/// What a client says that sends all of `cases`, over TLS if there is a certificate.
fn tell(mut client: Command, certificate: Option<&Path>, cases: &Value) {
    if let Some(path) = certificate {
        client.env("NODE_EXTRA_CA_CERTS", path);
    }
    let mut client =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "over TLS: {}: {said}{failed}", certificate.is_some());
}

async fn gets_every_answer(started: impl Fn(&str, Option<&Path>) -> Command + Send + Clone + 'static) {
    for encrypted in [false, true] {
        let folder = TempDir::new().unwrap();
        let pair = Pair::at(folder.path());
        let root = authority("root");
        pair.issue(&root);
        let trusted = folder.path().join("root.pem");
        std::fs::write(&trusted, root.pem()).unwrap();
        let files = ["--tls-cert", pair.cert.to_str().unwrap(), "--tls-key", pair.key.to_str().unwrap()];
        let cluster = Cluster::start(folder.path(), if encrypted { &files } else { &[] }).await;
        let cases = cases(&cluster, &client(&root)).await;
        let (url, started) = (cluster.node.url().to_owned(), started.clone());
        let certificate = encrypted.then_some(trusted);
        let telling = move || tell(started(&url, certificate.as_deref()), certificate.as_deref(), &cases);
        tokio::task::spawn_blocking(telling).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_requests_gets_every_refusal_whatever_it_sends() {
    let Some(python) = python("import requests", "requests") else { return };
    let client = move |url: &str, certificate: Option<&Path>| {
        let mut client = Command::new(&python);
        client.args([REQUESTS, url]).args(certificate).env("NO_PROXY", "*");
        client
    };
    gets_every_answer(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_fetch_gets_every_refusal_whatever_it_sends() {
    if program("node").is_none() {
        return;
    }
    let client = |url: &str, _: Option<&Path>| {
        let mut client = program("node").unwrap();
        client.args([FETCH, url]);
        client
    };
    gets_every_answer(client).await;
}

/// An upsert's head. Without a key, it is refused.
fn head(key: Option<&str>, headers: &str) -> String {
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    format!(
        "PUT /api/v1/collections/words/vectors HTTP/1.1\r\nHost: x\r\n{key}Content-Type: application/json\r\n\
         {headers}\r\n"
    )
}

fn connected(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.authority()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next answer on this connection: its status, its head in lower case, and its body.
fn answer(stream: &mut TcpStream) -> (u16, String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length =
        head.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head[9..12].parse().unwrap(), head, String::from_utf8(body).unwrap())
}

#[test]
fn a_connection_goes_on_after_a_refused_body_that_is_small_and_its_end_is_announced_after_a_large_one() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let mut stream = connected(&node);
    for body in ["{}".to_owned(), "x".repeat(100_000), "x".repeat(250_000)] {
        for chunked in [false, true] {
            let (length, body) = if chunked {
                (
                    "Transfer-Encoding: chunked\r\n".to_owned(),
                    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
                )
            } else {
                (format!("Content-Length: {}\r\n", body.len()), body.clone())
            };
            stream.write_all(head(None, &length).as_bytes()).unwrap();
            // The server may refuse without reading it.
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(body.as_bytes()).unwrap();
            let (status, head, said) = answer(&mut stream);
            assert_eq!(status, 401, "{said}");
            assert!(!head.contains("connection: close"), "{head}");
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let (status, _, said) = answer(&mut stream);
            assert_eq!((status, said.contains("\"ok\"")), (200, true), "{said}");
        }
    }
    // A client that takes its answer only after it has sent everything.
    let mebibyte = vec![b' '; 1 << 20];
    stream.write_all(head(None, &format!("Content-Length: {}\r\n", 20 * mebibyte.len())).as_bytes()).unwrap();
    for _ in 0..20 {
        stream.write_all(&mebibyte).unwrap();
    }
    let (status, head, _) = answer(&mut stream);
    assert_eq!(status, 401);
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the end, and no reset");
}

#[test]
fn a_refused_body_that_never_ends_is_not_read_for_ever() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let mut stream = connected(&node);
    stream.write_all(head(None, "Content-Length: 1000000000000\r\n").as_bytes()).unwrap();
    let mebibyte = vec![b' '; 1 << 20];
    let mut sent = 0_u64;
    let started = Instant::now();
    while stream.write_all(&mebibyte).is_ok() {
        sent += 1 << 20;
        assert!(sent < 1 << 30 && started.elapsed() < 2 * PATIENCE, "{sent} bytes were taken");
    }
    assert!(sent >= 64 << 20, "only {sent} bytes were taken");
    // One that sends nothing more is not waited for.
    let mut stream = connected(&node);
    stream.write_all(head(None, "Content-Length: 100\r\n").as_bytes()).unwrap();
    let asked = Stopwatch::start();
    let (status, head, _) = answer(&mut stream);
    assert_eq!((status, head.contains("connection: close")), (401, true), "{head}");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // It does not hold up a stop either.
    let asked = Stopwatch::start();
    node.stop();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn a_body_that_waits_for_a_word_is_not_asked_for_if_its_head_is_refused() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let key = node.key(ACME);
    let reader = node.key(Key::ReadOnly(0));
    for (key, length, refused) in
        [(None, 10, 401), (Some(&reader), 10, 403), (Some(&key), 1 << 30, 413), (None, 1 << 30, 401)]
    {
        let mut stream = connected(&node);
        let headers = format!("Content-Length: {length}\r\nExpect: 100-continue\r\n");
        stream.write_all(head(key.map(String::as_str), &headers).as_bytes()).unwrap();
        let (status, head, said) = answer(&mut stream);
        assert_eq!(status, refused, "{said}");
        // What comes next could be the body or a request.
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    let mut stream = connected(&node);
    let body = json!({"vectors": [{"id": "a", "vector": [1]}]}).to_string();
    let headers = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    stream.write_all(head(Some(&key), &headers).as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).0, 100);
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).0, 404, "there is no such collection");
}

#[test]
fn a_head_beyond_its_limit_is_refused_as_a_problem_and_one_within_it_is_served() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    for (bytes, right) in [(30_000, 200), (40_000, 431), (400_000, 431), (4_000_000, 431)] {
        let mut stream = connected(&node);
        // Not the first request on its connection.
        for pad in [10, bytes] {
            let head =
                format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Pad: {}\r\n\r\n", "x".repeat(pad));
            for piece in head.as_bytes().chunks(5_000) {
                stream.write_all(piece).unwrap();
            }
            let (status, head, said) = answer(&mut stream);
            assert_eq!(status, if pad == 10 { 200 } else { right }, "{said}");
            if status == 431 {
                assert!(said.contains("urn:vectorizer:problem:head-too-large"), "{said}");
                assert!(
                    head.contains("application/problem+json") && head.contains("connection: close"),
                    "{head}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_never_whole_take_little_memory_and_no_other_client_waits() {
    const CONNECTIONS: usize = 1_000;
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    node.keyless().get("/collections").await.expect(200);
    let before = node.peak_kibibytes();
    let open = |_| {
        let mut stream = connected(&node);
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Pad: ").unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..CONNECTIONS).map(open).collect();
    for stream in &mut slow {
        // Those beyond a limit are refused, and may be gone.
        for _ in 0..80 {
            if stream.write_all(&[b'x'; 5_000]).is_err() {
                break;
            }
        }
    }
    for _ in 0..5 {
        let other = node.keyless_from([127, 0, 0, 2].into());
        let asked = Stopwatch::start();
        other.get("/collections").await.expect(200);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    let grown = node.peak_kibibytes() - before;
    assert!(grown < 100 << 10, "{CONNECTIONS} unfinished heads took {grown} KiB");
    let statuses: Vec<u16> = slow.iter_mut().map(|stream| answer(stream).0).collect();
    assert!(statuses.iter().all(|status| [431, 503].contains(status)), "{statuses:?}");
}
