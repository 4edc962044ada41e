//! What the node says of itself, and to whom.

use std::collections::BTreeSet;
use std::net::TcpListener;

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::support::metrics::{metrics, value};
use crate::support::node::{ACME, Key, Node};

const DASHBOARD: &str = include_str!("../deploy/grafana/vectorizer.json");
const ALERTS: &str = include_str!("../deploy/prometheus/alerts.yml");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_counted() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 3, "dot").await;
    let vectors = json!({"vectors": [{"id": "a", "vector": [1, 2, 3]}, {"id": "b", "vector": [3, 2, 1]}]});
    client.put("/collections/words/vectors", &vectors).await.expect(200);
    for _ in 0..3 {
        client.post("/collections/words/search", &json!({"vector": [1, 0, 0]})).await.expect(200);
    }
    client.post("/collections/nowhere/search", &json!({"vector": [1, 0, 0]})).await.expect(404);
    node.client(Key::ReadOnly(0)).delete("/collections/words").await.expect(403);
    node.keyless().get("/collections").await.expect(401);
    client.post("/cluster/keys/validate", &json!({})).await.expect(200);
    let bytes = client.get("/collections/words").await.expect(200)["bytes"].as_f64().unwrap();
    let metrics = metrics(&node).await;
    for (series, expected) in [
        ("vectorizer_tenant_requests_total{operation=\"search\",tenant_id=\"acme\"}", 4.0),
        ("vectorizer_tenant_requests_total{operation=\"upsert_vectors\",tenant_id=\"acme\"}", 1.0),
        ("vectorizer_tenant_requests_total{operation=\"validate_key\",tenant_id=\"acme\"}", 1.0),
        ("vectorizer_tenant_storage_bytes{tenant_id=\"acme\"}", bytes),
        ("vectorizer_tenant_rate_limit_exceeded_total{tenant_id=\"acme\"}", 0.0),
        ("vectorizer_request_duration_seconds_count{operation=\"search\",status=\"2xx\"}", 3.0),
        ("vectorizer_request_duration_seconds_count{operation=\"search\",status=\"4xx\"}", 1.0),
        ("vectorizer_search_duration_seconds_count", 3.0),
        ("vectorizer_awake_tenants", 1.0),
        ("vectorizer_waking_tenants", 0.0),
        ("vectorizer_oldest_unreported_usage_seconds", 0.0),
        (
            "vectorizer_authentication_failures_total{reason=\"insufficient-permission\",tenant_id=\"acme\"}",
            1.0,
        ),
        ("vectorizer_authentication_failures_total{reason=\"no-key\",tenant_id=\"_none\"}", 1.0),
    ] {
        assert!((value(&metrics, series) - expected).abs() < 0.5, "{series} is not {expected}\n{metrics}");
    }
    // A denial may have gone along with a commit; it was told after the last.
    assert!(value(&metrics, "vectorizer_committed_records_total") >= 2.0);
    assert!(value(&metrics, "vectorizer_commit_sync_duration_seconds_count") >= 2.0);
    let calls = "vectorizer_hivehub_calls_total{call=\"validate\",outcome=\"answered\"}";
    assert!(value(&metrics, calls) >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_their_own_shows_the_metrics_without_a_key_and_nothing_else() {
    let data = TempDir::new().unwrap();
    // Free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let flags = ["--hub-listen", "127.0.0.1:0", "--metrics-listen", &free];
    let node = Node::start("dev", data.path(), &flags);
    node.client(ACME).get("/collections").await.expect(200);
    let ask = |method: &str, path: &str, host: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        Node::raw_at(&free, request.as_bytes())
    };
    let answer = ask("GET", "/metrics", &free);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4");
    assert!(answer.expect(200).as_str().unwrap().contains("tenant_id=\"acme\""));
    for path in ["/", "/health", "/api/v1/collections", "/api/v1/openapi.json", "/api/v1/log"] {
        assert_eq!(ask("GET", path, &free).problem(), "no-such-route", "{path}");
    }
    assert_eq!(ask("POST", "/metrics", &free).problem(), "method-not-allowed");
    // A page in a browser may have a name of its own for loopback.
    assert_eq!(ask("GET", "/metrics", "evil.example").problem(), "host-not-allowed");
    // And the other listener asks for the operator's key as ever.
    let answer = node.keyless().send(node.keyless().request_at(Method::GET, "/metrics")).await;
    assert_eq!(answer.problem(), "no-key");
}

/// Every word in `text` that has the form of one of our metrics.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    words.filter(|word| word.starts_with("vectorizer_") || word.starts_with("process_")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_the_dashboard_and_the_alerts_name_is_there() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    node.client(ACME).create("words", 3, "dot").await;
    let metrics = metrics(&node).await;
    // A series each, or one of a histogram's.
    let served: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for (file, text) in [("dashboard", DASHBOARD), ("alerts", ALERTS)] {
        let named = named(text);
        assert!(named.len() >= 8, "{file}: {named:?}");
        for name in named {
            assert!(served.contains(name), "the {file} names {name}, which the server does not have");
        }
    }
    // What is measured is also looked at.
    let looked_at: BTreeSet<&str> = named(DASHBOARD).into_iter().chain(named(ALERTS)).collect();
    for name in served.iter().filter(|name| name.starts_with("vectorizer_")) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let of_histogram = base.is_some_and(|base| looked_at.contains(&*format!("{base}_bucket")));
        assert!(looked_at.contains(name) || of_histogram, "{name} is on no dashboard and in no alert");
    }
}

#[test]
fn the_dashboard_is_json_and_every_alert_says_what_to_do() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        assert!(panel["type"] == "row" || panel["targets"].as_array().is_some_and(|it| !it.is_empty()));
    }
    let alerts = ALERTS.matches("- alert:").count();
    assert!(alerts >= 8, "{alerts}");
    for part in ["expr:", "for:", "severity:", "summary:", "runbook:"] {
        assert_eq!(ALERTS.matches(part).count(), alerts, "{part}");
    }
}
