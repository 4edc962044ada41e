//! HTTP as clients and browsers speak it: compressed bodies and answers, and pages of other origins.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::hub_and_node::Cluster;
use crate::support::node::{Answer, Client, Node, vectorizer};

const PAGE: &str = "https://app.example.com";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut unpacked).unwrap();
    unpacked
}

async fn put(client: &Client, encoding: &str, body: Vec<u8>) -> Answer {
    let request = client.request(Method::PUT, "/collections/words/vectors");
    let request = request.header("content-type", "application/json").header("content-encoding", encoding);
    Answer::read(request.body(body).send().await.unwrap()).await
}

fn upsert(count: usize) -> Vec<u8> {
    let vectors = (0..count).map(|n| json!({"id": format!("v{n}"), "vector": [n, 1], "payload": {"n": n}}));
    json!({"vectors": vectors.collect::<Vec<_>>()}).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_accepted_and_invalid_ones_are_named() {
    let folder = TempDir::new().unwrap();
    let node = Node::start("serve", folder.path(), &["--body-bytes-max", "1000000"]);
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    for (encoding, body, upserted) in [
        ("gzip", gzip(&upsert(1)), 1),
        ("x-gzip", gzip(&upsert(1)), 1),
        ("GZIP", gzip(&upsert(5_000)), 5_000),
        ("zstd", zstd(&upsert(1)), 1),
        ("zstd", zstd(&upsert(5_000)), 5_000),
        ("identity", upsert(2), 2),
        ("", upsert(2), 2),
    ] {
        assert_eq!(put(&client, encoding, body).await.expect(200)["upserted"], upserted, "{encoding:?}");
    }
    let count = client.post("/collections/words/count", &json!({})).await.expect(200);
    assert_eq!(count["count"], 5_000);

    for (encoding, body) in
        [("br", upsert(1)), ("deflate", upsert(1)), ("gzip, zstd", gzip(&upsert(1))), ("nonsense", upsert(1))]
    {
        let refused = put(&client, encoding, body).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (415, "unsupported-content-encoding"));
        assert!(refused.detail().contains(encoding) && refused.detail().contains("gzip or zstd"));
        assert_eq!(refused.headers["accept-encoding"], "gzip, zstd");
    }
    let cut = gzip(&upsert(100));
    for (encoding, body) in [
        ("gzip", upsert(1)),
        ("gzip", zstd(&upsert(1))),
        ("gzip", cut[..cut.len() / 2].to_vec()),
        ("gzip", Vec::new()),
        ("zstd", upsert(1)),
        ("zstd", gzip(&upsert(1))),
        ("zstd", [zstd(&upsert(1)), vec![0]].concat()),
    ] {
        let refused = put(&client, encoding, body).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (400, "malformed-encoding"), "{encoding}");
        assert!(refused.detail().starts_with("the body "), "{}", refused.detail());
    }
    // What is in it is looked at as ever.
    let refused = put(&client, "gzip", gzip(b"{\"vectors\": 5}")).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (422, "invalid-body"));
    assert_eq!(client.post("/collections/words/count", &json!({})).await.expect(200)["count"], 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_that_unpacks_to_a_huge_one_is_refused_at_the_limit_of_every_body() {
    const MIB: usize = 1 << 20;
    let folder = TempDir::new().unwrap();
    let node = Node::start("serve", folder.path(), &["--body-bytes-max", "4194304"]);
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    let before = node.peak_kibibytes();
    for (encoding, body) in [("gzip", gzip(&vec![b' '; 64 * MIB])), ("zstd", zstd(&vec![b' '; 64 * MIB]))] {
        assert!(body.len() < 4 * MIB);
        let sending = (0..16).map(|_| {
            let (client, body) = (client.clone(), body.clone());
            tokio::spawn(async move { put(&client, encoding, body).await })
        });
        let sending: Vec<_> = sending.collect();
        for sent in sending {
            let refused = sent.await.unwrap();
            match refused.status.as_u16() {
                413 => assert_eq!(refused.problem(), "body-too-large"),
                _ => assert_eq!(refused.problem(), "busy"),
            }
        }
        let refused = put(&client, encoding, body).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (413, "body-too-large"));
        assert_eq!(refused.detail(), "the body has more than 4194304 bytes");
    }
    let taken = (node.peak_kibibytes() - before) / 1024;
    assert!(taken < 100, "{taken} MiB");
    // A window that no decoder has to have, and a size that is a lie.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&upsert(2)).unwrap();
    assert_eq!(put(&client, "zstd", encoder.finish().unwrap()).await.problem(), "malformed-encoding");
    for claimed in [0, 1, 1_000, u32::MAX] {
        let mut lie = gzip(&upsert(1_000));
        let end = lie.len() - 4;
        lie[end..].copy_from_slice(&claimed.to_le_bytes());
        assert_eq!(put(&client, "gzip", lie).await.problem(), "malformed-encoding");
    }
}

async fn page(client: &Client, accepted: Option<&str>, limit: usize) -> Response {
    let path = format!("/collections/words/vectors?limit={limit}&with_vector=true");
    let mut request = client.request(Method::GET, &path);
    if let Some(accepted) = accepted {
        request = request.header("accept-encoding", accepted);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_clients_that_ask_and_say_the_same() {
    let folder = TempDir::new().unwrap();
    let node = Node::start("serve", folder.path(), &[]);
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    put(&client, "gzip", gzip(&upsert(1_000))).await.expect(200);
    // One answer that is compressed on the spot, and one in pieces.
    for limit in [100, 1_000] {
        let plain = page(&client, None, limit).await;
        assert!(plain.headers().get("content-encoding").is_none());
        assert_eq!(plain.headers()["vary"], "accept-encoding");
        let plain = plain.bytes().await.unwrap();
        let zipped = page(&client, Some("gzip, deflate, br"), limit).await;
        assert_eq!(zipped.headers()["content-encoding"], "gzip");
        let zipped = zipped.bytes().await.unwrap();
        assert!(3 * zipped.len() < plain.len(), "{} of {}", zipped.len(), plain.len());
        assert_eq!(unzipped(&zipped), plain);
        let packed = page(&client, Some("gzip;q=0.5, zstd"), limit).await;
        assert_eq!(packed.headers()["content-encoding"], "zstd");
        let packed = packed.bytes().await.unwrap();
        assert_eq!(zstd::stream::decode_all(&packed[..]).unwrap(), plain);
        let refused = page(&client, Some("gzip;q=0, br"), limit).await;
        assert!(refused.headers().get("content-encoding").is_none());
    }
    // A packet is a packet.
    let small = page(&client, Some("gzip"), 1).await;
    assert!(small.headers().get("content-encoding").is_none());
    // Lines that are followed come as they are written.
    let log = client.request(Method::GET, "/log").header("accept-encoding", "gzip").send().await.unwrap();
    assert!(log.headers().get("content-encoding").is_none());
    assert!(log.text().await.unwrap().lines().count() > 1);
}

/// What a browser asks before a page's request.
async fn preflight(client: &Client, origin: &str) -> Response {
    client
        .request_at(Method::OPTIONS, "/api/v1/collections/words/vectors")
        .header("origin", origin)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "authorization,content-type,idempotency-key")
        .send()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_origins_that_are_named_may_use_the_api_and_no_others() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &["--cors-origins", PAGE]).await;
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let client = cluster.node.keyless();
    let allowed = preflight(&client, PAGE).await;
    assert!(allowed.status().is_success());
    assert_eq!(allowed.headers()["access-control-allow-origin"], PAGE);
    assert!(allowed.headers().get("access-control-allow-credentials").is_none());
    for (header, named) in [
        ("access-control-allow-methods", ["PUT", "PATCH", "DELETE"]),
        ("access-control-allow-headers", ["authorization", "content-type", "idempotency-key"]),
    ] {
        let value = allowed.headers()[header].to_str().unwrap();
        assert!(named.iter().all(|name| value.contains(name)), "{header}: {value}");
    }
    for origin in ["https://evil.example", "http://app.example.com", "https://app.example.com:444", "null"] {
        let refused = preflight(&client, origin).await;
        assert!(refused.headers().get("access-control-allow-origin").is_none(), "{origin}");
    }
    // A page can read what went wrong, and when to come again.
    let request = client.request(Method::GET, "/collections").header("origin", PAGE);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["access-control-allow-origin"], PAGE);
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(["retry-after", "x-request-id", "ratelimit"].iter().all(|name| exposed.contains(name)));
    // And speak MCP: it gets as far as its key.
    let message = |origin: &str| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let request = client.request_at(Method::POST, "/mcp").bearer_auth(key.expose());
        request
            .header("accept", "application/json, text/event-stream")
            .header("origin", origin)
            .json(&message)
            .send()
    };
    assert_eq!(message(PAGE).await.unwrap().status(), 200);
    assert_eq!(message("https://evil.example").await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_origins_no_page_is_told_anything_and_any_can_be_allowed() {
    let folder = TempDir::new().unwrap();
    let node = Node::start("serve", folder.path(), &[]);
    let refused = preflight(&node.keyless(), PAGE).await;
    assert_eq!(refused.status(), 405);
    assert!(refused.headers().get("access-control-allow-origin").is_none());
    node.stop();
    let node = Node::start("serve", folder.path(), &["--cors-origins", "*"]);
    let allowed = preflight(&node.keyless(), PAGE).await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], "*");
    let output = vectorizer(["serve", "--cors-origins", "app.example.com"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("an origin such as https://app.example.com"), "{said}");
    let _: Value = node.keyless().get("/collections").await.body;
}
