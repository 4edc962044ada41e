//! Who gets in, and what the others learn.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vectorizer_access::{ApiKey, Environment};
use vectorizer_hivehub::VALIDATE_PATH;

use super::stage::{By, Served, other_service_key};
use crate::{Call, Caller, Hub};

fn path_of(call: Call) -> String {
    let id = if call.path().contains("keys") { "k" } else { "acme" };
    call.path().replace("{id}", id).replace("{name}", "generous")
}

#[tokio::test]
async fn a_request_without_a_key_or_with_the_wrong_one_learns_nothing() {
    let served = Served::start();
    let acme = served.keys.tenants[0].keys.admin.expose();
    let made_up = ApiKey::generate(Environment::Test, &[7; ApiKey::ENTROPY_BYTES]);
    let service = served.keys.hivehub_api_key.expose();
    let operator = served.keys.operator.expose();
    let strangers = [
        By::Nobody,
        By::Header(""),
        By::Header("hh_service_x"),
        By::Header(operator),
        By::Bearer(""),
        By::Bearer(acme),
        By::Bearer(made_up.expose()),
        By::Bearer(service),
    ];
    let nowhere =
        [("GET", "/"), ("POST", "/api/internal/other"), ("GET", "/api/admin"), ("GET", "/api/%61dmin/plans")];
    let calls = Call::ALL.into_iter().map(|call| (call.method(), path_of(call)));
    for (method, path) in calls.chain(nowhere.map(|(method, path)| (method, path.to_owned()))) {
        for by in strangers {
            let (status, answer) = served.ask(by, method, &path, None).await;
            assert_eq!((status, &answer["error"]), (401, &json!("unauthorized")), "{by:?} {method} {path}");
        }
        // Not even that a path takes another method.
        assert_eq!(served.ask(By::Nobody, "OPTIONS", &path, None).await.0, 401, "{path}");
    }
}

#[tokio::test]
async fn neither_key_opens_the_others_door() {
    let served = Served::start();
    for call in Call::ALL {
        let (own, other) = match call.caller() {
            Caller::Service => (By::Service, By::Operator),
            Caller::Operator => (By::Operator, By::Service),
        };
        let path = path_of(call);
        assert_eq!(served.ask(other, call.method(), &path, None).await.0, 401, "{call:?}");
        if call != Call::Report && call != Call::DeleteTenant {
            assert_ne!(served.ask(own, call.method(), &path, None).await.0, 401, "{call:?}");
        }
    }
}

#[tokio::test]
async fn an_operators_key_that_was_revoked_is_none() {
    let served = Served::start();
    served.ok(By::Operator, "GET", "/api/admin/plans", None).await;
    let id = served.keys.operator.id();
    served.ok(By::Operator, "POST", &format!("/api/admin/keys/{id}/revoke"), None).await;
    assert_eq!(served.ask(By::Operator, "GET", "/api/admin/plans", None).await.0, 401);
}

#[test]
fn a_hub_without_keys_admits_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    assert!(!hub.is_service_key("") && !hub.is_operator_key(""));
    hub.set_service_key(&other_service_key()).unwrap();
    assert!(!hub.is_service_key("") && hub.is_service_key(other_service_key().expose()));
}

#[tokio::test]
async fn every_error_is_json_and_in_the_contract() {
    let served = Served::start();
    let hash = "0".repeat(64);
    let large = json!({"key_sha256": hash, "more": "x".repeat(20_000)});
    for (method, path, body, expected) in [
        ("POST", "/nowhere", None, 404),
        ("GET", VALIDATE_PATH, None, 405),
        ("POST", VALIDATE_PATH, None, 415),
        ("POST", VALIDATE_PATH, Some(json!({})), 422),
        ("POST", VALIDATE_PATH, Some(json!({"key_sha256": hash[1..]})), 422),
        ("POST", VALIDATE_PATH, Some(large), 413),
        ("GET", "/api/internal/vectorizer/tenants/nobody/quota", None, 404),
        ("GET", "/api/internal/vectorizer/tenants/No%20One/quota", None, 404),
        ("GET", "/api/internal/vectorizer/policies?since=x", None, 400),
        ("GET", "/api/internal/vectorizer/policies?wait=-1", None, 400),
        ("GET", "/api/internal/vectorizer/tenants/acme/usage?meter=moonlight", None, 400),
        ("GET", "/api/internal/vectorizer/tenants/acme/usage?metre=searches", None, 400),
        ("GET", "/api/internal/vectorizer/tenants/nobody/usage/totals", None, 404),
    ] {
        let (status, answer) = served.ask(By::Service, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn a_key_is_answered_by_its_hash_with_the_cursor_of_the_moment() {
    let served = Served::start();
    let key = &served.keys.tenants[0].keys.read_write;
    let ask = async || {
        let body = json!({"key_sha256": key.sha256()});
        served.ok(By::Service, "POST", VALIDATE_PATH, Some(body)).await
    };
    let cursor = || Value::from(served.hub.policy_cursor().to_string());
    let incarnation = served.hub.quota(&"acme".parse().unwrap()).unwrap().incarnation.unwrap().to_string();
    let tenant = |status| {
        json!({
            "id": "acme", "name": "Acme", "plan": "generous", "status": status, "incarnation": incarnation,
        })
    };
    let mut expected = json!({
        "valid": true, "key_id": key.id(), "permission": "READ_WRITE", "scope": "tenant",
        "expires_at": null, "tenant": tenant("active"), "policy_cursor": cursor(),
    });
    assert_eq!(ask().await, expected);
    served.ok(By::Operator, "POST", "/api/admin/tenants/acme/suspend", None).await;
    (expected["tenant"], expected["policy_cursor"]) = (tenant("suspended"), cursor());
    assert_eq!(ask().await, expected);
    served.ok(By::Operator, "DELETE", "/api/admin/tenants/acme", None).await;
    let deleted = json!({"valid": false, "reason": "tenant_deleted", "policy_cursor": cursor()});
    assert_eq!(ask().await, deleted);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let served = Served::start();
    let key = served.keys.hivehub_api_key.expose();
    let request = |path: &str, header: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: hub\r\nx-service-key: {key}\r\n{header}\r\n\r\n")
    };
    let json = request(VALIDATE_PATH, "content-type: application/json\r\ncontent-length: 80");
    let usage = request(vectorizer_hivehub::USAGE_PATH, "transfer-encoding: chunked");
    for (head, piece, longest) in [(json, "{", 11), (usage, "1\r\n{\r\n", 31)] {
        let mut stream = TcpStream::connect(served.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let start = tokio::time::Instant::now();
        stream.write_all(piece.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(100), stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(ended.is_ok() && start.elapsed() < Duration::from_secs(longest), "{answer}");
        assert!(answer.starts_with("HTTP/1.1 408") || !answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}
