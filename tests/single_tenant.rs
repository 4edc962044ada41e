//! `serve` without cluster mode: one tenant, no keys, the same API; and what does not start at all.

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::Operation;
use vectorizer_rest::location;

use crate::support::hub_and_node::Cluster;
use crate::support::node::{ACME, Client, Node, vectorizer};

/// Every kind of request, good and bad, as method, path and body.
fn story() -> Vec<(Method, &'static str, Value)> {
    let vectors = "/collections/words/vectors";
    vec![
        (Method::GET, "/collections", Value::Null),
        (Method::GET, "/collections/words", Value::Null),
        (Method::POST, "/collections", json!({"name": "words", "dimension": 2, "metric": "cosine"})),
        (Method::POST, "/collections", json!({"name": "words", "dimension": 2, "metric": "cosine"})),
        (
            Method::PUT,
            vectors,
            json!({"vectors": [{"id": "a", "vector": [1, 2], "payload": {"n": 1}}, {"id": "b", "vector": [2, 1]}]}),
        ),
        (Method::PUT, vectors, json!({"vectors": [{"id": "a", "vector": [1, 2, 3]}]})),
        (Method::GET, "/collections/words/vectors?with_vector=true", Value::Null),
        (Method::GET, "/collections/words/vectors/a", Value::Null),
        (Method::PATCH, "/collections/words/vectors/a/payload", json!({"m": 2})),
        (Method::POST, "/collections/words/search", json!({"vector": [1, 0]})),
        (Method::POST, "/collections/words/search/batch", json!({"searches": [{"vector": [1, 0]}]})),
        (Method::POST, "/collections/words/count", json!({})),
        (Method::POST, "/collections/words/vectors/delete", json!({"ids": ["b"]})),
        (Method::DELETE, "/collections/words/vectors/a", Value::Null),
        (Method::DELETE, "/collections/words/vectors/a", Value::Null),
        (Method::GET, "/collections/words", Value::Null),
        (Method::DELETE, "/collections/words", Value::Null),
        (Method::GET, "/openapi.json", Value::Null),
        (Method::GET, "/nowhere", Value::Null),
    ]
}

/// What the story is answered, without what differs from run to run.
async fn told(client: &Client) -> Vec<(u16, Value)> {
    let mut answers = Vec::new();
    for (method, path, body) in story() {
        let mut request = client.request(method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let mut answer = client.send(request).await;
        if let Some(body) = answer.body.as_object_mut() {
            body.remove("request_id");
            body.remove("created_at");
        }
        answers.push((answer.status.as_u16(), answer.body));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_the_api_is_the_same_as_with_them() {
    let (with, without) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (dev, serve) = (Node::dev(with.path()), Node::serve(without.path()));
    assert_eq!(told(&serve.keyless()).await, told(&dev.client(ACME)).await);
    for line in serve.keyless().log("").await {
        assert_eq!(line["actor"], json!({"key_id": null, "via": "rest"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_header_is_ignored() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    let expected = client.get("/collections").await.expect(200);
    for value in ["Bearer nonsense", "Bearer", "Basic YTpi", "", "hh_live_x"] {
        let request = client.request(Method::GET, "/collections").header("authorization", value);
        assert_eq!(client.send(request).await.expect(200), expected, "{value:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_host_is_refused_on_every_route_and_a_named_one_is_served() {
    let data = TempDir::new().unwrap();
    let node = Node::start("serve", data.path(), &["--allowed-hosts", "db.internal,vectors.example.com"]);
    let port = node.authority().rsplit_once(':').unwrap().1.to_owned();
    let ask = |method: &str, path: &str, hosts: &str| {
        node.raw(format!("{method} {path} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes())
    };
    let mut routes: Vec<(String, String)> = Operation::ALL
        .map(location)
        .map(|(method, path)| {
            (method.to_string(), path.replace("{name}", "words").replace("{id}", "a").replace("{path}", "n"))
        })
        .to_vec();
    routes.push(("GET".to_owned(), "/nowhere".to_owned()));
    routes.push(("TRACE".to_owned(), "/api/v1/collections".to_owned()));
    for (method, path) in &routes {
        for hosts in [
            "Host: evil.example\r\n".to_owned(),
            format!("Host: evil.example:{port}\r\n"),
            "Host: localhost.evil.example\r\n".to_owned(),
            "Host: 127.0.0.1.evil.example\r\n".to_owned(),
            "Host: 10.0.0.1\r\n".to_owned(),
            "Host: \r\n".to_owned(),
            "Host: localhost\r\nHost: evil.example\r\n".to_owned(),
            "Host: evil.example\r\nX-Forwarded-Host: localhost\r\n".to_owned(),
            String::new(),
        ] {
            let answer = ask(method, path, &hosts);
            let what = format!("{method} {path} {hosts:?}: {}", answer.body);
            assert_eq!((answer.status.as_u16(), answer.problem()), (403, "host-not-allowed"), "{what}");
        }
        for host in ["localhost", "127.0.0.1", "[::1]:80", "DB.internal", "vectors.example.com:8080"] {
            let status = ask(method, path, &format!("Host: {host}\r\n")).status.as_u16();
            assert!(![401, 403].contains(&status) && status < 500, "{method} {path} {host}: {status}");
        }
    }
    // No request was accepted that could have left something.
    assert_eq!(node.keyless().log("").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn data_survives_a_restart_and_another_port() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    let body = json!({"vectors": [{"id": "a", "vector": [1], "payload": {"n": 1}}]});
    client.put("/collections/words/vectors", &body).await.expect(200);
    let before = (client.head().await, client.get("/collections").await.expect(200), client.log("").await);
    node.stop();
    for _ in 0..3 {
        let node = Node::serve(data.path());
        let client = node.keyless();
        let now = (client.head().await, client.get("/collections").await.expect(200), client.log("").await);
        assert_eq!(now, before);
        node.stop();
    }
}

fn refused(data: &TempDir, arguments: &[&str]) -> String {
    let folder = data.path().to_str().unwrap();
    let output =
        vectorizer([&["serve", "--listen", "127.0.0.1:0", "--data-dir", folder], arguments].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    text
}

#[test]
fn cluster_mode_without_authentication_does_not_start() {
    let data = TempDir::new().unwrap();
    let cluster = ["--cluster-enabled", "--hivehub-api-url", "http://127.0.0.1:9", "--hivehub-api-key", "k"];
    let text = refused(&data, &[&cluster[..], &["--require-authentication", "false"]].concat());
    assert!(text.contains("auth.require_authentication") && text.contains("cluster.enabled"), "{text}");
    let config = data.path().join("config.yml");
    std::fs::write(
        &config,
        "cluster:\n  enabled: true\n  hivehub_api_key: k\nauth:\n  require_authentication: false\n",
    )
    .unwrap();
    let text = refused(&data, &["--config", config.to_str().unwrap()]);
    assert!(text.contains("auth.require_authentication"), "{text}");
    // Nothing of the data folder was touched.
    let entries: Vec<_> =
        std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["config.yml"]);
}

#[test]
fn an_unknown_flag_or_key_is_refused_and_the_nearest_one_named() {
    let data = TempDir::new().unwrap();
    for (flag, nearest) in [
        ("--body-byte-max=5", "--body-bytes-max"),
        ("--allowed-host=x", "--allowed-hosts"),
        ("--usage-report-intervall=1", "--usage-report-interval"),
    ] {
        let text = refused(&data, &[flag]);
        assert!(text.contains(nearest) && text.contains(flag.split('=').next().unwrap()), "{text}");
    }
    for (yaml, words) in [
        ("server:\n  lissten: 127.0.0.1:0\n", ["\"lissten\"", "\"server.listen\""]),
        ("server:\n  body_byte_max: 5\n", ["\"body_byte_max\"", "\"server.body_bytes_max\""]),
        (
            "server:\n  require_authentication: true\n",
            ["\"require_authentication\"", "\"auth.require_authentication\""],
        ),
        ("sever:\n  listen: x\n", ["\"sever\"", "\"server\""]),
        ("clustre: {}\n", ["\"clustre\"", "\"cluster\""]),
        ("server:\n  body_bytes_max: 5\n", ["server.body_bytes_max is \"5\"", "1024"]),
        ("server:\n  json_depth_max: 128\n", ["server.json_depth_max is \"128\"", "127"]),
        ("server: [\n", ["configuration", "YAML"]),
    ] {
        let config = data.path().join("config.yml");
        std::fs::write(&config, yaml).unwrap();
        let text = refused(&data, &["--config", config.to_str().unwrap()]);
        for words in words {
            assert!(text.contains(words), "{yaml}: {text}");
        }
    }
    let text = refused(&data, &["--config", "/nowhere/config.yml"]);
    assert!(text.contains("/nowhere/config.yml"), "{text}");
}

/// What a server has complained about so far.
fn warnings(node: &Node) -> Vec<Value> {
    let said = std::fs::read_to_string(node.stderr()).unwrap();
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["level"] == "WARN").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_keys_that_others_can_reach_says_so_and_one_with_keys_does_not() {
    let folder = TempDir::new().unwrap();
    let reachable = ["--listen", "0.0.0.0:0"];
    let says_so = |node: &Node| {
        let warned = warnings(node);
        let of_it = |line: &&Value| line["message"].as_str().unwrap().contains("requires no keys");
        warned
            .iter()
            .filter(of_it)
            .map(|line| line["address"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let node = Node::start("serve", &folder.path().join("open"), &reachable);
    let [address] = &says_so(&node)[..] else { panic!("{:?}", warnings(&node)) };
    assert!(address.starts_with("0.0.0.0:"), "{address}");
    let node = Node::serve(&folder.path().join("closed"));
    assert_eq!(says_so(&node), [""; 0]);
    let cluster = Cluster::start(&folder.path().join("keys"), &reachable).await;
    assert_eq!(says_so(&cluster.node), [""; 0]);
}

#[test]
fn a_log_filter_that_cannot_be_read_is_told_of_and_stands_for_info() {
    let data = TempDir::new().unwrap();
    let filter = "vectorizer=loud";
    let node = Node::serve_logging(data.path(), filter);
    let warned = warnings(&node);
    let of_it =
        |line: &&Value| line["message"].as_str().unwrap().contains("VECTORIZER_LOG is not a valid filter");
    let warning = warned.iter().find(of_it).unwrap_or_else(|| panic!("{warned:?}"));
    assert!(warning["value"].as_str().unwrap().contains(filter), "{warning}");
    let said = std::fs::read_to_string(node.stderr()).unwrap();
    assert!(!said.contains("\"DEBUG\"") && !said.contains("\"TRACE\""), "{said}");
    let quiet = TempDir::new().unwrap();
    assert_eq!(warnings(&Node::serve_logging(quiet.path(), "vectorizer=debug")), [Value::Null; 0]);
}
