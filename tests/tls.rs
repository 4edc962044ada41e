//! TLS: certificates are renewed without a stop, and a client that never ends its handshake delays no other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use vectorizer_testing::{PATIENCE, Stopwatch, Wait, eventually};

use crate::support::certificates::{Authority, Pair, authority, client, client_from, replace};
use crate::support::node::{Node, vectorizer};

/// How long a handshake may take, and what a busy machine adds.
const HANDSHAKE: Duration = Duration::from_secs(10);
const LEEWAY: Duration = Duration::from_secs(8);

async fn is_served(client: &reqwest::Client, node: &Node) -> bool {
    client.get(format!("{}/ready", node.url())).send().await.is_ok_and(|answer| answer.status() == 200)
}

/// Shakes hands offering these protocols; what was agreed upon.
async fn agreed(
    root: &Authority,
    node: &Node,
    protocols: &[&[u8]],
) -> std::io::Result<(Option<Vec<u8>>, Option<ProtocolVersion>)> {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    let stream = tokio::net::TcpStream::connect(node.authority()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let session = stream.get_ref().1;
    Ok((session.alpn_protocol().map(<[u8]>::to_vec), session.protocol_version()))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_trust_the_issuer_and_speak_http_1_1_are_served_over_tls() {
    let folder = TempDir::new().unwrap();
    let (root, pair) = (authority("root"), Pair::at(folder.path()));
    pair.issue(&root);
    let node = pair.node(&folder.path().join("data"));
    assert!(node.url().starts_with("https://"));
    let http = client(&root);
    let api = format!("{}/api/v1", node.url());
    let made = http.post(format!("{api}/collections"));
    let made = made.json(&json!({"name": "words", "dimension": 2, "metric": "dot"})).send().await.unwrap();
    assert_eq!((made.status().as_u16(), made.version()), (201, reqwest::Version::HTTP_11));
    // More than any buffer on the way.
    let vectors: Vec<_> = (0..2_000)
        .map(|id| json!({"id": id.to_string(), "vector": [id, 1], "payload": {"text": "x".repeat(500)}}))
        .collect();
    let put = http.put(format!("{api}/collections/words/vectors")).json(&json!({ "vectors": vectors }));
    assert_eq!(put.send().await.unwrap().status(), 200);
    let search =
        http.post(format!("{api}/collections/words/search")).json(&json!({"vector": [1, 0], "limit": 1000}));
    let found: serde_json::Value = search.send().await.unwrap().json().await.unwrap();
    assert_eq!(found["results"].as_array().unwrap().len(), 1_000);
    assert_eq!(found["results"][0]["id"], "1999");

    assert!(!is_served(&client(&authority("root")), &node).await, "another authority of the same name");
    let (protocol, version) = agreed(&root, &node, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!((protocol.as_deref(), version), (Some(&b"http/1.1"[..]), Some(ProtocolVersion::TLSv1_3)));
    assert_eq!(agreed(&root, &node, &[]).await.unwrap().0, None);
    assert!(agreed(&root, &node, &[b"h2"]).await.is_err(), "a protocol that is not spoken");
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
}

#[test]
fn unusable_certificates_are_reported_with_the_cause_at_the_start() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (one, other) =
        (Pair::at(folder.path()), Pair { cert: path("other.pem"), key: path("other-key.pem") });
    let root = authority("root");
    one.issue(&root);
    other.issue(&root);
    let key = std::fs::read_to_string(&one.key).unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("cut"), &key[..key.len() / 2]).unwrap();
    std::fs::write(path("text"), "-----BEGIN CERTIFICATE-----\nno base 64 !\n-----END CERTIFICATE-----\n")
        .unwrap();
    std::fs::write(path("nonsense"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    std::fs::write(path("locked"), key.replace("PRIVATE", "ENCRYPTED PRIVATE")).unwrap();
    std::fs::write(path("large"), "#".repeat(2 << 20)).unwrap();
    let refusal = |cert: &Path, key: &Path| {
        let data = path("data");
        let flags = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap(), "--tls-cert"];
        let files = [cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        let output = vectorizer(flags.into_iter().chain(files));
        assert_eq!(output.status.code(), Some(2), "{cert:?} {key:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains(&secret), "{said}");
        said
    };
    for (cert, key, words) in [
        (path("nowhere"), one.key.clone(), ["server.tls.cert", "nowhere", "No such file"]),
        (one.cert.clone(), path("nowhere"), ["server.tls.key", "nowhere", "No such file"]),
        (path("large"), one.key.clone(), ["server.tls.cert", "large", "too large"]),
        (path("empty"), one.key.clone(), ["server.tls.cert", "empty", "no certificate"]),
        (one.key.clone(), one.key.clone(), ["server.tls.cert", "key.pem", "no certificate"]),
        (path("text"), one.key.clone(), ["server.tls.cert", "text", "base64"]),
        (path("nonsense"), one.key.clone(), ["server.tls.cert", "nonsense", "cannot be used"]),
        (one.cert.clone(), path("empty"), ["server.tls.key", "empty", "no private key"]),
        (one.cert.clone(), path("cut"), ["server.tls.key", "cut", "no end"]),
        (one.cert.clone(), path("locked"), ["server.tls.key", "locked", "no private key without a password"]),
        (
            one.cert.clone(),
            other.key.clone(),
            ["server.tls.cert", "server.tls.key", "cannot be used together"],
        ),
    ] {
        let said = refusal(&cert, &key);
        for word in words {
            assert!(said.contains(word), "{cert:?} {key:?}: {said}");
        }
    }
    let flags = ["serve", "--tls-cert", one.cert.to_str().unwrap()];
    let half = vectorizer(flags);
    assert_eq!(half.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&half.stderr).contains("server.tls.key is not"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_stop_and_one_that_cannot_be_used_is_not() {
    let folder = TempDir::new().unwrap();
    let pair = Pair::at(folder.path());
    let roots = [authority("first"), authority("second"), authority("third")];
    pair.issue(&roots[0]);
    let node = pair.node(&folder.path().join("data"));
    let first = client(&roots[0]);
    assert!(is_served(&first, &node).await && !is_served(&client(&roots[1]), &node).await);
    let becomes = async |root: &Authority| {
        eventually("the new certificate is shown", async || is_served(&client(root), &node).await).await;
    };
    // By signal, at once.
    pair.issue(&roots[1]);
    let asked = Stopwatch::start();
    node.signal("HUP");
    becomes(&roots[1]).await;
    assert!(asked.elapsed() < LEEWAY, "{:?}", asked.elapsed());
    assert!(!is_served(&client(&roots[0]), &node).await, "the certificate of before");
    assert!(is_served(&first, &node).await, "a connection that was there before");
    // One that is no pair: what is there stays.
    let key = std::fs::read_to_string(&pair.key).unwrap();
    replace(&pair.key, &KeyPair::generate().unwrap().serialize_pem());
    node.signal("HUP");
    let is_refused = async || node.has_logged(&["the new certificate cannot be used"]);
    eventually("the new certificate is refused", is_refused).await;
    assert!(is_served(&client(&roots[1]), &node).await, "the certificate of before");
    replace(&pair.key, &key);
    // By itself, when the files have changed.
    pair.issue(&roots[2]);
    becomes(&roots[2]).await;
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_handshake_is_disconnected_and_delays_no_other() {
    let folder = TempDir::new().unwrap();
    let (root, pair) = (authority("root"), Pair::at(folder.path()));
    pair.issue(&root);
    let node = pair.node(&folder.path().join("data"));
    // A client at another address.
    let other = client_from(&root, [127, 0, 0, 2]);
    let are_held = async || {
        let (began, started) = (Instant::now(), Stopwatch::start());
        let slow: Vec<TcpStream> = (0..400)
            .map(|number| {
                let mut stream = TcpStream::connect(node.authority()).unwrap();
                // Half of them say nothing at all.
                if number % 2 == 0 {
                    // Those beyond the limit may be gone already.
                    let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
                }
                stream
            })
            .collect();
        for _ in 0..5 {
            let asked = Stopwatch::start();
            assert!(is_served(&other, &node).await);
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        }
        // On a machine that is too slow the handshakes end before the other client is served, which shows nothing.
        (began.elapsed() < HANDSHAKE).then_some((started, slow))
    };
    let (started, slow) = Wait::new("the other is served while handshakes are held").value(are_held).await;
    let all_gone = tokio::task::spawn_blocking(move || {
        for mut stream in slow {
            stream.set_read_timeout(Some(HANDSHAKE + LEEWAY)).unwrap();
            // The end or a reset; an error of time says that it is still held.
            let read = stream.read(&mut [0; 64]);
            if read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
                return false;
            }
        }
        true
    });
    assert!(all_gone.await.unwrap(), "a handshake goes on for ever");
    assert!(started.elapsed() < HANDSHAKE + LEEWAY, "{:?}", started.elapsed());
    assert!(is_served(&client(&root), &node).await);
    // Handshakes that are under way do not hold up a stop.
    let mut half = TcpStream::connect(node.authority()).unwrap();
    half.write_all(&[0x16, 0x03]).unwrap();
    let asked = Stopwatch::start();
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
    assert!(asked.elapsed() < HANDSHAKE / 2, "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_tls_port_gets_an_explanation_and_nonsense_gets_no_answer() {
    let folder = TempDir::new().unwrap();
    let (root, pair) = (authority("root"), Pair::at(folder.path()));
    pair.issue(&root);
    let node = pair.node(&folder.path().join("data"));
    let answer = node.raw(b"GET /api/v1/collections HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.body["type"], "urn:vectorizer:problem:https-required");
    for nonsense in [&b"\x00\x01\x02\x03"[..], b"\x16\x03\x01\x00\x04GET ", b"\x80\xff\xff\xff\xff"] {
        let mut stream = TcpStream::connect(node.authority()).unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
    }
    assert!(is_served(&client(&root), &node).await);
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
}
