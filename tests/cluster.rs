//! The node for its operator, and a key for its holder.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_hivehub::TenantStatus;
use vectorizer_log::{Event, Record, TenantFolder};
use vectorizer_testing::{Wait, eventually};

use crate::support::folders::{Obstacle, deleted, is_put_away};
use crate::support::hub_and_node::Cluster;
use crate::support::node::{ACME, GLOBEX, Key, Node};

async fn with_words(node: &Node, key: Key, vectors: usize) {
    let client = node.client(key);
    client.create("words", 2, "dot").await;
    let points: Vec<Value> =
        (0..vectors).map(|number| json!({"id": format!("p{number}"), "vector": [1, 2]})).collect();
    client.put("/collections/words/vectors", &json!({"vectors": points})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_matches_the_tenants_data_and_is_shown_to_it_and_to_the_operator_only() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    with_words(&node, ACME, 3).await;
    let usage = node.client(Key::ReadOnly(0)).get("/cluster/usage").await.expect(200);
    assert_eq!(usage["tenant"], "acme");
    assert_eq!(
        (usage["usage"]["vectors"].as_u64(), usage["usage"]["collections"].as_u64()),
        (Some(3), Some(1))
    );
    assert_eq!(usage["usage"]["storage_bytes"], 3 * (4 * 2 + 2 + 32));
    assert_eq!(usage["quota"]["vectors"], 100_000_000);
    assert!(usage["usage"]["log_bytes"].as_u64().unwrap() > 100);
    assert_eq!(usage["last_delivered"], Value::Null, "no window has ended");

    let operator = node.client(Key::Operator);
    assert_eq!(operator.get("/cluster/usage?tenant=acme").await.expect(200)["usage"], usage["usage"]);
    operator.get("/cluster/usage").await.expect(422);
    operator.get("/cluster/usage?tenant=nobody").await.expect(404);
    // Whether the other exists or not, a tenant is told the same.
    for other in ["acme", "nobody"] {
        let refused = node.client(GLOBEX).get(&format!("/cluster/usage?tenant={other}")).await;
        assert_eq!(refused.expect(403)["type"], "urn:vectorizer:problem:insufficient-permission");
    }
    assert_eq!(node.client(GLOBEX).get("/cluster/usage?tenant=globex").await.expect(200)["tenant"], "globex");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_every_tenant_page_by_page_asleep_or_awake() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    with_words(&node, ACME, 2).await;
    with_words(&node, GLOBEX, 5).await;
    node.stop();
    let node = Node::dev(data.path());
    node.client(GLOBEX).get("/collections").await.expect(200);
    let operator = node.client(Key::Operator);
    let first = operator.get("/cluster/tenants?limit=1").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = operator.get(&format!("/cluster/tenants?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!(second["next_cursor"], Value::Null);
    let [acme, globex] = [&first["tenants"][0], &second["tenants"][0]];
    assert_eq!(
        (&acme["id"], &acme["state"], &acme["usage"]["vectors"]),
        (&json!("acme"), &json!("asleep"), &json!(2))
    );
    assert_eq!(
        (&globex["id"], &globex["state"], &globex["usage"]["vectors"]),
        (&json!("globex"), &json!("awake"), &json!(5))
    );
    for wrong in ["limit=0", "limit=1001", "cursor=../etc"] {
        operator.get(&format!("/cluster/tenants?{wrong}")).await.expect(422);
    }
    operator.get("/cluster/tenants?page=2").await.expect(400);
    let health = operator.get("/cluster/health").await.expect(200);
    assert_eq!(
        (&health["status"], &health["mode"], &health["tenants_awake"]),
        (&json!("ok"), &json!("cluster"), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_ask_for_its_own_permission_and_operations() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let validate = async |key| node.client(key).post("/cluster/keys/validate", &json!({})).await;
    let has = |answer: &Value, operation: &str| {
        answer["operations"].as_array().unwrap().contains(&json!(operation))
    };
    let reader = validate(Key::ReadOnly(0)).await.expect(200);
    assert_eq!((&reader["permission"], &reader["scope"]), (&json!("READ_ONLY"), &json!("tenant")));
    assert_eq!(reader["tenant"], json!({"id": "acme", "name": "Acme", "plan": "generous"}));
    assert!(has(&reader, "search") && !has(&reader, "upsert_vectors") && !has(&reader, "list_tenants"));
    let admin = validate(ACME).await.expect(200);
    assert!(has(&admin, "create_collection") && !has(&admin, "cluster_health"));
    let operator = validate(Key::Operator).await.expect(200);
    assert_eq!((&operator["scope"], &operator["tenant"]), (&json!("cluster"), &Value::Null));
    assert!(has(&operator, "cluster_health") && !has(&operator, "search"));
    validate(Key::Mcp(0)).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_is_gone_at_once_and_comes_back_as_it_was() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    with_words(&node, ACME, 3).await;
    with_words(&node, GLOBEX, 1).await;
    let (acme, operator) = (node.client(ACME), node.client(Key::Operator));
    let data_seq = acme.data_seq().await;

    let deleted = operator.delete("/cluster/tenants/acme").await.expect(200);
    assert_eq!(deleted["tenant"], "acme");
    assert!(!data.path().join("acme").exists());
    operator.delete("/cluster/tenants/acme").await.expect(404);
    let listed = operator.get("/cluster/tenants").await.expect(200);
    assert_eq!(listed["tenants"].as_array().unwrap().len(), 1, "{listed}");
    node.client(GLOBEX).get("/collections/words").await.expect(200);

    // The deletion may still be finishing when it has been answered.
    let restored = Wait::new("the deletion has finished").value(async || {
        let answer = operator.post("/cluster/tenants/acme/restore", &json!({})).await;
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(restored.await.expect(200), deleted);
    // Its last window was closed; nothing else has changed.
    assert_eq!(acme.data_seq().await, data_seq);
    assert_eq!(acme.get("/collections/words").await.expect(200)["count"], 3);
    acme.put("/collections/words/vectors", &json!({"vectors": [{"id": "x", "vector": [1, 2]}]}))
        .await
        .expect(200);
    operator.post("/cluster/tenants/acme/restore", &json!({})).await.expect(404);
    operator.delete("/cluster/tenants/nobody").await.expect(404);
    operator.delete("/cluster/tenants/..%2Fglobex").await.expect(422);
    acme.delete("/cluster/tenants/globex").await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_created_again_starts_empty_and_its_past_is_erased_when_the_grace_is_over() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &["--delete-grace", "2"]).await;
    let operator = cluster.key(None, None);
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    let create = async |key| cluster.send(key, "POST", "/collections", &words).await.expect(201);
    cluster.tenant("acme");
    let first = cluster.key(Some("acme"), None);
    create(&first).await;
    let deleted = cluster.send(&operator, "DELETE", "/cluster/tenants/acme", &Value::Null).await.expect(200);
    let past = folder.path().join("data/_deleted").join(deleted["log_id"].as_str().unwrap());
    assert!(past.exists());
    cluster.hub.set_tenant_status(&"acme".parse().unwrap(), TenantStatus::Deleted).unwrap();
    cluster.tenant("acme");
    let acme = cluster.key(Some("acme"), None);
    let list = async || cluster.send(&acme, "GET", "/collections", &Value::Null).await.expect(200);
    assert_eq!(list().await["collections"], json!([]));
    create(&acme).await;
    // No tenant could be restored.
    let refused = cluster.send(&operator, "POST", "/cluster/tenants/acme/restore", &json!({})).await;
    assert_eq!(refused.expect(409)["type"], "urn:vectorizer:problem:deleted-at-hivehub");
    eventually("its past is erased", async || !past.exists()).await;
    assert_eq!(list().await["collections"][0]["name"], "words");
}

/// Where the disk does not show them, and where one of them cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_fails_delays_no_other_and_is_done_later() {
    let data = TempDir::new().unwrap();
    let node = Node::start("dev", data.path(), &["--hub-listen", "127.0.0.1:0", "--delete-grace", "2"]);
    let operator = node.client(Key::Operator);
    with_words(&node, ACME, 1).await;
    with_words(&node, GLOBEX, 1).await;
    let mut past = Vec::new();
    for tenant in ["acme", "globex"] {
        let deleted = operator.delete(&format!("/cluster/tenants/{tenant}")).await.expect(200);
        past.push(data.path().join("_deleted").join(deleted["log_id"].as_str().unwrap()));
    }
    let tombstone = past[0].with_extension("json");
    let written = std::fs::read(&tombstone).unwrap();
    std::fs::write(&tombstone, "nonsense").unwrap();
    let obstacle = Obstacle::to_deletions(data.path());
    let says = async |words: &str| {
        let said = async || node.has_logged(&[words]);
        eventually(words, said).await;
    };
    says("the deleted tenants cannot be listed").await;
    obstacle.remove();
    says("its tombstone cannot be read").await;
    eventually("the other is erased", async || !past[1].exists()).await;
    assert!(past[0].exists(), "its time of deletion is unknown");
    std::fs::write(&tombstone, written).unwrap();
    eventually("it is erased as well", async || !past[0].exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_deleted_while_it_is_written_to_and_nothing_acknowledged_is_lost() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    with_words(&node, ACME, 1).await;
    let (acme, operator) = (node.client(ACME), node.client(Key::Operator));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn({
        let (acme, acknowledged) = (acme.clone(), Arc::clone(&acknowledged));
        async move {
            let mut written = 0;
            loop {
                let body = json!({"vectors": [{"id": format!("w{written}"), "vector": [1, 2]}]});
                let answer = acme.put("/collections/words/vectors", &body).await;
                match answer.status.as_u16() {
                    200 => {
                        written += 1;
                        acknowledged.store(written, Ordering::Relaxed);
                    }
                    // While it goes, and when it is gone.
                    503 | 410 => return written,
                    other => panic!("{other}: {}", answer.body),
                }
            }
        }
    });
    let writes = async || acknowledged.load(Ordering::Relaxed) >= 20;
    eventually("it is written to", writes).await;
    let deleted = operator.delete("/cluster/tenants/acme").await.expect(200);
    let written = writing.await.unwrap();
    assert!(written > 0);
    let tenant = deleted["log_id"].as_str().unwrap().parse().unwrap();
    let past = TenantFolder::new(data.path().join("_deleted"), &tenant);
    let mut upserted = 0;
    let count = |record: Record| {
        upserted += usize::from(matches!(record.event, Event::VectorsUpserted { .. }));
        Ok::<_, vectorizer_log::Error>(())
    };
    past.open().unwrap().recover(count).unwrap();
    assert!(upserted > written, "{upserted} records of {written} acknowledged writes and the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_came_again_can_be_exchanged_for_its_past() {
    let data = TempDir::new().unwrap();
    // Without keys every client is the operator, who may create it again.
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    let first = client.delete("/cluster/tenants/default").await.expect(200);
    // Looking is not enough to come again.
    assert_eq!(client.get("/collections").await.expect(200)["collections"], json!([]));
    client.delete("/cluster/tenants/default").await.expect(404);
    client.create("others", 2, "dot").await;
    let restore = format!("/cluster/tenants/default/restore?log_id={}", first["log_id"].as_str().unwrap());
    let exists = client.post(&restore, &json!({})).await;
    assert_eq!(exists.expect(409)["type"], "urn:vectorizer:problem:tenant-exists");
    client.delete("/cluster/tenants/default").await.expect(200);
    assert_eq!(client.get("/collections").await.expect(200)["collections"], json!([]));
    client.post(&restore, &json!({})).await.expect(200);
    assert_eq!(client.get("/collections").await.expect(200)["collections"][0]["name"], "words");
    client.post("/cluster/tenants/default/restore?log_id=7", &json!({})).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_by_hivehub_is_done_also_by_a_node_that_was_down_and_a_tenant_created_again_is_a_new_one()
{
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    let acme = "acme".parse().unwrap();
    let mut logs = 0;
    for is_down in [false, true] {
        cluster.tenant("acme");
        let key = cluster.key(Some("acme"), None);
        cluster.send(&key, "POST", "/collections", &words).await.expect(201);
        if is_down {
            cluster.feed_is_stored().await;
            cluster.node.signal("KILL");
        }
        cluster.hub.set_tenant_status(&acme, TenantStatus::Deleted).unwrap();
        if is_down {
            cluster.restart_node(&[]).await;
        }
        logs += 1;
        is_put_away(&cluster.node.data, "acme", logs).await;
        assert_eq!(deleted(&cluster.node.data), logs);
        assert_eq!(cluster.send(&key, "GET", "/collections", &Value::Null).await.status.as_u16(), 401);
    }
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let listed = cluster.send(&key, "GET", "/collections", &Value::Null).await.expect(200);
    assert_eq!(listed["collections"], json!([]));
}
