//! What following the policy feed promises, over HTTP, with cache and client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Json, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vectorizer_access::{KeyHash, Secret};
use vectorizer_testing::{PATIENCE, Stopwatch, eventually};

use super::cache::{KeyCache, LookupError};
use super::client::HiveHubClient;
use super::clock::SystemClock;
use super::feed::PolicyFeed;
use super::feed_tests::{FEED, Notes, cursor, event};
use super::models::{
    POLICIES_PATH, PoliciesAnswer, PoliciesQuery, PolicyChange, PolicyEvent, Refusal, VALIDATE_PATH,
    ValidateRequest,
};

fn revoked(key: &str) -> PolicyChange {
    let key_id = "k1".to_owned().try_into().unwrap();
    PolicyChange::KeyRevoked { key_id, key_sha256: KeyHash::of(key), tenant: None }
}

/// A hub with one tenant, whose keys are all valid until they are revoked, and a policy feed.
#[derive(Clone)]
struct TinyHub {
    events: Arc<watch::Sender<Vec<PolicyEvent>>>,
    /// Whether answers about keys are held.
    holds: Arc<watch::Sender<bool>>,
    /// How many questions about keys have come.
    questions: Arc<watch::Sender<usize>>,
    revoked: Arc<Mutex<Vec<KeyHash>>>,
}

impl TinyHub {
    fn new() -> Self {
        Self {
            events: Arc::default(),
            holds: Arc::default(),
            questions: Arc::default(),
            revoked: Arc::default(),
        }
    }

    fn says(&self, change: PolicyChange) {
        if let PolicyChange::KeyRevoked { key_sha256, .. } = &change {
            self.revoked.lock().unwrap().push(*key_sha256);
        }
        self.events.send_modify(|events| events.push(event(events.len() as u64 + 1, change)));
    }

    /// Serves on a runtime of its own: with it, every connection ends.
    fn serve(&self, listener: std::net::TcpListener) -> Serving {
        let router = axum::Router::new()
            .route(VALIDATE_PATH, post(validate))
            .route(POLICIES_PATH, get(policies))
            .with_state(self.clone());
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Serving(Some(runtime))
    }
}

struct Serving(Option<Runtime>);

impl Drop for Serving {
    fn drop(&mut self) {
        let runtime = self.0.take().unwrap();
        // On a thread that may wait for the end: no subscriber is told anything after it.
        let end = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10)));
        end.join().unwrap();
    }
}

async fn validate(State(hub): State<TinyHub>, Json(request): Json<ValidateRequest>) -> Response {
    let policy_cursor = cursor(hub.events.borrow().len() as u64);
    let revoked = hub.revoked.lock().unwrap().contains(&request.key_sha256);
    hub.questions.send_modify(|questions| *questions += 1);
    hub.holds.subscribe().wait_for(|holds| !holds).await.unwrap();
    if revoked {
        return Json(json!({"valid": false, "reason": "revoked", "policy_cursor": policy_cursor}))
            .into_response();
    }
    Json(json!({
        "valid": true, "key_id": "k1", "permission": "ADMIN", "scope": "tenant", "expires_at": null,
        "tenant": {"id": "acme", "name": "Acme", "plan": "pro", "status": "active"},
        "policy_cursor": policy_cursor,
    }))
    .into_response()
}

async fn policies(State(hub): State<TinyHub>, Query(query): Query<PoliciesQuery>) -> Response {
    let mut events = hub.events.subscribe();
    let Some(since) = query.since else {
        let cursor = cursor(events.borrow().len() as u64);
        return Json(PoliciesAnswer { cursor, events: Vec::new() }).into_response();
    };
    if since.feed() != FEED {
        return (StatusCode::GONE, Json(json!({"error": "cursor_lost", "details": ""}))).into_response();
    }
    let wait = Duration::from_secs(query.wait.into());
    let arrived = events.wait_for(|events| events.len() as u64 > since.position());
    let _ = timeout(wait, arrived).await.map(|arrived| arrived.map(drop));
    let events: Vec<_> =
        events.borrow().iter().filter(|event| event.position > since.position()).cloned().collect();
    let position = events.last().map_or(since.position(), |event| event.position);
    Json(PoliciesAnswer { cursor: cursor(position), events }).into_response()
}

/// A server's side, following a hub over HTTP.
struct Node {
    cache: KeyCache<HiveHubClient>,
    notes: Arc<Notes>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Node {
    fn start(address: SocketAddr) -> Self {
        let url = format!("http://{address}").parse().unwrap();
        let client = HiveHubClient::new(&url, &Secret::new("k")).unwrap();
        let clock = Arc::new(SystemClock::default());
        let cache = KeyCache::new(client.clone(), Duration::from_mins(5), clock);
        let notes = Arc::<Notes>::default();
        let feed = PolicyFeed::new(client, cache.clone()).subscribe(Arc::clone(&notes) as Arc<_>);
        let stop = CancellationToken::new();
        let running = tokio::spawn(feed.run(stop.clone()));
        Self { cache, notes, stop, running }
    }

    /// Waits until it was told that much.
    async fn is_told(&self, times: usize) {
        eventually("the feed tells something", async || self.notes.0.lock().unwrap().len() >= times).await;
    }

    async fn lookup(&self, key: &str) -> Result<(), LookupError> {
        self.cache.lookup(&KeyHash::of(key)).await.map(drop)
    }

    async fn is_refused_within_a_second(&self, key: &str, reason: Refusal) {
        let start = Stopwatch::start();
        while self.lookup(key).await.is_ok() {
            assert!(start.elapsed() < Duration::from_secs(1), "still admitted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.lookup(key).await, Err(LookupError::Refused { reason }));
    }
}

async fn started() -> (TinyHub, Node, Serving, SocketAddr) {
    let hub = TinyHub::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = hub.serve(listener);
    let node = Node::start(address);
    node.is_told(1).await;
    (hub, node, serving, address)
}

#[tokio::test]
async fn a_revoked_key_and_a_suspended_tenant_are_refused_within_a_second() {
    let (hub, node, _serving, _) = started().await;
    for key in ["a", "b"] {
        assert_eq!(node.lookup(key).await, Ok(()));
    }
    hub.says(revoked("a"));
    node.is_refused_within_a_second("a", Refusal::Revoked).await;
    assert_eq!(node.lookup("b").await, Ok(()));
    let acme = "acme".parse().unwrap();
    hub.says(PolicyChange::TenantSuspended { tenant: "acme".parse().unwrap() });
    node.is_refused_within_a_second("b", Refusal::TenantSuspended(acme)).await;
}

#[tokio::test]
async fn a_key_revoked_while_its_validation_is_under_way_is_refused() {
    let (hub, node, _serving, _) = started().await;
    hub.holds.send_replace(true);
    let cache = node.cache.clone();
    let lookup = tokio::spawn(async move { cache.lookup(&KeyHash::of("a")).await.map(drop) });
    hub.questions.subscribe().wait_for(|questions| *questions == 1).await.unwrap();
    hub.says(revoked("a"));
    node.is_told(2).await;
    // What is answered now was true when the question came.
    hub.holds.send_replace(false);
    assert_eq!(lookup.await.unwrap(), Err(LookupError::Refused { reason: Refusal::Revoked }));
}

#[tokio::test]
async fn what_happened_while_the_hub_could_not_be_reached_is_made_up_for() {
    let (hub, node, serving, address) = started().await;
    node.lookup("a").await.unwrap();
    drop(serving);
    hub.says(revoked("a"));
    assert_eq!(node.lookup("a").await, Ok(()), "the node does not know yet");
    let listener = loop {
        // Its connections end in a moment, and the address is free after that.
        match std::net::TcpListener::bind(address) {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let _serving = hub.serve(listener);
    node.is_told(2).await;
    assert_eq!(node.lookup("a").await, Err(LookupError::Refused { reason: Refusal::Revoked }));
    assert_eq!(*node.notes.0.lock().unwrap(), [0, 1], "without losing the thread");
}

#[tokio::test]
async fn the_feed_ends_when_it_is_told_to() {
    let (_hub, node, _serving, _) = started().await;
    let start = Stopwatch::start();
    node.stop.cancel();
    timeout(PATIENCE, node.running).await.expect("still following").unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
