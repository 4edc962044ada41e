//! Limits hold to the unit.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::TenantStatus;
use vectorizer_testing::eventually;

use crate::support::hub_and_node::Cluster;
use crate::support::limits::{limits, within_a_second};
use crate::support::node::Answer;

/// A tenant with these limits, and its key.
fn tenant(cluster: &Cluster, numbers: Value) -> ApiKey {
    cluster.tenant_with("acme", limits(numbers));
    cluster.key(Some("acme"), None)
}

async fn create(cluster: &Cluster, key: &ApiKey) {
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    cluster.send(key, "POST", "/collections", &words).await.expect(201);
}

async fn upsert(cluster: &Cluster, key: &ApiKey, id: usize) -> Answer {
    let body = json!({"vectors": [{"id": format!("p{id}"), "vector": [1, 2]}]});
    cluster.send(key, "PUT", "/collections/words/vectors", &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_writers_at_once_never_exceed_a_quota_and_use_all_of_it() {
    let folder = TempDir::new().unwrap();
    let cluster = Arc::new(Cluster::start(folder.path(), &[]).await);
    let key = tenant(&cluster, json!({"vectors": 40, "collections": 1, "requests_per_minute": 10_000}));
    create(&cluster, &key).await;
    let other = json!({"name": "others", "dimension": 2, "metric": "dot"});
    let refused = cluster.send(&key, "POST", "/collections", &other).await.expect(429);
    assert_eq!(refused["type"], "urn:vectorizer:problem:quota-exceeded");
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let (cluster, key) = (Arc::clone(&cluster), key.clone());
            tokio::spawn(async move {
                let mut written = 0;
                for number in 0..4 {
                    let answer = upsert(&cluster, &key, writer * 4 + number).await;
                    if answer.status.as_u16() == 429 {
                        assert!(answer.headers.contains_key("retry-after"));
                    } else {
                        answer.expect(200);
                        written += 1;
                    }
                }
                written
            })
        })
        .collect();
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert_eq!(written, 40);
    let usage = cluster.send(&key, "GET", "/cluster/usage", &Value::Null).await.expect(200);
    assert_eq!((&usage["usage"]["vectors"], &usage["quota"]["vectors"]), (&json!(40), &json!(40)));

    // What can never fit is said to be too large, and a deletion makes room at once.
    let many: Vec<Value> = (0..41).map(|id| json!({"id": format!("n{id}"), "vector": [1, 2]})).collect();
    let too_large = cluster.send(&key, "PUT", "/collections/words/vectors", &json!({"vectors": many})).await;
    assert_eq!(too_large.expect(413)["type"], "urn:vectorizer:problem:larger-than-quota");
    let listed =
        cluster.send(&key, "GET", "/collections/words/vectors?limit=1", &Value::Null).await.expect(200);
    let gone = listed["vectors"][0]["id"].as_str().unwrap().to_owned();
    upsert(&cluster, &key, 999).await.expect(429);
    cluster
        .send(&key, "DELETE", &format!("/collections/words/vectors/{gone}"), &Value::Null)
        .await
        .expect(200);
    upsert(&cluster, &key, 999).await.expect(200);
    upsert(&cluster, &key, 1_000).await.expect(429);

    // Who was refused what is in the tenant's log, with the commit that came next.
    let log = cluster.send(&key, "GET", "/log?with_payload=false", &Value::Null).await.body;
    let denied = log.as_str().unwrap().lines().find(|line| line.contains("access_denied")).unwrap();
    let denied: Value = serde_json::from_str(denied).unwrap();
    let event = &denied["event"];
    assert_eq!(
        (&event["what"], &event["why"], &event["count"]),
        (&json!("create_collection"), &json!("quota-exceeded"), &json!(1)),
        "{denied}"
    );
    assert_eq!((&event["key_id"], &event["from"]), (&json!(key.id().to_string()), &json!("127.0.0.1")));
}

/// What 32 writers at once, four times each, get written of what `write` writes.
async fn written(
    cluster: &Arc<Cluster>,
    key: &ApiKey,
    write: fn(usize) -> (&'static str, &'static str, Value),
) -> usize {
    let writers = (0..32).map(|writer| {
        let (cluster, key) = (Arc::clone(cluster), key.clone());
        tokio::spawn(async move {
            let mut written = 0;
            for number in 0..4 {
                let (method, path, body) = write(writer * 4 + number);
                let answer = cluster.send(&key, method, path, &body).await;
                match answer.status.as_u16() {
                    200 | 201 => written += 1,
                    _ => assert_eq!(answer.problem(), "quota-exceeded", "{}", answer.body),
                }
            }
            written
        })
    });
    let mut sum = 0;
    for writer in writers.collect::<Vec<_>>() {
        sum += writer.await.unwrap();
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_writers_at_once_never_exceed_the_collections_and_bytes_of_a_plan_and_use_all_of_them() {
    let folder = TempDir::new().unwrap();
    let cluster = Arc::new(Cluster::start(folder.path(), &[]).await);
    let key = tenant(&cluster, json!({"collections": 41, "requests_per_minute": 10_000}));
    create(&cluster, &key).await;
    let usage =
        async || cluster.send(&key, "GET", "/cluster/usage", &Value::Null).await.expect(200)["usage"].clone();
    let created = written(&cluster, &key, |number| {
        ("POST", "/collections", json!({"name": format!("c{number:03}"), "dimension": 2, "metric": "dot"}))
    });
    assert_eq!((created.await, &usage().await["collections"]), (40, &json!(41)));

    // As many bytes as 40 of these vectors have, and some, which are not enough for one more.
    let vector = |number: usize| {
        let vectors = json!({"vectors": [{"id": format!("p{number:03}"), "vector": [1, 2]}]});
        ("PUT", "/collections/words/vectors", vectors)
    };
    let before = usage().await["storage_bytes"].as_u64().unwrap();
    let (method, path, body) = vector(999);
    cluster.send(&key, method, path, &body).await.expect(200);
    let each = usage().await["storage_bytes"].as_u64().unwrap() - before;
    assert!(each > 8, "{each}");
    let limit = before + 41 * each + each / 2;
    let plan = json!({"storage_bytes": limit, "collections": 41, "requests_per_minute": 10_000});
    cluster.hub.set_tenant(&"acme".parse().unwrap(), |entry| entry.overrides = limits(plan.clone())).unwrap();
    within_a_second(async || {
        let usage = cluster.send(&key, "GET", "/cluster/usage", &Value::Null).await.expect(200);
        usage["quota"]["storage_bytes"] == json!(limit)
    })
    .await;
    let upserted = written(&cluster, &key, vector).await;
    assert_eq!((upserted, &usage().await["storage_bytes"]), (40, &json!(before + 41 * each)));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_plan_are_refused_whichever_key_they_come_with_and_told_when_to_return() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    let key = tenant(&cluster, json!({"requests_per_minute": 6, "requests_per_hour": 1_000}));
    let second = cluster.key(Some("acme"), None);
    for left in (0..6).rev() {
        let key = if left % 2 == 0 { &key } else { &second };
        let answer = cluster.send(key, "GET", "/collections", &Value::Null).await;
        assert_eq!(answer.headers["ratelimit-policy"], "\"minute\";q=6;w=60, \"hour\";q=1000;w=3600");
        let state = answer.headers["ratelimit"].to_str().unwrap().to_owned();
        assert!(state.starts_with(&format!("\"minute\";r={left};t=")), "{state}");
        answer.expect(200);
    }
    // Every answer says how things stand, also one for which nothing was asked of the tenant.
    for (method, path, status) in [("GET", "/nowhere", 404), ("DELETE", "/collections", 405)] {
        let answer = cluster.send(&key, method, path, &Value::Null).await;
        assert_eq!(answer.headers["ratelimit-policy"], "\"minute\";q=6;w=60, \"hour\";q=1000;w=3600");
        assert!(answer.headers["ratelimit"].to_str().unwrap().starts_with("\"minute\";r=0;t="));
        answer.expect(status);
    }
    let refused = cluster.send(&second, "GET", "/collections", &Value::Null).await;
    let retry_after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&retry_after), "{retry_after}");
    assert!(refused.headers.contains_key("ratelimit"));
    assert_eq!(refused.expect(429)["type"], "urn:vectorizer:problem:rate-limit-exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_plan_a_suspension_and_a_revocation_arrive_within_a_second() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    let key = tenant(&cluster, json!({"vectors": 1}));
    let second = cluster.key(Some("acme"), None);
    create(&cluster, &key).await;
    upsert(&cluster, &key, 0).await.expect(200);
    upsert(&cluster, &second, 1).await.expect(429);
    let acme = "acme".parse().unwrap();
    cluster.hub.set_tenant(&acme, |entry| entry.overrides = limits(json!({"vectors": 2}))).unwrap();
    within_a_second(async || upsert(&cluster, &key, 1).await.status.as_u16() == 200).await;
    cluster.hub.revoke_key(&second.id()).unwrap();
    within_a_second(async || {
        cluster.send(&second, "GET", "/collections", &Value::Null).await.status.as_u16() == 401
    })
    .await;
    cluster.hub.set_tenant_status(&acme, TenantStatus::Suspended).unwrap();
    within_a_second(async || {
        cluster.send(&key, "GET", "/collections", &Value::Null).await.status.as_u16() == 403
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_a_tenant_asks_hivehub_is_asked_once_for_its_key_and_its_limits() {
    let folder = TempDir::new().unwrap();
    let cluster = Arc::new(Cluster::start(folder.path(), &[]).await);
    let key = tenant(&cluster, json!({}));
    // Until the node has heard of the new tenant, it rightly asks again.
    cluster.feed_is_heard().await;
    let asking: Vec<_> = (0..32)
        .map(|_| {
            let (cluster, key) = (Arc::clone(&cluster), key.clone());
            tokio::spawn(async move {
                for _ in 0..5 {
                    cluster.send(&key, "GET", "/collections", &Value::Null).await.expect(200);
                }
            })
        })
        .collect();
    for asking in asking {
        asking.await.unwrap();
    }
    let calls = cluster.calls();
    let count = |end: &str| calls.iter().filter(|path| path.ends_with(end)).count();
    assert_eq!((count("/validate"), count("/quota")), (1, 1), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_can_never_fit_is_refused_as_larger_than_the_quota() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    let key = tenant(&cluster, json!({"storage_bytes": 500, "collections": 1}));
    create(&cluster, &key).await;
    let put = async |bytes: usize| {
        let point = json!({"id": "p", "vector": [1, 2], "payload": {"t": "x".repeat(bytes)}});
        cluster.send(&key, "PUT", "/collections/words/vectors", &json!({"vectors": [point]})).await
    };
    let refused = put(600).await;
    assert!(!refused.headers.contains_key("retry-after"), "no waiting makes it fit");
    assert_eq!(refused.expect(413)["type"], "urn:vectorizer:problem:larger-than-quota");
    put(300).await.expect(200);
    // It would fit if there were nothing else.
    let point = json!({"id": "q", "vector": [1, 2], "payload": {"t": "x".repeat(300)}});
    let refused = cluster.send(&key, "PUT", "/collections/words/vectors", &json!({"vectors": [point]})).await;
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(refused.expect(429)["type"], "urn:vectorizer:problem:quota-exceeded");
    // A quota of no collections at all.
    cluster.tenant_with("globex", limits(json!({"collections": 0})));
    let none = cluster.key(Some("globex"), None);
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    let refused = cluster.send(&none, "POST", "/collections", &words).await.expect(422);
    assert_eq!(refused["type"], "urn:vectorizer:problem:larger-than-quota");
}

/// How many requests are let in at once.
async fn let_in(cluster: &Cluster, key: &ApiKey) -> u64 {
    let mut count = 0;
    loop {
        let answer = cluster.send(key, "GET", "/collections", &Value::Null).await;
        if answer.status == 429 {
            assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
            return count;
        }
        answer.expect(200);
        count += 1;
    }
}

/// Waits until it is stored what all tenants have used by now. The node stores it once a second for all tenants with
/// requests, so what they have used is on disk when a later request of another tenant is.
async fn used_limits_are_stored(cluster: &Cluster, marker: &str) {
    // A request uses half a minute of these limits, so that something is left of it to be stored.
    cluster.tenant_with(marker, limits(json!({"requests_per_minute": 2})));
    let key = cluster.key(Some(marker), None);
    cluster.send(&key, "GET", "/collections", &Value::Null).await.expect(200);
    let journal = cluster.node.data.join("_node/requests.journal");
    let is_stored = async || std::fs::read_to_string(&journal).is_ok_and(|entries| entries.contains(marker));
    eventually("the used limits are stored", is_stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_resets_no_request_limit() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let [by_minute, by_hour] = [("acme", 30, 1_000), ("globex", 1_000, 50)].map(|(name, minute, hour)| {
        let numbers = json!({"requests_per_minute": minute, "requests_per_hour": hour});
        cluster.tenant_with(name, limits(numbers));
        cluster.key(Some(name), None)
    });
    // What comes back by itself meanwhile.
    let since = Instant::now();
    let minutes_share = || since.elapsed().as_secs() / 2 + 1;
    let hours_share = || since.elapsed().as_secs() * 50 / 3_600 + 1;
    let (mut of_minute, mut of_hour) = (let_in(&cluster, &by_minute).await, let_in(&cluster, &by_hour).await);
    assert!((30..=30 + minutes_share()).contains(&of_minute), "{of_minute}");
    assert!((50..=50 + hours_share()).contains(&of_hour), "{of_hour}");
    for (life, signal) in ["TERM", "KILL", "KILL", "TERM"].into_iter().enumerate() {
        if signal == "KILL" {
            used_limits_are_stored(&cluster, &format!("marker-{life}")).await;
        }
        cluster.end_node(signal).await;
        cluster.node = cluster.another_node(&[]).await;
        of_minute += let_in(&cluster, &by_minute).await;
        of_hour += let_in(&cluster, &by_hour).await;
        assert!(of_minute <= 30 + minutes_share(), "{of_minute} after {:?} and {signal}", since.elapsed());
        assert!(of_hour <= 50 + hours_share(), "{of_hour} after {:?} and {signal}", since.elapsed());
    }
    // A file that is damaged costs what is in it, and the next one is kept as before.
    cluster.end_node("TERM").await;
    let path = cluster.node.data.join("_node/requests.journal");
    std::fs::write(&path, "nonsense\nmore of it\n").unwrap();
    cluster.node = cluster.another_node(&[]).await;
    assert!(let_in(&cluster, &by_hour).await <= 51);
    cluster.change_node(&[]).await;
    assert!(let_in(&cluster, &by_hour).await <= 1);
}
