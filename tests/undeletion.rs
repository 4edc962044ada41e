//! A deletion is taken back where it was made, and by nothing else; and nothing is made for those who only read, or
//! whom another deployment serves.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::TenantStatus;
use vectorizer_log::TenantId;
use vectorizer_testing::{Wait, eventually};

use crate::support::folders::{deleted, is_put_away};
use crate::support::hub_and_node::{Cluster, HubFault};
use crate::support::node::{Answer, vectorizer};

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

async fn get(cluster: &Cluster, key: &ApiKey, path: &str) -> Answer {
    cluster.send(key, "GET", path, &Value::Null).await
}

/// A tenant with three vectors, and its key.
async fn with_words(cluster: &Cluster) -> ApiKey {
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    cluster.send(&key, "POST", "/collections", &words).await.expect(201);
    let points: Vec<Value> =
        (0..3).map(|number| json!({"id": format!("p{number}"), "vector": [1, 2]})).collect();
    let points = json!({"vectors": points});
    cluster.send(&key, "PUT", "/collections/words/vectors", &points).await.expect(200);
    key
}

async fn has_its_words(cluster: &Cluster, key: &ApiKey) -> bool {
    let answer = get(cluster, key, "/collections/words").await;
    // Never another tenant, nor an empty one.
    assert!([200, 401, 503].contains(&answer.status.as_u16()), "{}", answer.body);
    answer.status == 200 && answer.body["count"] == 3
}

async fn comes_back(cluster: &Cluster, key: &ApiKey) {
    eventually("it is back", async || has_its_words(cluster, key).await).await;
    assert_eq!(deleted(&cluster.node.data), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_undeleted_at_hivehub_is_back_with_its_data_its_keys_and_its_bill() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &["--usage-report-interval", "1"]).await;
    let key = with_words(&cluster).await;
    let operator = cluster.key(None, None);
    let incarnation = cluster.hub.quota(&acme()).unwrap().incarnation;
    for round in 0..2 {
        cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
        is_put_away(&cluster.node.data, "acme", 1).await;
        get(&cluster, &key, "/collections").await.expect(401);
        let listed = get(&cluster, &operator, "/cluster/tenants?deleted=true").await.expect(200);
        let it = &listed["deleted"][0];
        assert_eq!((&it["tenant"], &it["deleted_by"]), (&json!("acme"), &json!("hivehub")), "{listed}");
        assert!(it["restorable_until"].as_str() > it["deleted_at"].as_str(), "{listed}");
        // What the operator cannot do here is said, and nothing moves.
        let restored = cluster.send(&operator, "POST", "/cluster/tenants/acme/restore", &json!({})).await;
        assert_eq!(restored.problem(), "deleted-at-hivehub", "{}", restored.body);
        assert!(restored.detail().contains("hub tenants undelete"), "{}", restored.body);
        assert!(!cluster.node.data.join("acme").exists());

        cluster.hub.undelete_tenant(&acme()).unwrap();
        comes_back(&cluster, &key).await;
        assert_eq!(cluster.hub.quota(&acme()).unwrap().incarnation, incarnation);
        let more = json!({"vectors": [{"id": "p0", "vector": [round, 2]}]});
        cluster.send(&key, "PUT", "/collections/words/vectors", &more).await.expect(200);
    }
    let listed = get(&cluster, &operator, "/cluster/tenants?deleted=true").await.expect(200);
    assert_eq!(listed["deleted"], json!([]));
    let (url, (hub, hub_key)) = (cluster.node.url().to_owned(), cluster.ledger());
    let (hub, hub_key, key) = (hub.to_owned(), hub_key.to_owned(), key.expose().to_owned());
    let holds = async || {
        let words = ["bill", "--url", &url, "--key", &key, "--hub", &hub, "--hub-key", &hub_key];
        let words = words.map(str::to_owned);
        let bill = tokio::task::spawn_blocking(move || vectorizer(words.iter().map(String::as_str)));
        bill.await.unwrap().status.code() == Some(0)
    };
    eventually("the bill is what the ledger says", holds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeletion_is_done_also_by_a_node_that_restarts_or_is_killed_meanwhile() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let key = with_words(&cluster).await;
    // While it is down.
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    is_put_away(&cluster.node.data, "acme", 1).await;
    cluster.feed_is_stored().await;
    cluster.end_node("KILL").await;
    cluster.hub.undelete_tenant(&acme()).unwrap();
    cluster.node = cluster.another_node(&[]).await;
    comes_back(&cluster, &key).await;
    // Killed at some moment of the deletion and of its end.
    for milliseconds in [0, 3, 10, 30, 100] {
        for is_deleted in [true, false] {
            if is_deleted {
                cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
            } else {
                cluster.hub.undelete_tenant(&acme()).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            cluster.restart_node(&[]).await;
        }
        comes_back(&cluster, &key).await;
    }
    // Both before the first is done.
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    cluster.hub.undelete_tenant(&acme()).unwrap();
    comes_back(&cluster, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_undeleted_in_a_gap_of_the_feed_or_while_it_fails_is_back_and_never_empty() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let key = with_words(&cluster).await;
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    is_put_away(&cluster.node.data, "acme", 1).await;
    cluster.feed_is_stored().await;
    cluster.end_node("KILL").await;
    cluster.hub.undelete_tenant(&acme()).unwrap();
    cluster.set_fault(HubFault::Forgetful);
    cluster.node = cluster.another_node(&[]).await;
    comes_back(&cluster, &key).await;

    cluster.set_fault(HubFault::None);
    let hears = async || {
        let operator = cluster.key(None, None);
        get(&cluster, &operator, "/cluster/health").await.body["hivehub"]["policies_current"] == true
    };
    eventually("the feed is followed again", hears).await;
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    is_put_away(&cluster.node.data, "acme", 1).await;
    cluster.set_fault(HubFault::WithoutPolicies);
    // The request that waits for news has to end first.
    cluster.tenant("globex");
    cluster.hub.set_tenant_status(&"globex".parse().unwrap(), TenantStatus::Suspended).unwrap();
    cluster.is_asked_for("/policies").await;
    cluster.hub.undelete_tenant(&acme()).unwrap();
    // A key that the node has not seen refused.
    let other = cluster.key(Some("acme"), None);
    comes_back(&cluster, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_deleted_on_the_node_stays_deleted_whatever_its_keys_ask_for_until_it_is_restored() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let key = with_words(&cluster).await;
    let operator = cluster.key(None, None);
    cluster.send(&operator, "DELETE", "/cluster/tenants/acme", &Value::Null).await.expect(200);
    let words = json!({"name": "others", "dimension": 2, "metric": "dot"});
    let points = json!({"vectors": [{"id": "x", "vector": [1, 2]}]});
    for is_restarted in [false, true] {
        if is_restarted {
            cluster.restart_node(&[]).await;
        }
        for (method, path, body) in [
            ("GET", "/collections", &Value::Null),
            ("POST", "/collections", &words),
            ("PUT", "/collections/words/vectors", &points),
            ("GET", "/log", &Value::Null),
            ("GET", "/cluster/usage", &Value::Null),
        ] {
            let refused = cluster.send(&key, method, path, body).await;
            assert_eq!(
                (refused.status.as_u16(), refused.problem()),
                (410, "tenant-deleted"),
                "{method} {path}"
            );
        }
        assert!(!cluster.node.data.join("acme").exists(), "a request has made something");
    }
    let listed = get(&cluster, &operator, "/cluster/tenants?deleted=true").await.expect(200);
    assert_eq!(listed["deleted"][0]["deleted_by"], "operator", "{listed}");
    // HiveHub's word about keys and quotas changes nothing about it, nor does its taking back what it did later.
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Suspended).unwrap();
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Active).unwrap();
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    cluster.hub.undelete_tenant(&acme()).unwrap();
    let is_known = async || get(&cluster, &key, "/collections").await.status == 410;
    eventually("it is deleted here", is_known).await;
    cluster.send(&operator, "POST", "/cluster/tenants/acme/restore", &json!({})).await.expect(200);
    comes_back(&cluster, &key).await;

    // Created anew by HiveHub it is another one.
    cluster.send(&operator, "DELETE", "/cluster/tenants/acme", &Value::Null).await.expect(200);
    cluster.hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    cluster.tenant("acme");
    let new = cluster.key(Some("acme"), None);
    assert_eq!(get(&cluster, &new, "/collections").await.expect(200)["collections"], json!([]));
    cluster.send(&new, "POST", "/collections", &words).await.expect(201);
    get(&cluster, &key, "/collections").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_makes_no_log_and_the_first_write_does() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let search = json!({"vector": [1, 2]});
    for (method, path, body, status) in [
        ("GET", "/collections", &Value::Null, 200),
        ("GET", "/collections/words", &Value::Null, 404),
        ("GET", "/collections/words/vectors", &Value::Null, 404),
        ("GET", "/collections/words/vectors/a", &Value::Null, 404),
        ("POST", "/collections/words/search", &search, 404),
        ("POST", "/collections/words/count", &json!({}), 404),
        ("GET", "/log", &Value::Null, 200),
        ("GET", "/log?follow=true", &Value::Null, 200),
        ("GET", "/log/head", &Value::Null, 200),
        ("GET", "/cluster/usage", &Value::Null, 200),
        ("POST", "/cluster/keys/validate", &Value::Null, 200),
    ] {
        cluster.send(&key, method, path, body).await.expect(status);
    }
    assert!(!cluster.node.data.join("acme").exists(), "reading has made something");
    let operator = cluster.key(None, None);
    assert_eq!(get(&cluster, &operator, "/cluster/tenants").await.expect(200)["tenants"], json!([]));
    // Readers beside the first writer see what is written from its answer on.
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    let reading = async {
        for _ in 0..50 {
            get(&cluster, &key, "/collections").await.expect(200);
        }
    };
    let writing = async {
        assert_eq!(cluster.send(&key, "POST", "/collections", &words).await.expect(201)["seq"], 1);
        get(&cluster, &key, "/collections/words").await.expect(200);
    };
    tokio::join!(reading, writing);
    assert!(cluster.node.data.join("acme").exists());
    assert!(get(&cluster, &key, "/log").await.body.to_string().contains("collection_created"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_another_deployment_is_refused_and_nothing_is_made_and_a_moved_one_is_told_of() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &["--deployment", "eu-1"]).await;
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let moves_to = |name: Option<&str>| {
        let name = name.map(|name| name.parse().unwrap());
        cluster.hub.set_tenant(&acme(), |tenant| tenant.deployment = name).unwrap();
    };
    moves_to(Some("us-1"));
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    for (method, path, body) in [
        ("GET", "/collections", &Value::Null),
        ("POST", "/collections", &words),
        ("POST", "/cluster/keys/validate", &Value::Null),
    ] {
        let refused = cluster.send(&key, method, path, body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem()),
            (421, "tenant-elsewhere"),
            "{method} {path}"
        );
        assert!(refused.detail().contains("us-1"), "{}", refused.body);
    }
    assert!(!cluster.node.data.join("acme").exists());
    for (deployment, status) in [(Some("eu-1"), 200), (Some("us-1"), 421), (None, 200)] {
        moves_to(deployment);
        let is_told = async || get(&cluster, &key, "/collections").await.status.as_u16() == status;
        Wait::new("the node hears of it").at_most(Duration::from_secs(10)).until(is_told).await;
        if status == 200 {
            let made = cluster.send(&key, "POST", "/collections", &words).await;
            assert!([201, 409].contains(&made.status.as_u16()), "{}", made.body);
        }
    }
    // A node without a name is of no deployment.
    moves_to(Some("us-1"));
    let other = TempDir::new().unwrap();
    let unnamed = Cluster::start(other.path(), &[]).await;
    unnamed.tenant("acme");
    let key = unnamed.key(Some("acme"), None);
    unnamed.hub.set_tenant(&acme(), |tenant| tenant.deployment = Some("us-1".parse().unwrap())).unwrap();
    assert_eq!(get(&unnamed, &key, "/collections").await.problem(), "tenant-elsewhere");
}
