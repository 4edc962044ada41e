//! While HiveHub fails, known keys are served within their known limits, and unknown keys are refused.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_testing::{Stopwatch, Wait, eventually};

use crate::support::hub_and_node::{Cluster, HubFault};
use crate::support::limits::limits;
use crate::support::node::Answer;

/// Limits are asked for again all the time.
const FLAGS: [&str; 2] = ["--quota-check-interval", "1"];
/// What a line of the log says when HiveHub does not tell the limits of the known tenant.
const LIMITS_NOT_TOLD: [&str; 2] = ["limits cannot be asked for", "\"tenant\":\"acme\""];

async fn create(cluster: &Cluster, key: &ApiKey) -> Answer {
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    cluster.send(key, "POST", "/collections", &words).await
}

async fn upsert(cluster: &Cluster, key: &ApiKey, id: &str) -> Answer {
    let body = json!({"vectors": [{"id": id, "vector": [1, 2]}]});
    cluster.send(key, "PUT", "/collections/words/vectors", &body).await
}

async fn list(cluster: &Cluster, key: &ApiKey) -> Answer {
    cluster.send(key, "GET", "/collections", &Value::Null).await
}

/// Asks again until this is answered, for as long as the longest pause of a client that was refused.
async fn comes_to(cluster: &Cluster, key: &ApiKey, status: u16) {
    let is_answered = async || list(cluster, key).await.status.as_u16() == status;
    let wait = Wait::new(format!("the request is answered with {status}"));
    wait.at_most(Duration::from_secs(45)).every(Duration::from_millis(50)).until(is_answered).await;
}

/// Makes requests until the node asks for the tenant's limits again, which it does when they have expired. A hub that
/// is there sees the question. The failure of one that is gone is in the log.
async fn limits_have_expired(cluster: &Cluster, known: &ApiKey) {
    let have_expired = async || {
        list(cluster, known).await.expect(200);
        cluster.calls().iter().any(|path| path.ends_with("/acme/quota"))
            || cluster.node.has_logged(&LIMITS_NOT_TOLD)
    };
    Wait::new("the limits have expired").until(have_expired).await;
}

/// The limits hold, and no request waits for a hub that does not answer.
async fn limits_still_hold(cluster: &Cluster, known: &ApiKey) {
    for _ in 0..20 {
        let asked = Stopwatch::start();
        list(cluster, known).await.expect(200);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    assert_eq!(upsert(cluster, known, "c").await.problem(), "quota-exceeded");
}

/// What happens to a hub, and to the tenants of its node.
async fn through(fails: impl AsyncFn(&mut Cluster), recovers: impl AsyncFn(&mut Cluster)) {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &FLAGS).await;
    cluster.tenant_with("acme", limits(json!({"vectors": 2})));
    cluster.tenant("globex");
    let (known, unknown) = (cluster.key(Some("acme"), None), cluster.key(Some("globex"), None));
    create(&cluster, &known).await.expect(201);
    upsert(&cluster, &known, "a").await.expect(200);
    // A node that has just begun to follow the feed asks about each tenant here.
    cluster.feed_is_obeyed().await;

    fails(&mut cluster).await;
    cluster.calls();
    upsert(&cluster, &known, "b").await.expect(200);
    let refused = upsert(&cluster, &known, "c").await;
    assert_eq!(refused.problem(), "quota-exceeded", "{}", refused.body);
    limits_have_expired(&cluster, &known).await;
    limits_still_hold(&cluster, &known).await;
    let asked = Stopwatch::start();
    let stranger = list(&cluster, &unknown).await;
    assert_eq!(stranger.status.as_u16(), 503, "{}", stranger.body);
    assert!(stranger.headers.contains_key("retry-after"));
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    let has_failed = async || cluster.node.has_logged(&LIMITS_NOT_TOLD);
    eventually("the question about the limits has failed", has_failed).await;
    limits_still_hold(&cluster, &known).await;

    recovers(&mut cluster).await;
    comes_to(&cluster, &unknown, 200).await;
    let acme = "acme".parse().unwrap();
    cluster.hub.set_tenant(&acme, |entry| entry.overrides = limits(json!({"vectors": 3}))).unwrap();
    let is_accepted = async || upsert(&cluster, &known, "c").await.status.as_u16() == 200;
    Wait::new("the new limit holds").at_most(Duration::from_secs(10)).until(is_accepted).await;
    upsert(&cluster, &known, "d").await.expect(429);
}

async fn through_fault(fault: HubFault) {
    through(async |cluster| cluster.set_fault(fault), async |cluster| cluster.set_fault(HubFault::None))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tenants_are_served_within_their_limits_while_hivehub_is_slow() {
    through_fault(HubFault::Slow(Duration::from_secs(15))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tenants_are_served_within_their_limits_while_hivehub_answers_garbage() {
    through_fault(HubFault::Garbage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tenants_are_served_within_their_limits_while_hivehub_fails() {
    through_fault(HubFault::Status(500, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tenants_are_served_within_their_limits_while_hivehub_has_no_time() {
    through_fault(HubFault::Status(429, Some(2))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tenants_are_served_within_their_limits_while_hivehub_resets_connections() {
    through_fault(HubFault::Resetting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tenants_are_served_within_their_limits_while_hivehub_is_gone() {
    through(async |cluster| cluster.stop_hub().await, async |cluster| cluster.start_hub()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_hivehub_refuses_all_keys_and_knows_the_limits_as_soon_as_it_knows_the_keys()
 {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &FLAGS).await;
    cluster.tenant_with("acme", limits(json!({"vectors": 1})));
    cluster.tenant("globex");
    let (known, unknown) = (cluster.key(Some("acme"), None), cluster.key(Some("globex"), None));
    create(&cluster, &known).await.expect(201);
    upsert(&cluster, &known, "a").await.expect(200);
    let acme = "acme".parse().unwrap();
    cluster.is_stored("the tenant's limits", |store| matches!(store.quota(&acme), Ok(Some(_)))).await;

    cluster.stop_hub().await;
    cluster.restart_node(&FLAGS).await;
    let refused = list(&cluster, &known).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "keys-unavailable"));
    cluster.set_fault(HubFault::WithoutQuotas);
    cluster.start_hub();
    comes_to(&cluster, &known, 200).await;
    assert_eq!(upsert(&cluster, &known, "b").await.problem(), "quota-exceeded");
    // A tenant whose limits were never known is refused. Its key is unknown while the failing limits have opened the
    // breaker.
    let is_refused_for_its_limits = async || {
        let stranger = list(&cluster, &unknown).await;
        assert_eq!(stranger.status.as_u16(), 503, "{}", stranger.body);
        stranger.problem() == "limits-unavailable"
    };
    Wait::new("the key is known").at_most(Duration::from_secs(45)).until(is_refused_for_its_limits).await;
    cluster.set_fault(HubFault::None);
    comes_to(&cluster, &unknown, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_while_hivehub_is_gone_is_refused_when_it_is_back() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &FLAGS).await;
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    list(&cluster, &key).await.expect(200);
    cluster.stop_hub().await;
    // The request that waits for news has ended.
    cluster.feed_is_missed().await;
    cluster.hub.revoke_key(&key.id()).unwrap();
    list(&cluster, &key).await.expect(200);
    cluster.start_hub();
    comes_to(&cluster, &key, 401).await;
    list(&cluster, &key).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_while_its_validation_is_under_way_is_not_let_in() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    cluster.tenant("acme");
    // The node has to follow the feed to see the revocation at all.
    list(&cluster, &cluster.key(Some("acme"), None)).await.expect(200);
    let answer = async || {
        let key = cluster.key(Some("acme"), None);
        cluster.set_fault(HubFault::Held);
        let revoking = async {
            // The answer that is held says that the key is valid, and the feed says that it is not any more.
            cluster.is_holding().await;
            cluster.hub.revoke_key(&key.id()).unwrap();
            cluster.feed_is_heard().await;
            cluster.set_fault(HubFault::None);
        };
        let (answer, ()) = tokio::join!(list(&cluster, &key), revoking);
        // On a machine that stands still the node gives the question up before it is answered.
        (answer.status != 503).then_some(answer)
    };
    Wait::new("the validation is answered in time").value(answer).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_hivehub_without_a_required_field_grants_nothing_and_the_log_names_the_field() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    for (tenant, field, problem) in [
        ("acme", "expires_at", "keys-unavailable"),
        ("globex", "tenant", "keys-unavailable"),
        ("initech", "vectors", "limits-unavailable"),
        ("hooli", "requests_per_hour", "limits-unavailable"),
    ] {
        cluster.tenant(tenant);
        let key = cluster.key(Some(tenant), None);
        cluster.set_fault(HubFault::Without(field));
        let refused = list(&cluster, &key).await;
        assert_eq!(refused.problem(), problem, "{field}: {}", refused.body);
        let named = format!("the field \\\"{field}\\\" is missing");
        let says = async || cluster.node.has_logged(&[&named]);
        eventually(&named, says).await;
        cluster.set_fault(HubFault::None);
        comes_to(&cluster, &key, 200).await;
    }
}
