//! A tenant that is deleted at HiveHub and created again is another one, also to a node that missed the deletion.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::TenantStatus;
use vectorizer_testing::{PATIENCE, Wait, eventually};

use crate::support::folders::{Obstacle, deleted, is_put_away};
use crate::support::hub_and_node::{Cluster, HubFault};
use crate::support::node::{Answer, Node};

async fn list(cluster: &Cluster, key: &ApiKey) -> Answer {
    cluster.send(key, "GET", "/collections", &Value::Null).await
}

async fn create(cluster: &Cluster, key: &ApiKey, name: &str) {
    let collection = json!({"name": name, "dimension": 2, "metric": "dot"});
    cluster.send(key, "POST", "/collections", &collection).await.expect(201);
}

/// A tenant with a collection, and its key.
async fn first_tenant(cluster: &Cluster) -> ApiKey {
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    create(cluster, &key, "secret").await;
    key
}

/// Deletes the tenant and creates another one with its id; a key of the new one.
fn come_again(cluster: &Cluster) -> ApiKey {
    cluster.hub.set_tenant_status(&"acme".parse().unwrap(), TenantStatus::Deleted).unwrap();
    cluster.tenant("acme");
    cluster.key(Some("acme"), None)
}

/// The newcomer begins with nothing, and the predecessor's key opens nothing.
async fn begins_anew(cluster: &Cluster, old: &ApiKey, new: &ApiKey) {
    assert_eq!(list(cluster, new).await.expect(200)["collections"], json!([]));
    create(cluster, new, "mine").await;
    list(cluster, old).await.expect(401);
    is_still_a_new_one(cluster, new).await;
}

/// The same, and the newcomer keeps what it makes when the node has heard of the deletion from the feed, and from
/// HiveHub's answers after a gap in it. The predecessor's log is put away once.
async fn is_a_new_one(cluster: &Cluster, old: &ApiKey, new: &ApiKey) {
    begins_anew(cluster, old, new).await;
    cluster.feed_is_obeyed().await;
    is_still_a_new_one(cluster, new).await;
    list(cluster, old).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_created_again_while_the_node_was_down_is_a_new_one_also_after_a_gap_in_the_feed() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let old = first_tenant(&cluster).await;
    cluster.feed_is_stored().await;
    cluster.node.signal("KILL");
    let new = come_again(&cluster);
    cluster.set_fault(HubFault::Forgetful);
    cluster.restart_node(&[]).await;
    begins_anew(&cluster, &old, &new).await;
    let asks = async || cluster.node.has_logged(&["asking HiveHub which tenants it has deleted"]);
    eventually("the node asks after the gap", asks).await;
    is_still_a_new_one(&cluster, &new).await;
    // While the feed knows no position, each question makes another gap.
    cluster.set_fault(HubFault::None);
    cluster.feed_is_obeyed().await;
    is_still_a_new_one(&cluster, &new).await;
    list(&cluster, &old).await.expect(401);
    // And stays so.
    cluster.restart_node(&[]).await;
    assert_eq!(list(&cluster, &new).await.expect(200)["collections"][0]["name"], "mine");
    assert_eq!(deleted(&cluster.node.data), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_was_deleted_in_a_gap_of_the_feed_goes_even_if_it_never_comes_again() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    first_tenant(&cluster).await;
    cluster.tenant("globex");
    let globex = cluster.key(Some("globex"), None);
    create(&cluster, &globex, "theirs").await;
    cluster.feed_is_stored().await;
    cluster.node.signal("KILL");
    cluster.hub.set_tenant_status(&"acme".parse().unwrap(), TenantStatus::Deleted).unwrap();
    // At first HiveHub does not say which tenants are deleted.
    cluster.set_fault(HubFault::ForgetfulWithoutQuotas);
    cluster.restart_node(&[]).await;
    let is_not_told = async || {
        cluster.node.has_logged(&["does not say whether the tenant is deleted", "\"tenant\":\"acme\""])
    };
    eventually("the node gets no answer", is_not_told).await;
    assert!(cluster.node.data.join("acme").exists());
    // Then the disk is in the way.
    let obstacle = Obstacle::to_deletions(&cluster.node.data);
    cluster.set_fault(HubFault::Forgetful);
    let still_here = "a tenant that HiveHub has deleted is still here";
    let is_hindered = async || cluster.node.has_logged(&[still_here, "\"tenant\":\"acme\""]);
    eventually("the deletion fails", is_hindered).await;
    assert!(cluster.node.data.join("acme").exists());
    obstacle.remove();
    is_put_away(&cluster.node.data, "acme", 1).await;
    assert!(!cluster.node.has_logged(&["it is not billed"]), "the log was taken for damaged");
    // A tenant that was asked for while the disk was in the way is woken again some seconds later.
    eventually("the other tenant is served", async || list(&cluster, &globex).await.status == 200).await;
    assert_eq!(list(&cluster, &globex).await.expect(200)["collections"][0]["name"], "theirs");
    assert_eq!(deleted(&cluster.node.data), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_by_hivehub_that_the_disk_delays_is_done_later_and_no_key_is_accepted_before() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let acme = first_tenant(&cluster).await;
    cluster.tenant("globex");
    let globex = cluster.key(Some("globex"), None);
    create(&cluster, &globex, "theirs").await;
    let data = cluster.node.data.clone();
    for (nth, tenant, key, is_killed) in [(1, "acme", acme, true), (2, "globex", globex, false)] {
        let obstacle = Obstacle::to_deletions(&data);
        cluster.hub.set_tenant_status(&tenant.parse().unwrap(), TenantStatus::Deleted).unwrap();
        let is_hindered =
            async || cluster.node.has_logged(&["\"ERROR\"", &format!("\"tenant\":\"{tenant}\"")]);
        eventually("the deletion fails", is_hindered).await;
        cluster.feed_is_stored().await;
        eventually("the key is refused", async || list(&cluster, &key).await.status != 200).await;
        assert!(data.join(tenant).exists());
        if is_killed {
            cluster.end_node("KILL").await;
        }
        obstacle.remove();
        if is_killed {
            cluster.node = cluster.another_node(&[]).await;
        }
        is_put_away(&data, tenant, nth).await;
        assert_ne!(list(&cluster, &key).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_created_again_is_a_new_one_also_to_a_node_whose_store_is_lost() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let old = first_tenant(&cluster).await;
    cluster.feed_is_stored().await;
    cluster.end_node("KILL").await;
    let new = come_again(&cluster);
    for lost in ["standing", "catalogue"] {
        fs::remove_dir_all(cluster.node.data.join("_node").join(lost)).unwrap();
    }
    cluster.node = cluster.another_node(&[]).await;
    is_a_new_one(&cluster, &old, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_created_again_is_a_new_one_also_while_the_feed_fails() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    let old = first_tenant(&cluster).await;
    cluster.set_fault(HubFault::WithoutPolicies);
    // The request that waits for news has to end first.
    let more = crate::support::limits::limits(json!({"vectors": 7}));
    cluster.hub.set_tenant(&"acme".parse().unwrap(), |entry| entry.overrides = more).unwrap();
    cluster.is_asked_for("/policies").await;
    let new = come_again(&cluster);
    begins_anew(&cluster, &old, &new).await;
    cluster.is_asked_for("/policies").await;
    is_still_a_new_one(&cluster, &new).await;
    // The feed catches up, and what it tells is of the one before.
    cluster.set_fault(HubFault::None);
    cluster.feed_is_obeyed().await;
    is_still_a_new_one(&cluster, &new).await;
    list(&cluster, &old).await.expect(401);
}

async fn is_still_a_new_one(cluster: &Cluster, new: &ApiKey) {
    assert_eq!(list(cluster, new).await.expect(200)["collections"][0]["name"], "mine");
    assert_eq!(deleted(&cluster.node.data), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_created_again_in_a_short_outage_is_a_new_one_and_keeps_its_data() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let old = first_tenant(&cluster).await;
    cluster.stop_hub().await;
    cluster.feed_is_missed().await;
    let new = come_again(&cluster);
    cluster.start_hub();
    // As soon as HiveHub is asked again, wherever the feed is by then.
    let is_let_in = async || list(&cluster, &new).await.status.as_u16() != 503;
    Wait::new("the new tenant is let in").every(Duration::from_millis(5)).until(is_let_in).await;
    is_a_new_one(&cluster, &old, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_when_its_tenant_is_deleted_reaches_nothing_of_the_one_that_comes_again() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    let old = first_tenant(&cluster).await;
    let body = json!({"vectors": [{"id": "late", "vector": [1, 2]}]}).to_string();
    let mut upload = TcpStream::connect(cluster.node.authority()).unwrap();
    upload.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "PUT /api/v1/collections/secret/vectors HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        old.expose(),
        body.len()
    );
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(&body.as_bytes()[..10]).unwrap();
    let operator = cluster.key(None, None);
    let is_let_in = async || {
        let request =
            cluster.node.keyless().request_at(Method::GET, "/metrics").bearer_auth(operator.expose());
        let metrics = request.send().await.unwrap().text().await.unwrap();
        metrics
            .contains("vectorizer_tenant_requests_total{operation=\"upsert_vectors\",tenant_id=\"acme\"} 1")
    };
    eventually("the upload is let in", is_let_in).await;
    let new = come_again(&cluster);
    assert_eq!(list(&cluster, &new).await.expect(200)["collections"], json!([]));
    create(&cluster, &new, "secret").await;
    upload.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).unwrap();
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    let listed = cluster.send(&new, "GET", "/collections/secret", &Value::Null).await.expect(200);
    assert_eq!(listed["count"], 0);
    assert_eq!(deleted(&cluster.node.data), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_of_an_earlier_incarnation_is_shown_to_no_later_one() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    first_tenant(&cluster).await;
    let (new, operator) = (come_again(&cluster), cluster.key(None, None));
    assert_eq!(list(&cluster, &new).await.expect(200)["collections"], json!([]));
    create(&cluster, &new, "mine").await;
    let gone = cluster.send(&operator, "DELETE", "/cluster/tenants/acme", &Value::Null).await.expect(200);
    let tombstones = fs::read_dir(cluster.node.data.join("_deleted")).unwrap();
    let names = tombstones.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let logs: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    let first = logs.iter().find(|log| gone["log_id"] != json!(log)).unwrap();
    let restore = format!("/cluster/tenants/acme/restore?log_id={first}");
    // It is not restored, since no tenant can be identified with it.
    let refused = cluster.send(&operator, "POST", &restore, &json!({})).await;
    assert_eq!(refused.problem(), "deleted-at-hivehub");
    assert!(!cluster.node.data.join("acme").exists());
    assert_ne!(list(&cluster, &new).await.status, 200, "what the operator has deleted came back");
    let restore = format!("/cluster/tenants/acme/restore?log_id={}", gone["log_id"].as_str().unwrap());
    cluster.send(&operator, "POST", &restore, &json!({})).await.expect(200);
    assert_eq!(list(&cluster, &new).await.expect(200)["collections"][0]["name"], "mine");
    assert_eq!(deleted(&cluster.node.data), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_an_incarnation_is_bound_to_the_first_one_that_opens_it() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let node = Node::serve(&data);
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    let points = json!({"vectors": [{"id": "a", "vector": [1, 2]}]});
    client.put("/collections/words/vectors", &points).await.expect(200);
    let head = client.head().await;
    tokio::task::spawn_blocking(|| node.stop()).await.unwrap();

    // The same folder, in a cluster that has a tenant of this name.
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    cluster.tenant("default");
    // The node looks after the folder's bill before a key of the tenant arrives. The tenant may sleep again by
    // the time it is listed, so its waking is read from the node's log.
    let has_woken = async || cluster.node.has_logged(&["\"message\":\"awake\"", "\"tenant\":\"default\""]);
    eventually("the node looks after it", has_woken).await;
    let key = cluster.key(Some("default"), None);
    let is_let_in = async || list(&cluster, &key).await.status.as_u16() != 503;
    eventually("it is let in", is_let_in).await;
    let listed = cluster.send(&key, "GET", "/collections/words", &Value::Null).await.expect(200);
    assert_eq!(listed["count"], 1);
    // No record of before is another one now.
    let path = format!("/log?to={}", head["seq"]);
    let log = cluster.send(&key, "GET", &path, &Value::Null).await.body;
    let last: Value = serde_json::from_str(log.as_str().unwrap().lines().last().unwrap()).unwrap();
    assert_eq!((&last["seq"], &last["chain"]), (&head["seq"], &head["chain"]));
    cluster.restart_node(&[]).await;
    let listed = cluster.send(&key, "GET", "/collections/words", &Value::Null).await.expect(200);
    assert_eq!(listed["count"], 1);

    // It is bound to that one: a later tenant of the name starts empty.
    cluster.hub.set_tenant_status(&"default".parse().unwrap(), TenantStatus::Deleted).unwrap();
    cluster.tenant("default");
    let later = cluster.key(Some("default"), None);
    assert_eq!(list(&cluster, &later).await.expect(200)["collections"], json!([]));
    list(&cluster, &key).await.expect(401);
    assert_eq!(deleted(&cluster.node.data), 1);
}
