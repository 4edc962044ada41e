//! What the hub promises over HTTP, and that its contract says the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use vectorizer_log::Timestamp;

use super::{Hub, NewKey, router};
use crate::auth::{ApiKey, Environment, KeyHash};
use crate::config::Secret;
use crate::hivehub::{Permission, TenantStatus, VALIDATE_PATH};

struct Served {
    hub: Hub,
    url: String,
    _folder: TempDir,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(folder.path()).unwrap();
        hub.set_service_key(&Secret::new("service")).unwrap();
        hub.create_tenant(&"acme".parse().unwrap(), "Acme", "pro").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(hub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { hub, url, _folder: folder }
    }

    fn key(&self, permission: Permission) -> ApiKey {
        let tenant = Some("acme".parse().unwrap());
        self.hub.create_key(Environment::Live, &NewKey { permission, tenant, expires_at: None }).unwrap()
    }

    async fn ask(&self, key: &ApiKey) -> Value {
        let body = json!({"key_sha256": key.sha256()}).to_string();
        let (status, answer) = self.send("POST", VALIDATE_PATH, Some("service"), body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn send(&self, method: &str, path: &str, service_key: Option<&str>, body: String) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let client = crate::outgoing::client().no_proxy().build().unwrap();
        let mut request = client.request(method.parse().unwrap(), url);
        if let Some(key) = service_key {
            request = request.header("X-Service-Key", key);
        }
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

fn stranger() -> ApiKey {
    ApiKey::generate(Environment::Live, &[3; ApiKey::ENTROPY_BYTES])
}

#[tokio::test]
async fn nobody_is_answered_without_the_service_key() {
    let served = Served::start().await;
    let body = json!({"key_sha256": stranger().sha256()}).to_string();
    for key in [None, Some(""), Some("servicf"), Some("service2")] {
        for path in [VALIDATE_PATH, "/", "/api/internal/other"] {
            let (status, answer) = served.send("POST", path, key, body.clone()).await;
            assert_eq!((status, &answer["error"]), (401, &json!("unauthorized")), "{key:?} {path}");
            assert!(answer["details"].is_string());
        }
    }
    let empty = tempfile::tempdir().unwrap();
    let hub = Hub::open(empty.path()).unwrap();
    assert!(!hub.is_service_key(""), "a hub without a service key took the empty one");
}

#[tokio::test]
async fn every_error_is_json() {
    let served = Served::start().await;
    let hash = stranger().sha256().to_string();
    for (method, path, body, expected) in [
        ("POST", "/nowhere", String::new(), 404),
        ("GET", VALIDATE_PATH, String::new(), 405),
        ("POST", VALIDATE_PATH, String::new(), 400),
        ("POST", VALIDATE_PATH, "{".to_owned(), 400),
        ("POST", VALIDATE_PATH, "{}".to_owned(), 422),
        ("POST", VALIDATE_PATH, json!({"key_sha256": &hash[1..]}).to_string(), 422),
        ("POST", VALIDATE_PATH, json!({"key_sha256": hash, "more": "x".repeat(20_000)}).to_string(), 413),
    ] {
        let (status, answer) = served.send(method, path, Some("service"), body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert!(answer["error"].is_string() && answer["details"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn a_key_is_answered_by_its_hash() {
    let served = Served::start().await;
    let key = served.key(Permission::ReadWrite);
    let tenant = |status| json!({"id": "acme", "name": "Acme", "plan": "pro", "status": status});
    let mut expected = json!({
        "valid": true, "key_id": key.id(), "permission": "READ_WRITE", "scope": "tenant",
        "expires_at": null, "tenant": tenant("active"),
    });
    assert_eq!(served.ask(&key).await, expected);
    served.hub.set_tenant_status(&"acme".parse().unwrap(), TenantStatus::Suspended).unwrap();
    expected["tenant"] = tenant("suspended");
    assert_eq!(served.ask(&key).await, expected);
    served.hub.set_tenant_status(&"acme".parse().unwrap(), TenantStatus::Deleted).unwrap();
    assert_eq!(served.ask(&key).await, json!({"valid": false, "reason": "tenant_deleted"}));
    served.hub.revoke_key(&key.id()).unwrap();
    assert_eq!(served.ask(&key).await, json!({"valid": false, "reason": "revoked"}));
    assert_eq!(served.ask(&stranger()).await, json!({"valid": false, "reason": "unknown"}));
}

fn contract() -> Value {
    serde_saphyr::from_str(include_str!("../../docs/hivehub.openapi.yaml")).unwrap()
}

/// Holds `answer` against a schema of the contract: its fields are exactly the properties, the required
/// ones among them, and its words are among the words.
fn assert_fits(contract: &Value, schema: &str, answer: &Value) {
    let schema = &contract["components"]["schemas"][schema];
    let properties = schema["properties"].as_object().unwrap();
    let served: BTreeSet<_> = answer.as_object().unwrap().keys().cloned().collect();
    let required =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    assert_eq!(served, required.collect(), "what is served is what is promised");
    assert_eq!(served, properties.keys().cloned().collect(), "and what is described");
    for (name, property) in properties {
        if let Some(word) = property.get("const") {
            assert_eq!(&answer[name], word, "{name}");
        }
        if let Some(words) = property.get("enum").and_then(Value::as_array) {
            assert!(words.contains(&answer[name]), "{name}");
        }
    }
}

#[tokio::test]
async fn the_contract_says_what_the_hub_serves() {
    let contract = contract();
    let served = Served::start().await;
    assert_eq!(contract["openapi"], "3.1.0");
    assert_eq!(contract["components"]["securitySchemes"]["serviceKey"]["name"], "X-Service-Key");
    let paths: Vec<_> = contract["paths"].as_object().unwrap().iter().collect();
    let [(path, methods)] = paths[..] else { panic!("{paths:?}") };
    assert_eq!((path.as_str(), methods.as_object().unwrap().len()), (VALIDATE_PATH, 1));
    let statuses = methods["post"]["responses"].as_object().unwrap();

    let permissions = [Permission::Admin, Permission::ReadWrite, Permission::ReadOnly, Permission::Mcp];
    for permission in permissions {
        let answer = served.ask(&served.key(permission)).await;
        assert_fits(&contract, "ValidKey", &answer);
        assert_fits(&contract, "Tenant", &answer["tenant"]);
    }
    let ended =
        NewKey { permission: Permission::Admin, tenant: None, expires_at: Some(Timestamp::from_micros(1)) };
    let operator =
        NewKey { expires_at: Some(Timestamp::from_micros(4_000_000_000_000_000)), ..ended.clone() };
    let operator = served.hub.create_key(Environment::Live, &operator).unwrap();
    assert_fits(&contract, "ValidKey", &served.ask(&operator).await);

    let ended = served.hub.create_key(Environment::Live, &ended).unwrap();
    assert_fits(&contract, "RefusedKey", &served.ask(&ended).await);
    assert_fits(&contract, "RefusedKey", &served.ask(&stranger()).await);

    let hash = KeyHash::of("x").to_string();
    let good = json!({"key_sha256": hash}).to_string();
    for (service_key, body) in
        [(None, good.clone()), (Some("service"), "{}".to_owned()), (Some("service"), "x".repeat(20_000))]
    {
        let (status, answer) = served.send("POST", VALIDATE_PATH, service_key, body).await;
        assert!(statuses.contains_key(&status.to_string()), "{status} is not in the contract");
        assert_fits(&contract, "Error", &answer);
    }
    let (status, _) = served.send("POST", VALIDATE_PATH, Some("service"), good).await;
    assert_eq!(status, 200);
}
