//! Invalid keys are refused on every route, over real HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use vectorizer_access::{ApiKey, Environment, Operation, Requirement};
use vectorizer_hivehub::TenantStatus;
use vectorizer_log::Timestamp;
use vectorizer_rest::location;
use vectorizer_testing::{Stopwatch, Wait, eventually};

use crate::support::hub_and_node::Cluster;
use crate::support::node::{ACME, Answer, Client, Key, Node};
use crate::support::secrets;

fn unknown_key(number: u64) -> ApiKey {
    let mut entropy = [0xA7; ApiKey::ENTROPY_BYTES];
    entropy[..8].copy_from_slice(&number.to_be_bytes());
    entropy[24..32].copy_from_slice(&number.to_be_bytes());
    let key = ApiKey::generate(Environment::Live, &entropy);
    secrets::watch(key.expose());
    key
}

/// The operation's request, with something in every placeholder.
fn request(client: &Client, operation: Operation, query: &str) -> reqwest::RequestBuilder {
    let (method, template) = location(operation);
    let path = template
        .replace("{name}", "words")
        .replace("{id}", "a")
        .replace("{path}", "n")
        .replace("{tenant}", "acme");
    let request = client.request_at(method.clone(), &format!("{path}{query}"));
    if [Method::GET, Method::DELETE].contains(&method) { request } else { request.json(&json!({})) }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bad_key_gets_in_anywhere_however_it_is_brought() {
    let folder = TempDir::new().unwrap();
    // So that each may come from an address of its own: too many failures of one are another promise.
    let cluster = Cluster::start(folder.path(), &["--trusted-proxies", "127.0.0.1"]).await;
    cluster.tenant("acme");
    cluster.tenant("debtor");
    let good = cluster.key(Some("acme"), None);
    let revoked = cluster.key(Some("acme"), None);
    let expired = cluster.key(Some("acme"), Some(Timestamp::from_micros(Timestamp::now().micros() + 1_000)));
    let suspended = cluster.key(Some("debtor"), None);
    cluster.hub.revoke_key(&revoked.id()).unwrap();
    cluster.hub.set_tenant_status(&"debtor".parse().unwrap(), TenantStatus::Suspended).unwrap();
    let text = |key: &ApiKey| key.expose().to_owned();
    let (rest, last) = good.expose().split_at(good.expose().len() - 1);
    let wrong_check = format!("{rest}{}", if last == "0" { "1" } else { "0" });
    let callers = [
        ("no key", None, 401, "no-key"),
        ("garbage", Some("garbage".to_owned()), 401, "malformed-key"),
        ("a wrong check", Some(wrong_check), 401, "malformed-key"),
        ("an unknown key", Some(text(&unknown_key(1))), 401, "invalid-key"),
        ("a revoked key", Some(text(&revoked)), 401, "invalid-key"),
        ("an expired key", Some(text(&expired)), 401, "invalid-key"),
        ("a suspended tenant's key", Some(text(&suspended)), 403, "tenant-suspended"),
    ];
    tokio::time::sleep(Duration::from_millis(5)).await;
    let client = cluster.node.keyless();
    let mut refused = 0;
    for operation in Operation::ALL {
        if operation.requirement() == Requirement::Nothing {
            continue;
        }
        for (number, (name, bearer, status, code)) in callers.iter().enumerate() {
            let from = format!("192.0.{}.{}", number, operation as usize);
            for (query, spoofed) in [
                (String::new(), None),
                (format!("?api_key={}&access_token={}", text(&good), text(&good)), None),
                (String::new(), Some(("x-hivehub-permission", "ADMIN"))),
                (String::new(), Some(("x-hivehub-tenant-id", "acme"))),
                (String::new(), Some(("x-forwarded-user", "admin"))),
                (String::new(), Some(("x-internal-request", "true"))),
            ] {
                let mut request = request(&client, operation, &query).header("x-forwarded-for", &from);
                if let Some(bearer) = bearer {
                    request = request.bearer_auth(bearer);
                }
                if let Some((name, value)) = spoofed {
                    request = request.header(name, value);
                }
                let answer = client.send(request).await;
                let what = format!("{operation:?} with {name}, {spoofed:?}: {}", answer.body);
                assert_eq!((answer.status.as_u16(), answer.problem()), (*status, *code), "{what}");
                assert!(answer.headers.contains_key("www-authenticate"), "{what}");
                refused += 1;
            }
        }
    }
    assert!(refused > 600, "{refused}");
    // None of these requests has woken a tenant.
    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(name.to_str().unwrap().starts_with('_'), "{name:?}");
    }
    // What they asked for is written down, without keys, and what is alike is counted.
    let data = cluster.node.data.clone();
    cluster.node.stop();
    let denials = std::fs::read_to_string(data.join("_node").join("denials.ndjson")).unwrap();
    let lines: Vec<serde_json::Value> =
        denials.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>(), refused);
    assert!(lines.len() as u64 <= refused / 6, "{} lines", lines.len());
    let debtor = |line: &&serde_json::Value| line["tenant"] == "debtor";
    assert!(lines.iter().filter(debtor).all(|line| line["why"] == "tenant-suspended"));
    assert!(lines.iter().any(|line| debtor(&line)));
    // The key is named if it exists or existed, and not if it was made up.
    let named = |key: &ApiKey| lines.iter().any(|line| line["key_id"] == key.id().to_string());
    assert!(named(&revoked) && named(&expired) && named(&suspended) && !named(&unknown_key(1)));
    for key in [&good, &revoked, &expired, &suspended, &unknown_key(1)] {
        let secret = key.expose().split('_').nth(3).unwrap();
        assert!(!denials.contains(&secret[..8]));
    }
}

/// Tries an unknown key.
async fn tries_out(client: &Client, number: u64) -> Answer {
    let request = client.request_at(Method::GET, "/api/v1/collections");
    client.send(request.bearer_auth(unknown_key(number).expose())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_keys_is_slowed_down_and_a_valid_key_from_the_same_address_is_not() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.keyless();
    // Seen here before anything went wrong.
    node.client(ACME).create("words", 3, "dot").await;
    for number in 0..20 {
        assert_eq!(tries_out(&client, number).await.problem(), "invalid-key", "{number}");
    }
    // Twelve at once, who try again as soon as they are answered, until they are told to end.
    let (started, stop) = (Instant::now(), CancellationToken::new());
    let refused = Arc::new(AtomicU64::new(0));
    let flood: Vec<_> = (1..=12)
        .map(|from: u64| {
            let (client, stop, refused) = (client.clone(), stop.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                for number in from * 1_000.. {
                    if stop.is_cancelled() {
                        break;
                    }
                    let answer = tries_out(&client, number).await;
                    assert_eq!(answer.problem(), "invalid-key", "{}", answer.body);
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // The first are answered one by one, so the others wait for their turn.
    eventually("the flood is slowed down", async || refused.load(Ordering::Relaxed) >= 4).await;
    // Keys that are known here, and requests without any, are served as ever.
    let are_served_at_once = async || {
        for _ in 0..30 {
            let asked = Stopwatch::start();
            node.client(ACME).get("/collections").await.expect(200);
            if asked.elapsed() >= Duration::from_secs(1) {
                return false;
            }
        }
        true
    };
    // In the queue of the flood each of them would wait for seconds; one that other programs delay is measured again.
    let is_right = are_served_at_once().await || are_served_at_once().await || are_served_at_once().await;
    assert!(is_right, "a known key waits for the flood");
    assert_eq!(node.keyless().get("/collections").await.problem(), "no-key");
    // One that has never been here has its turn, without having to ask twice.
    node.client(Key::ReadOnly(1)).get("/collections").await.expect(200);
    stop.cancel();
    for one in flood {
        one.await.unwrap();
    }
    let refused = refused.load(Ordering::Relaxed);
    // Four questions a second, and what the limit itself gives back, each time twelve get through at once.
    let elapsed = started.elapsed().as_secs() + 1;
    assert!(refused <= 14 + 4 * elapsed + 12 * (elapsed / 3 + 1), "{refused} refused in {elapsed} s");
    // More than can have their turn in time are told when to come again, and no header makes them come from
    // another address.
    let mut numbers = 20_000_u64..;
    let are_limited = async || {
        let crowd = numbers.by_ref().take(150).map(|number| {
            let request = client.request_at(Method::GET, "/api/v1/collections");
            let request = request.header("x-forwarded-for", format!("192.0.2.{}", number % 150));
            client.send(request.bearer_auth(unknown_key(number).expose()))
        });
        let crowd = futures_util::future::join_all(crowd).await;
        let limited: Vec<Answer> = crowd.into_iter().filter(|answer| answer.status == 429).collect();
        // A crowd that comes long after the last failure is asked about at once, and then the next one is not.
        (limited.len() >= 60).then_some(limited)
    };
    for answer in Wait::new("60 of 150 are limited").value(are_limited).await {
        assert_eq!(answer.problem(), "too-many-failed-authentications");
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    // Failures from another address do not count.
    let elsewhere = node.keyless_from([127, 0, 0, 2].into());
    assert_eq!(tries_out(&elsewhere, 1_000).await.problem(), "invalid-key");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_key_is_said_anywhere_even_if_everything_is_said() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let marker = unknown_key(7);
    let keys: Vec<String> =
        [ACME, Key::ReadWrite(0), Key::ReadOnly(0), Key::Mcp(0), Key::Admin(1), Key::Operator]
            .iter()
            .map(|key| node.key(*key))
            .chain([marker.expose().to_owned()])
            .collect();
    let client = node.keyless();
    let collections = |query: &str| client.request_at(Method::GET, &format!("/api/v1/collections{query}"));
    // Each answer is searched, and at its end everything that the node has said and written: see `secrets`.
    for key in &keys {
        for operation in Operation::ALL {
            client.send(request(&client, operation, "").bearer_auth(key)).await;
        }
        // Where it does not belong.
        client.send(collections("").header("x-api-key", key)).await;
        client.send(collections("").bearer_auth(format!("{key}x"))).await;
        client.send(collections(&format!("?api_key={key}"))).await;
        // A path is shown to its sender only.
        let shown = collections(&format!("/{key}/{key}/{key}")).send().await.unwrap();
        assert_eq!(shown.status(), 404);
    }
    let operator = client.request_at(Method::GET, "/metrics").bearer_auth(node.key(Key::Operator));
    client.send(operator).await.expect(200);
    let said = std::fs::read_to_string(node.stderr()).unwrap();
    assert!(said.contains("TRACE") && said.contains("hyper"), "{} bytes", said.len());
    node.stop();
}
