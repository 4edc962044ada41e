//! What the operator asks and tells.

use serde_json::json;
use vectorizer_hivehub::VALIDATE_PATH;

use super::stage::{By, Served};

const TENANTS: &str = "/api/admin/tenants";
const KEYS: &str = "/api/admin/keys";
const QUOTA: &str = "/api/internal/vectorizer/tenants/initech/quota";

#[tokio::test]
async fn a_tenant_lives_from_its_plan_to_its_end() {
    let served = Served::start();
    let operator = By::Operator;
    served
        .ok(operator, "PUT", "/api/admin/plans/small", Some(json!({"vectors": 10, "collections": 2})))
        .await;
    let new = json!({"id": "initech", "plan": "small", "overrides": {"vectors": 99}});
    let tenant = served.ok(operator, "POST", TENANTS, Some(new.clone())).await;
    assert_eq!((&tenant["name"], &tenant["status"]), (&json!("initech"), &json!("active")));
    assert_eq!((&tenant["quota"]["vectors"], &tenant["quota"]["collections"]), (&json!(99), &json!(2)));
    let quota = served.ok(By::Service, "GET", QUOTA, None).await;
    assert_eq!((&quota["vectors"], &quota["storage_bytes"]), (&json!(99), &json!(null)));

    let path = format!("{TENANTS}/initech");
    let change = json!({"name": "Initech", "overrides": {"vectors": null, "log_bytes": 5}});
    let tenant = served.ok(operator, "PATCH", &path, Some(change)).await;
    assert_eq!((&tenant["quota"]["vectors"], &tenant["quota"]["log_bytes"]), (&json!(10), &json!(5)));
    assert_eq!(served.ok(operator, "GET", &path, None).await, tenant);
    served.ok(operator, "POST", &format!("{path}/suspend"), None).await;
    assert_eq!(served.ok(By::Service, "GET", QUOTA, None).await["status"], "suspended");
    served.ok(operator, "POST", &format!("{path}/resume"), None).await;
    served.refused("POST", TENANTS, Some(new.clone()), (409, "tenant_exists")).await;
    served.ok(operator, "DELETE", &path, None).await;
    assert_eq!(served.ok(operator, "DELETE", &path, None).await["status"], "deleted", "again is no error");
    served.refused("POST", &format!("{path}/resume"), None, (409, "tenant_deleted")).await;
    served.refused("PATCH", &path, Some(json!({"plan": "small"})), (409, "tenant_deleted")).await;
    assert_eq!(served.ok(operator, "POST", TENANTS, Some(new)).await["status"], "active");
}

#[tokio::test]
async fn what_does_not_exist_or_makes_no_sense_is_named() {
    let served = Served::start();
    for (method, path, body, expected) in [
        ("GET", "/api/admin/plans/none", None, (404, "unknown_plan")),
        ("PUT", "/api/admin/plans/-", Some(json!({})), (422, "invalid_request")),
        ("PUT", "/api/admin/plans/x", Some(json!({"vector": 1})), (422, "invalid_request")),
        ("PUT", "/api/admin/plans/x", Some(json!({"vectors": 1_u64 << 53})), (422, "invalid_request")),
        ("GET", "/api/admin/tenants/nobody", None, (404, "unknown_tenant")),
        ("DELETE", "/api/admin/tenants/nobody", None, (404, "unknown_tenant")),
        ("POST", TENANTS, Some(json!({"id": "new", "plan": "none"})), (404, "unknown_plan")),
        ("POST", TENANTS, Some(json!({"id": "../new", "plan": "generous"})), (422, "invalid_request")),
        (
            "POST",
            TENANTS,
            Some(json!({"id": "new", "plan": "generous", "name": "a\nb"})),
            (422, "invalid_request"),
        ),
        ("PATCH", "/api/admin/tenants/acme", Some(json!({"plan": "none"})), (404, "unknown_plan")),
        ("POST", KEYS, Some(json!({"permission": "ADMIN"})), (422, "invalid_request")),
        ("POST", KEYS, Some(json!({"permission": "ADMIN", "scope": "tenant"})), (422, "invalid_request")),
        ("POST", KEYS, Some(json!({"permission": "MCP", "scope": "cluster"})), (422, "invalid_request")),
        (
            "POST",
            KEYS,
            Some(json!({"permission": "MCP", "scope": "tenant", "tenant": "nobody"})),
            (404, "unknown_tenant"),
        ),
        ("POST", "/api/admin/keys/none/revoke", None, (404, "unknown_key")),
        ("POST", "/api/admin/keys/none/rotate", Some(json!({"overlap_seconds": 0})), (404, "unknown_key")),
        (
            "POST",
            "/api/admin/keys/none/rotate",
            Some(json!({"overlap_seconds": 2_592_001})),
            (422, "invalid_request"),
        ),
        ("GET", "/api/admin/keys/a%2Fb", None, (404, "unknown_key")),
        ("GET", "/api/admin/tenants?limit=many", None, (400, "invalid_request")),
    ] {
        served.refused(method, path, body, expected).await;
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_rotated_with_an_overlap() {
    let served = Served::start();
    let new = json!({"permission": "READ_WRITE", "scope": "tenant", "tenant": "acme", "environment": "test"});
    let made = served.ok(By::Operator, "POST", KEYS, Some(new)).await;
    let secret = made["secret"].as_str().unwrap();
    let valid = async |secret: &str| {
        let body = json!({"key_sha256": vectorizer_access::KeyHash::of(secret)});
        served.ok(By::Service, "POST", VALIDATE_PATH, Some(body)).await["valid"] == true
    };
    assert!(secret.starts_with("hh_test_") && valid(secret).await);
    let path = format!("{KEYS}/{}", made["key"]["id"].as_str().unwrap());
    let shown = served.ok(By::Operator, "GET", &path, None).await;
    assert_eq!(shown, made["key"]);
    assert!(!shown.to_string().contains(secret));

    let rotate = format!("{path}/rotate");
    let next = served.ok(By::Operator, "POST", &rotate, Some(json!({"overlap_seconds": 600}))).await;
    assert_eq!(next["key"]["permission"], "READ_WRITE");
    assert!(valid(secret).await && valid(next["secret"].as_str().unwrap()).await);
    let last = served.ok(By::Operator, "POST", &rotate, Some(json!({"overlap_seconds": 0}))).await;
    assert!(!valid(secret).await, "the overlap is over");
    assert_eq!(served.ok(By::Operator, "GET", &path, None).await["status"], "expired");
    served.refused("POST", &rotate, Some(json!({"overlap_seconds": 0})), (409, "key_ended")).await;
    let path = format!("{KEYS}/{}", last["key"]["id"].as_str().unwrap());
    assert_eq!(served.ok(By::Operator, "POST", &format!("{path}/revoke"), None).await["status"], "revoked");
    assert!(!valid(last["secret"].as_str().unwrap()).await);
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let served = Served::start();
    for (list, path) in [("keys", KEYS), ("tenants", TENANTS), ("plans", "/api/admin/plans")] {
        served.ok(By::Operator, "PUT", "/api/admin/plans/another", Some(json!({}))).await;
        let name = if list == "plans" { "name" } else { "id" };
        let whole = served.ok(By::Operator, "GET", path, None).await;
        assert!(whole["next"].is_null());
        let mut read = Vec::new();
        let mut query = "limit=1".to_owned();
        loop {
            let page = served.ok(By::Operator, "GET", &format!("{path}?{query}"), None).await;
            assert_eq!(page[list].as_array().unwrap().len(), 1);
            read.push(page[list][0].clone());
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!(read.last().unwrap()[name], next);
            query = format!("limit=1&after={next}");
        }
        assert_eq!(json!(read), whole[list]);
        assert!(read.len() >= 2);
    }
    let acmes = served.ok(By::Operator, "GET", &format!("{KEYS}?tenant=acme"), None).await;
    assert_eq!(acmes["keys"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn what_the_operator_was_told_is_so_after_a_kill() {
    let served = Served::start();
    let new = json!({"id": "initech", "plan": "generous"});
    served.ok(By::Operator, "POST", TENANTS, Some(new)).await;
    let key = json!({"permission": "ADMIN", "scope": "tenant", "tenant": "initech"});
    served.ok(By::Operator, "POST", KEYS, Some(key)).await;
    served.ok(By::Operator, "POST", &format!("{TENANTS}/globex/suspend"), None).await;
    let again = served.killed_and_started_again();
    for path in [TENANTS, KEYS, "/api/admin/plans"] {
        let before = served.ok(By::Operator, "GET", path, None).await;
        assert_eq!(again.ok(By::Operator, "GET", path, None).await, before, "{path}");
    }
}
