//! A hub that runs: what it has acknowledged survives SIGKILL at any moment, and usage counts once.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{Key, Node, http, vectorizer};

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
async fn everything_that_a_hub_acknowledged_survives_sigkill_at_any_moment() {
    const EVENTS: u64 = 3_000;
    let data = TempDir::new().unwrap();
    let mut tenants = Vec::new();
    let mut accepted = 0;
    for round in 0..6 {
        let hub = Node::hub(data.path(), &[]);
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
    let hub = Node::hub(data.path(), &[]);
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
    let hub = Node::hub(data.path(), &[]);
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

/// The keys that `hub init` prints.
fn first_keys(output: &std::process::Output) -> (String, String) {
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap();
        crate::support::secrets::watch(line);
        line.to_owned()
    };
    assert_eq!(printed.lines().count(), 2, "it prints the two keys and nothing else");
    (value("HIVEHUB_API_KEY"), value("VECTORIZER_KEY"))
}

/// The status of a question that a server asks with this key.
async fn asked_with(url: &str, service_key: &str) -> u16 {
    let policies = format!("{url}/api/internal/vectorizer/policies");
    http().get(policies).header("X-Service-Key", service_key).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_begun_once_by_a_command_that_prints_its_keys_and_never_by_a_start() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("hub");
    let path = data.to_str().unwrap();
    // A start makes nothing, and says what to do.
    let refused = vectorizer(["hub", "--data-dir", path, "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("vectorizer hub init --data-dir {path}")), "{said}");
    assert!(!data.exists(), "a start has made something");

    let begun = vectorizer(["hub", "init", "--data-dir", path]);
    assert_eq!(begun.status.code(), Some(0), "{begun:?}");
    let (service, operator) = first_keys(&begun);
    let again = vectorizer(["hub", "init", "--data-dir", path]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(1), 0), "{again:?}");
    let again = vectorizer(["hub", "init", "--demo", "--data-dir", path]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(1), 0), "{again:?}");
    let hub = Node::start("hub", &data, &[]);
    assert!(!data.join("dev-keys.json").exists());
    let url = hub.url().to_owned();
    let listed = vectorizer(["hub", "tenants", "list", "--json", "--url", &url, "--key", &operator]);
    assert_eq!(
        (listed.status.code(), listed.stdout.len()),
        (Some(0), 0),
        "no tenant is there unasked: {listed:?}"
    );
    assert_eq!(asked_with(&url, &service).await, 200);
    let running = vectorizer(["hub", "init", "--data-dir", path]);
    assert_eq!(running.status.code(), Some(2), "{running:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_hub_go_on_working_when_the_file_that_had_them_is_removed() {
    let data = TempDir::new().unwrap();
    let hub = Node::hub(data.path(), &[]);
    let (service, operator, acme) =
        (service_key(&hub), hub.key(Key::Operator), hub.key(crate::support::node::ACME));
    hub.stop();
    std::fs::remove_file(data.path().join("dev-keys.json")).unwrap();
    let hub = Node::start("hub", data.path(), &[]);
    assert_eq!(asked_with(hub.url(), &service).await, 200);
    let keys = vectorizer(["hub", "keys", "list", "--json", "--url", hub.url(), "--key", &operator]);
    assert_eq!(String::from_utf8_lossy(&keys.stdout).lines().count(), 9, "keys were made: {keys:?}");
    hub.stop();
    assert!(!data.path().join("dev-keys.json").exists());

    // The same under `dev`, which starts, lets the same keys in, and says how others are made.
    let dev = Node::start("dev", data.path(), &["--hub-listen", "127.0.0.1:0"]);
    let collections = format!("{}/api/v1/collections", dev.url());
    let answer = http().get(&collections).bearer_auth(&acme).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!data.path().join("dev-keys.json").exists());
    dev.stop();
    let path = data.path().to_str().unwrap();
    let keys = vectorizer(["hub", "keys", "list", "--json", "--data-dir", path]);
    assert_eq!(String::from_utf8_lossy(&keys.stdout).lines().count(), 9, "keys were made: {keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_key_is_rotated_with_an_overlap_that_survives_sigkill_and_ends() {
    let data = TempDir::new().unwrap();
    let hub = Node::hub(data.path(), &[]);
    let (old, operator) = (service_key(&hub), hub.key(Key::Operator));
    let rotate = |hub: &Node, overlap: &str| {
        let place = ["--url", hub.url(), "--key", &operator];
        let made =
            vectorizer(["hub", "service-key", "rotate", "--overlap", overlap].into_iter().chain(place));
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        let key = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
        crate::support::secrets::watch(&key);
        key
    };
    let second = rotate(&hub, "3600");
    hub.kill();
    // The file still has the old key, and does not bring it back for longer.
    let hub = Node::hub(data.path(), &[]);
    assert_eq!([asked_with(hub.url(), &old).await, asked_with(hub.url(), &second).await], [200, 200]);
    let ask = |words: &[&str]| {
        let place = ["--url", hub.url(), "--key", &operator];
        vectorizer(["hub", "service-key"].into_iter().chain(words.iter().copied()).chain(place))
    };
    let listed = ask(&["list", "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let keys: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(keys.iter().map(|key| &key["status"]).collect::<Vec<_>>(), ["active", "active"]);
    assert!(keys[0]["expires_at"].is_string() && keys[1]["expires_at"].is_null(), "{listed}");
    let revoked = ask(&["revoke", keys[0]["id"].as_str().unwrap()]);
    assert_eq!(revoked.status.code(), Some(0), "{revoked:?}");
    assert_eq!([asked_with(hub.url(), &old).await, asked_with(hub.url(), &second).await], [401, 200]);
    let only = ask(&["revoke", keys[1]["id"].as_str().unwrap()]);
    assert_eq!(only.status.code(), Some(1), "the only key was revoked: {only:?}");

    let third = rotate(&hub, "2");
    assert_eq!([asked_with(hub.url(), &second).await, asked_with(hub.url(), &third).await], [200, 200]);
    let has_ended = async || asked_with(hub.url(), &second).await == 401;
    vectorizer_testing::eventually("the overlap ends", has_ended).await;
    assert_eq!(asked_with(hub.url(), &third).await, 200);
}
