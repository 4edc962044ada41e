//! A hub that runs: what it has acknowledged survives SIGKILL at any moment, and usage counts once.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{Key, Node, http, vectorizer};

const LOG: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

fn event(seq: u64) -> String {
    let event = json!({
        "specversion": "1.0", "id": format!("{LOG}:{seq}:requests"),
        "source": "/vectorizer/tenants/acme", "type": "io.hivehub.vectorizer.usage.v1",
        "time": "2026-01-02T03:05:00.000000Z", "datacontenttype": "application/json",
        "data": {
            "meter": "requests", "value": 1, "unit": "requests",
            "window": {"from": "2026-01-02T03:00:00.000000Z", "to": "2026-01-02T03:05:00.000000Z"},
            "first_seq": seq, "last_seq": seq, "chain": format!("{seq:064x}"),
        },
    });
    format!("{event}\n")
}

fn service_key(hub: &Node) -> String {
    let keys: Value =
        serde_json::from_slice(&std::fs::read(hub.data.join("dev-keys.json")).unwrap()).unwrap();
    keys["hivehub_api_key"].as_str().unwrap().to_owned()
}

/// Reports these events; the outcomes that arrived.
async fn report(hub: &Node, seqs: std::ops::Range<u64>) -> Vec<String> {
    let request = http()
        .post(format!("{}/api/internal/vectorizer/usage", hub.url()))
        .header("X-Service-Key", service_key(hub))
        .body(seqs.map(event).collect::<String>());
    let Ok(mut response) = request.send().await else { return Vec::new() };
    let mut arrived = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        arrived.extend_from_slice(&chunk);
    }
    // A line that was cut says nothing.
    let whole = arrived.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = std::str::from_utf8(&arrived[..whole]).unwrap().lines();
    let outcome = |line| serde_json::from_str::<Value>(line).unwrap()["outcome"].as_str().unwrap().to_owned();
    lines.map(outcome).collect()
}

/// Creates tenants one after the other until the hub is gone; which were acknowledged.
async fn create_until_the_end(url: String, key: String, first: u64) -> Vec<u64> {
    let mut done = Vec::new();
    for number in first.. {
        let request = http().post(format!("{url}/api/admin/tenants")).bearer_auth(&key);
        let tenant = json!({"id": format!("t{number}"), "plan": "generous"});
        match request.json(&tenant).send().await {
            Ok(response) if response.status() == 201 => done.push(number),
            Ok(response) => panic!("{}", response.status()),
            Err(_) => break,
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hub_acknowledged_survives_sigkill_at_any_moment() {
    const EVENTS: u64 = 3_000;
    let data = TempDir::new().unwrap();
    let mut tenants = Vec::new();
    let mut accepted = 0;
    for round in 0..6 {
        let hub = Node::start("hub", data.path(), &[]);
        let creating = create_until_the_end(hub.url().to_owned(), hub.key(Key::Operator), round * 10_000);
        let creating = tokio::spawn(creating);
        let (outcomes, ()) = tokio::join!(report(&hub, 1..EVENTS + 1), async {
            tokio::time::sleep(Duration::from_millis(20 + round * 57)).await;
            hub.signal("KILL");
        });
        hub.kill();
        tenants.extend(creating.await.unwrap());
        // What was accepted once is a duplicate ever after, and nothing between is missing.
        let known = outcomes.iter().take_while(|outcome| *outcome == "duplicate").count();
        assert!(known >= accepted.min(outcomes.len()), "an accepted event was forgotten");
        assert!(outcomes[known..].iter().all(|outcome| outcome == "accepted"));
        accepted = accepted.max(outcomes.len());
    }
    let hub = Node::start("hub", data.path(), &[]);
    assert!(!tenants.is_empty() && accepted > 0, "the hub was killed before it did anything");
    let outcomes = report(&hub, 1..EVENTS + 1).await;
    assert!(outcomes[..accepted].iter().all(|outcome| outcome == "duplicate"));
    let ask = |path: &str| {
        let request = http().get(format!("{}{path}", hub.url())).bearer_auth(hub.key(Key::Operator));
        async { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    for number in tenants {
        let tenant = ask(&format!("/api/admin/tenants/t{number}")).await;
        assert_eq!(tenant["status"], "active", "{number}");
    }
    let totals = ask("/api/admin/tenants/acme/usage/totals").await;
    assert_eq!(totals["totals"][0]["value"], EVENTS.to_string(), "each event once");
}

#[test]
fn a_hub_that_runs_has_its_folder_to_itself_and_ends_well() {
    let data = TempDir::new().unwrap();
    let hub = Node::start("hub", data.path(), &[]);
    let folder = data.path().to_str().unwrap();
    let taken = vectorizer(["hub", "tenants", "list", "--data-dir", folder]);
    assert_eq!(taken.status.code(), Some(2), "{taken:?}");
    let (url, key) = (hub.url().to_owned(), hub.key(Key::Operator));
    let online = vectorizer(["hub", "tenants", "list", "--url", &url, "--key", &key]);
    assert_eq!(online.status.code(), Some(0), "{online:?}");
    hub.stop();
    let offline = vectorizer(["hub", "tenants", "list", "--data-dir", folder]);
    assert_eq!(offline.stdout, online.stdout);
}
