//! A HiveHub in this process, that can be told to fail, and a node that asks it.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vectorizer::auth::{ApiKey, Environment};
use vectorizer::config::Secret;
use vectorizer::hivehub::{Permission, UsageEvent};
use vectorizer::hub::{self, Hub, Limits, NewKey, NewTenant, PlanName, UsageFilter};
use vectorizer::server;
use vectorizer_log::{TenantId, Timestamp};
use vectorizer_node_store::NodeStore;
use vectorizer_testing::{Wait, eventually};

use super::folders::copy;
use super::hub_process::HubProcess;
use super::node::{Answer, Node};
use super::secrets::{self, Searched};

const SERVICE_KEY: &str = "service-key-of-the-hostile-tests-0123456789";

/// A HiveHub and a node.
pub(crate) struct Cluster {
    pub(crate) hub: Here,
    process: Option<HubProcess>,
    pub(crate) node: Node,
    pub(crate) mood: Arc<Mutex<Moods>>,
    calls: Arc<Mutex<Calls>>,
    pub(crate) pace: Arc<Mutex<Pace>>,
    url: String,
    service_key: String,
    data: PathBuf,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    _hub_files: Searched,
}

/// The hub that is in this process.
pub(crate) struct Here(Option<Hub>);

impl Deref for Here {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        self.0.as_ref().expect("this cluster's hub is a process of its own")
    }
}

/// What the hub was asked.
#[derive(Debug, Default)]
struct Calls {
    /// The paths since the last look.
    paths: Vec<String>,
    /// From where in the policy feed the last question was.
    since: Option<String>,
}

/// How the hub answers what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moods {
    /// Anything.
    all: Mood,
    /// Reports of usage, unless that is good.
    usage: Mood,
}

/// How the hub answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should.
    #[default]
    Good,
    /// The same, but its answers are on their way for so long.
    Slow(Duration),
    /// With this status, and perhaps with the word to come again in so many seconds.
    Status(u16, Option<u64>),
    /// With what is no answer.
    Garbage,
    /// Breaking off within the answer.
    Resetting,
    /// With an error where it is asked for limits.
    WithoutQuotas,
    /// With an error where it is asked what has changed.
    WithoutPolicies,
    /// It does not know what has changed since any place in its feed.
    Forgetful,
    /// The same, with an error where it is asked for limits.
    ForgetfulWithoutQuotas,
    /// It enters the usage that is reported, and its answer never arrives.
    LosingReceipts,
    /// It enters the usage that is reported, and its answer breaks off half way.
    HalfReceipts,
    /// Of the usage that is reported it rejects the first line of each report.
    RejectingFirst,
    /// It reads half of the usage that is reported, enters that, and breaks off.
    HalfRead,
    /// Its receipts come in another order than the lines.
    Reversed,
    /// Each of its receipts comes twice.
    Doubled,
    /// It says of this tenant's lines what nobody knows, and of the others what became of them.
    UnknownFor(&'static str),
    /// It refuses every report in which this tenant is.
    RefusingTenant(&'static str),
    /// It takes a report every three seconds. Whoever brings another is to come again in a second.
    Strict,
    /// Leaves this field out of its answers.
    Without(&'static str),
}

/// Who has come to a hub that takes only so much.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the last report came that was taken.
    taken_at: Option<Instant>,
    not_before: Option<Instant>,
    /// How many were told to come again.
    pub(crate) refused: usize,
    /// How many came before they were to.
    pub(crate) impatient: usize,
}

impl Pace {
    fn admits(&mut self) -> bool {
        let now = Instant::now();
        self.impatient += usize::from(self.not_before.is_some_and(|at| now < at));
        let admits = self.taken_at.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(3));
        if admits {
            self.taken_at = Some(now);
        } else {
            self.refused += 1;
            self.not_before = Some(now + Duration::from_secs(1));
        }
        admits
    }
}

impl Cluster {
    /// A hub without tenants, and a node with these flags.
    pub(crate) async fn start(folder: &Path, flags: &[&str]) -> Self {
        let hub = Hub::open(&folder.join("hub")).unwrap();
        hub.set_service_key(&Secret::new(SERVICE_KEY)).unwrap();
        Self::with(Here(Some(hub)), None, folder, flags).await
    }

    /// The same, where the hub is a process of its own that has these tenants.
    pub(crate) async fn start_with_hub_process(folder: &Path, flags: &[&str], tenants: &[&str]) -> Self {
        let process = HubProcess::start(folder.join("hub"), tenants);
        Self::with(Here(None), Some(process), folder, flags).await
    }

    async fn with(hub: Here, process: Option<HubProcess>, folder: &Path, flags: &[&str]) -> Self {
        let (mood, calls, pace) = (Arc::default(), Arc::default(), Arc::default());
        let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = process.as_ref().map_or_else(|| hub::router(hub.clone()), HubProcess::way);
        let running = Some(serve(listener, router, &mood, &calls, &pace));
        let data = folder.join("data");
        let service_key = process.as_ref().map_or(SERVICE_KEY, HubProcess::service_key).to_owned();
        let node = node(data.clone(), &url, &service_key, flags).await;
        let hub_files = Searched(folder.join("hub"));
        Self { hub, process, node, mood, calls, pace, url, service_key, data, running, _hub_files: hub_files }
    }

    /// Kills the node, and starts another on its folder.
    pub(crate) async fn restart_node(&mut self, flags: &[&str]) {
        self.end_node("KILL").await;
        self.node = node(self.data.clone(), &self.url, &self.service_key, flags).await;
    }

    /// Lets the node finish, and gives its folder away.
    pub(crate) async fn stop_node(self) -> (Hub, PathBuf) {
        let Self { hub, process, node, data, running, .. } = self;
        tokio::task::spawn_blocking(move || node.stop()).await.unwrap();
        drop(running);
        let hub = hub.0.unwrap_or_else(|| process.unwrap().end());
        (hub, data)
    }

    /// Lets the node finish, and starts another on its folder.
    pub(crate) async fn change_node(&mut self, flags: &[&str]) {
        self.end_node("TERM").await;
        self.node = node(self.data.clone(), &self.url, &self.service_key, flags).await;
    }

    /// Another node on the folder of one that has ended.
    pub(crate) async fn another_node(&self, flags: &[&str]) -> Node {
        node(self.data.clone(), &self.url, &self.service_key, flags).await
    }

    /// Where the hub's ledger is, and the key to it.
    pub(crate) fn ledger(&self) -> (&str, &str) {
        (&self.url, &self.service_key)
    }

    /// The tenant's lines in the hub's ledger; of a process that is down none.
    pub(crate) async fn usage(&self, tenant: &TenantId) -> Vec<UsageEvent> {
        match &self.process {
            Some(process) => process.usage(tenant).await,
            None => usage(&self.hub, tenant),
        }
    }

    /// The hub, if it is a process of its own.
    pub(crate) fn hub_process(&mut self) -> &mut HubProcess {
        self.process.as_mut().unwrap()
    }

    pub(crate) async fn end_node(&mut self, signal: &str) {
        self.node.signal(signal);
        let wait = Wait::new("the node ends").every(Duration::from_millis(5));
        wait.until(async || self.node.has_ended()).await;
        self.calls.lock().unwrap().since = None;
    }

    /// From now on nobody listens where the hub was, and no connection to it is left.
    pub(crate) async fn stop_hub(&mut self) {
        let (stop, server) = self.running.take().unwrap();
        stop.cancel();
        server.await.unwrap();
    }

    pub(crate) fn start_hub(&mut self) {
        let address = self.url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = server::listen(address).unwrap();
        let router = self.process.as_ref().map_or_else(|| hub::router(self.hub.clone()), HubProcess::way);
        self.running = Some(serve(listener, router, &self.mood, &self.calls, &self.pace));
    }

    pub(crate) fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = Moods { all: mood, usage: Mood::Good };
    }

    /// From now on reports of usage are answered in this mood, and all else as it should be.
    pub(crate) fn feels_about_usage(&self, mood: Mood) {
        *self.mood.lock().unwrap() = Moods { all: Mood::Good, usage: mood };
    }

    /// The paths the node has called since this was asked last.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap().paths)
    }

    /// Waits until the node asks the hub for this, from now on.
    pub(crate) async fn is_asked_for(&self, path_end: &str) {
        self.calls();
        let is_asked = async || self.calls().iter().any(|path| path.ends_with(path_end));
        eventually(format!("the node asks for {path_end}"), is_asked).await;
    }

    /// Waits until the node has heard everything that the policy feed has to tell by now.
    pub(crate) async fn feed_is_heard(&self) {
        let end = self.hub.policy_cursor().to_string();
        let is_heard = async || self.calls.lock().unwrap().since.as_ref() == Some(&end);
        eventually("the node has heard the policy feed", is_heard).await;
    }

    /// Waits until it is on disk how far the node has followed the policy feed, and that it has followed it to its end.
    pub(crate) async fn feed_is_stored(&self) {
        let end = Some(self.hub.policy_cursor());
        self.is_stored("how far the feed was followed", |store| {
            store.policy_cursor().is_ok_and(|stored| stored >= end)
        })
        .await;
    }

    /// Waits until this holds of what a kill of the node would leave of its store.
    pub(crate) async fn is_stored(&self, what: &str, holds: impl Fn(&NodeStore) -> bool) {
        let wait = Wait::new(format!("on disk is {what}")).every(Duration::from_millis(50));
        wait.until(async || {
            let left = tempfile::TempDir::new().unwrap();
            copy(&self.data.join("_node"), left.path());
            tokio::task::block_in_place(|| NodeStore::open(left.path()).is_ok_and(|store| holds(&store)))
        })
        .await;
    }

    /// A process has its tenants from the beginning on.
    pub(crate) fn tenant(&self, name: &str) {
        if self.process.is_none() {
            self.tenant_with(name, Limits::default());
        }
    }

    pub(crate) fn tenant_with(&self, name: &str, overrides: Limits) {
        let plan: PlanName = "free".parse().unwrap();
        self.hub.set_plan(&plan, Limits::default()).unwrap();
        let new = NewTenant {
            id: name.parse().unwrap(),
            name: name.parse().unwrap(),
            plan,
            overrides,
            deployment: None,
        };
        self.hub.create_tenant(&new).unwrap();
    }

    pub(crate) fn key(&self, tenant: Option<&str>, expires_at: Option<Timestamp>) -> ApiKey {
        if let Some(process) = &self.process {
            return process.key(tenant);
        }
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        let new = NewKey { permission: Permission::Admin, tenant, expires_at };
        let key = self.hub.create_key(Environment::Live, &new).unwrap();
        secrets::watch(key.expose());
        key
    }

    /// A request with this key, and `body` unless that is null.
    pub(crate) async fn send(
        &self,
        key: &ApiKey,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Answer {
        let client = self.node.keyless();
        let request = client.request(method.parse().unwrap(), path).bearer_auth(key.expose());
        let request = if body.is_null() { request } else { request.json(body) };
        client.send(request).await
    }
}

/// The tenant's lines in the ledger of a hub that is in this process.
pub(crate) fn usage(hub: &Hub, tenant: &TenantId) -> Vec<UsageEvent> {
    let (mut events, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = hub.usage(tenant, &UsageFilter::default(), from, 100).unwrap();
        events.extend(page.events);
        after = page.next;
    }
    events
}

async fn node(data: PathBuf, url: &str, service_key: &str, flags: &[&str]) -> Node {
    let cluster = ["--cluster-enabled", "--hivehub-api-url", url, "--hivehub-api-key", service_key];
    let flags: Vec<String> = [&cluster[..], flags].concat().into_iter().map(str::to_owned).collect();
    let start = move || Node::start("serve", &data, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(start).await.unwrap()
}

#[derive(Clone)]
struct Manners {
    mood: Arc<Mutex<Moods>>,
    calls: Arc<Mutex<Calls>>,
    pace: Arc<Mutex<Pace>>,
    stop: CancellationToken,
}

fn serve(
    listener: TcpListener,
    router: Router,
    mood: &Arc<Mutex<Moods>>,
    calls: &Arc<Mutex<Calls>>,
    pace: &Arc<Mutex<Pace>>,
) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let manners = Manners {
        mood: Arc::clone(mood),
        calls: Arc::clone(calls),
        pace: Arc::clone(pace),
        stop: stop.clone(),
    };
    let router = router.layer(from_fn_with_state(manners, answer));
    let ended = stop.clone().cancelled_owned();
    (stop, tokio::spawn(server::serve(listener, router, Duration::ZERO, ended)))
}

/// The position in the policy feed in this query.
fn since(query: &str) -> Option<String> {
    let encoded = query.split('&').find_map(|field| field.strip_prefix("since="))?;
    Some(percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned())
}

async fn answer(
    State(Manners { mood, calls, pace, stop }): State<Manners>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    {
        let mut calls = calls.lock().unwrap();
        calls.paths.push(path.clone());
        if path.ends_with("/policies") {
            calls.since = since(request.uri().query().unwrap_or_default());
        }
    }
    let moods = *mood.lock().unwrap();
    let reports = path.ends_with("/usage");
    match if reports && moods.usage != Mood::Good { moods.usage } else { moods.all } {
        Mood::WithoutQuotas | Mood::ForgetfulWithoutQuotas if path.ends_with("/quota") => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Mood::WithoutPolicies if path.ends_with("/policies") => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Mood::Forgetful | Mood::ForgetfulWithoutQuotas
            if request.uri().query().is_some_and(|query| query.contains("since=")) =>
        {
            (StatusCode::GONE, "{\"error\": \"cursor_lost\", \"details\": \"\"}").into_response()
        }
        Mood::Good
        | Mood::WithoutQuotas
        | Mood::WithoutPolicies
        | Mood::Forgetful
        | Mood::ForgetfulWithoutQuotas => {
            // A hub that is stopped leaves nobody waiting for news, and has none.
            let answer = stop.run_until_cancelled(next.run(request)).await;
            answer.filter(|_| !stop.is_cancelled()).unwrap_or_else(broken_off)
        }
        // What it answers is older than its arrival, and news are not delayed.
        Mood::Slow(_) if path.ends_with("/policies") => next.run(request).await,
        Mood::Slow(delay) => {
            let answer = next.run(request).await;
            tokio::time::sleep(delay).await;
            answer
        }
        Mood::Status(status, retry_after) => {
            let mut answer = StatusCode::from_u16(status).unwrap().into_response();
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            answer
        }
        Mood::LosingReceipts
        | Mood::HalfReceipts
        | Mood::RejectingFirst
        | Mood::HalfRead
        | Mood::Reversed
        | Mood::Doubled
        | Mood::UnknownFor(_)
        | Mood::RefusingTenant(_)
        | Mood::Strict
            if !reports =>
        {
            let answer = stop.run_until_cancelled(next.run(request)).await;
            answer.filter(|_| !stop.is_cancelled()).unwrap_or_else(broken_off)
        }
        Mood::LosingReceipts => {
            whole(next.run(request).await.into_body()).await;
            broken_off()
        }
        Mood::HalfReceipts => {
            let receipts = whole(next.run(request).await.into_body()).await;
            cut(receipts.slice(..receipts.len() / 2))
        }
        Mood::HalfRead => {
            let (head, body) = request.into_parts();
            let report = whole(body).await;
            let half = Request::from_parts(head, Body::from(report.slice(..report.len() / 2)));
            whole(next.run(half).await.into_body()).await;
            broken_off()
        }
        Mood::Reversed | Mood::Doubled => {
            let mut answer = next.run(request).await;
            let receipts = whole(std::mem::take(answer.body_mut())).await;
            let mut lines: Vec<&[u8]> = receipts.split_inclusive(|byte| *byte == b'\n').collect();
            if moods.usage == Mood::Reversed {
                lines.reverse();
            } else {
                lines = lines.into_iter().flat_map(|line| [line, line]).collect();
            }
            lines.concat().into_response()
        }
        Mood::RefusingTenant(tenant) => {
            let (head, body) = request.into_parts();
            let report = whole(body).await;
            let source = format!("/vectorizer/tenants/{tenant}\"");
            if report.windows(source.len()).any(|at| at == source.as_bytes()) {
                return StatusCode::BAD_REQUEST.into_response();
            }
            next.run(Request::from_parts(head, Body::from(report))).await
        }
        Mood::Strict if pace.lock().unwrap().admits() => next.run(request).await,
        Mood::Strict => {
            // A connection that is reset while the report is still being sent takes the answer with it.
            whole(request.into_body()).await;
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()
        }
        Mood::Without(_) if reports || path.ends_with("/policies") => next.run(request).await,
        Mood::Without(field) => without(field, request, next).await,
        Mood::UnknownFor(tenant) => postponed(tenant, request, next).await,
        Mood::RejectingFirst => rejecting_first(request, next).await,
        Mood::Garbage => "{\"valid\": [<html>".into_response(),
        Mood::Resetting => broken_off(),
    }
}

/// The hub's answer, but for this field.
async fn without(field: &str, request: Request, next: Next) -> Response {
    let answer = whole(next.run(request).await.into_body()).await;
    let mut answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    answer.as_object_mut().unwrap().remove(field);
    answer.to_string().into_response()
}

/// The hub's answer to a report, but for the first line, which it never saw and rejects.
async fn rejecting_first(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let report = whole(body).await;
    let end = report.iter().position(|byte| *byte == b'\n').map_or(report.len(), |at| at + 1);
    let first: serde_json::Value = serde_json::from_slice(&report[..end]).unwrap();
    let rest = Request::from_parts(head, Body::from(report.slice(end..)));
    let receipts = whole(next.run(rest).await.into_body()).await;
    let rejected = serde_json::json!({"id": first["id"], "outcome": "rejected", "reason": "a bad mood"});
    [format!("{rejected}\n").into_bytes(), receipts.to_vec()].concat().into_response()
}

/// The hub's answer to a report, but that it says of this tenant's lines what nobody knows.
async fn postponed(tenant: &str, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let report = whole(body).await;
    let source = serde_json::json!(format!("/vectorizer/tenants/{tenant}"));
    let parsed = |lines: &Bytes| -> Vec<serde_json::Value> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    };
    let lines = parsed(&report);
    let answer = next.run(Request::from_parts(head, Body::from(report))).await;
    let receipts = parsed(&whole(answer.into_body()).await).into_iter().map(|mut receipt| {
        if lines.iter().any(|line| line["id"] == receipt["id"] && line["source"] == source) {
            receipt["outcome"] = "postponed".into();
        }
        [receipt.to_string().into_bytes(), b"\n".to_vec()].concat()
    });
    receipts.collect::<Vec<_>>().concat().into_response()
}

async fn whole(body: Body) -> Bytes {
    axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default()
}

/// The beginning of an answer, and no more.
pub(crate) fn broken_off() -> Response {
    cut(Bytes::from_static(b"{\"valid\": "))
}

fn cut(begun: Bytes) -> Response {
    let pieces = [Ok(begun), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    Body::from_stream(futures_util::stream::iter(pieces)).into_response()
}
