//! What servers hear of, and how soon.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vectorizer_hivehub::{POLICIES_PATH, PolicyCursor, TenantStatus};
use vectorizer_testing::Stopwatch;

use super::stage::{By, Served};

async fn policies(served: &Served, query: &str) -> Value {
    served.ok(By::Service, "GET", &format!("{POLICIES_PATH}?{query}"), None).await
}

#[tokio::test]
async fn without_a_cursor_the_present_one_is_answered_at_once() {
    let served = Served::start();
    let start = Stopwatch::start();
    let answer = policies(&served, "wait=30").await;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(answer, json!({"cursor": served.hub.policy_cursor().to_string(), "events": []}));
}

#[tokio::test]
async fn a_waiting_node_hears_of_a_revocation_within_100_ms() {
    let served = Served::start();
    let mut took = Vec::new();
    for tenant in &served.keys.tenants {
        for key in [&tenant.keys.admin, &tenant.keys.read_only, &tenant.keys.mcp] {
            let cursor = served.hub.policy_cursor();
            let path = format!("{POLICIES_PATH}?since={cursor}&wait=30");
            let waiting = served.request(By::Service, "GET", &path).send();
            let waiting = tokio::spawn(async move {
                (waiting.await.unwrap().json::<Value>().await.unwrap(), Instant::now())
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!waiting.is_finished(), "nothing has happened yet");
            let hub = served.hub.clone();
            let id = key.id();
            let revoked = tokio::task::spawn_blocking(move || {
                hub.revoke_key(&id).unwrap();
                Instant::now()
            });
            let revoked = revoked.await.unwrap();
            let (answer, heard) = waiting.await.unwrap();
            took.push(heard.saturating_duration_since(revoked));
            let event = &answer["events"][0];
            assert_eq!((&event["type"], &event["key_sha256"]), (&json!("key_revoked"), &json!(key.sha256())));
            assert_eq!(answer["cursor"], PolicyCursor::new(cursor.feed(), cursor.position() + 1).to_string());
        }
    }
    // The machine may stand still in some of them.
    took.sort_unstable();
    assert!(took[took.len() / 2] < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn a_wait_in_which_nothing_happens_ends_in_time_with_the_same_cursor() {
    let served = Served::start();
    let cursor = served.hub.policy_cursor();
    let (start, running) = (Instant::now(), Stopwatch::start());
    let answer = policies(&served, &format!("since={cursor}&wait=1")).await;
    assert!(start.elapsed() >= Duration::from_secs(1) && running.elapsed() < Duration::from_secs(5));
    assert_eq!(answer, json!({"cursor": cursor.to_string(), "events": []}));
}

#[tokio::test]
async fn a_hub_that_stops_answers_waiting_requests_at_once() {
    let served = Served::start();
    let cursor = served.hub.policy_cursor();
    let start = Stopwatch::start();
    let path = format!("since={cursor}&wait=30");
    let (answer, ()) = tokio::join!(policies(&served, &path), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        served.hub.stop_waiting();
    });
    assert_eq!(answer["events"], json!([]));
    policies(&served, &path).await;
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_feed_goes_on_over_a_kill_page_by_page() {
    let served = Served::start();
    let start = served.hub.policy_cursor();
    let acme = "acme".parse().unwrap();
    let hub = served.hub.clone();
    tokio::task::spawn_blocking(move || {
        for _ in 0..6 {
            hub.set_tenant_status(&acme, TenantStatus::Suspended).unwrap();
            hub.set_tenant_status(&acme, TenantStatus::Active).unwrap();
        }
    })
    .await
    .unwrap();
    let before = policies(&served, &format!("since={start}")).await;
    assert_eq!(before["events"].as_array().unwrap().len(), 12);
    let again = served.killed_and_started_again();
    assert_eq!(policies(&again, &format!("since={start}")).await, before);
    let cursor = before["cursor"].as_str().unwrap();
    again.ok(By::Operator, "POST", "/api/admin/tenants/globex/suspend", None).await;
    let after = policies(&again, &format!("since={cursor}&wait=30")).await;
    assert_eq!(after["events"][0]["position"], start.position() + 13);
}

#[tokio::test]
async fn a_cursor_from_which_nothing_leads_on_is_lost() {
    let served = Served::start();
    let cursor = served.hub.policy_cursor();
    let ahead = PolicyCursor::new(cursor.feed(), cursor.position() + 1);
    let other = Served::start().hub.policy_cursor();
    for lost in [ahead, other] {
        let path = format!("{POLICIES_PATH}?since={lost}&wait=30");
        let (status, answer) = served.ask(By::Service, "GET", &path, None).await;
        assert_eq!((status, &answer["error"]), (410, &json!("cursor_lost")));
    }
}
