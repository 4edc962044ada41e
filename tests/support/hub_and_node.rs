//! A HiveHub in this process, whose answers may have faults, and a node that asks it.

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
use vectorizer::config::Secret;
use vectorizer::server;
use vectorizer_access::{ApiKey, Environment};
use vectorizer_hivehub::{Permission, UsageEvent};
use vectorizer_hub::{Hub, Limits, NewKey, NewTenant, PlanName, UsageFilter};
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
    pub(crate) hub: LocalHub,
    process: Option<HubProcess>,
    pub(crate) node: Node,
    pub(crate) fault: Arc<Mutex<HubFaults>>,
    calls: Arc<Mutex<Calls>>,
    pub(crate) report_rate: Arc<Mutex<ReportRate>>,
    url: String,
    service_key: String,
    data: PathBuf,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    _hub_files: Searched,
}

/// The hub that is in this process.
pub(crate) struct LocalHub(Option<Hub>);

impl Deref for LocalHub {
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
    /// Whether an answer was held since the fault was set.
    is_holding: bool,
    /// From where in the policy feed the last question was.
    since: Option<String>,
}

/// The faults of the hub's answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HubFaults {
    /// Of all answers.
    all: HubFault,
    /// Of the answers to reports of usage, unless there is none.
    usage: HubFault,
}

/// A fault of the hub's answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HubFault {
    /// The hub answers as it should.
    #[default]
    None,
    /// Answers arrive this much later.
    Slow(Duration),
    /// Answers arrive when there is another fault, or none.
    Held,
    /// Every answer has this status, and perhaps `Retry-After` with these seconds.
    Status(u16, Option<u64>),
    /// Answers are not JSON.
    Garbage,
    /// Connections break within the answer.
    Resetting,
    /// The request for limits fails.
    WithoutQuotas,
    /// The policy feed fails.
    WithoutPolicies,
    /// The policy feed knows no position any more.
    Forgetful,
    /// The same, and the request for limits fails.
    ForgetfulWithoutQuotas,
    /// The hub stores the usage that is reported, and its answer never arrives.
    LosingReceipts,
    /// The hub stores the usage that is reported, and its answer breaks off half way.
    HalfReceipts,
    /// The hub rejects the first line of each report.
    RejectingFirst,
    /// The hub reads and stores half of a report, and breaks the connection.
    HalfRead,
    /// Receipts come in another order than the lines.
    Reversed,
    /// Each receipt comes twice.
    Doubled,
    /// The outcome of this tenant's lines is an unknown word; that of the others is right.
    UnknownFor(&'static str),
    /// The hub refuses every report that has a line of this tenant.
    RefusingTenant(&'static str),
    /// The hub accepts a report every three seconds, and answers any other with `Retry-After: 1`.
    Strict,
    /// This field is missing from answers.
    Without(&'static str),
}

/// The reports that arrived at a hub which accepts only one every three seconds.
#[derive(Debug, Default)]
pub(crate) struct ReportRate {
    /// When the last report was accepted.
    taken_at: Option<Instant>,
    not_before: Option<Instant>,
    /// How many reports were refused.
    pub(crate) refused: usize,
    /// How many reports came before the time that the refusal named.
    pub(crate) impatient: usize,
}

impl ReportRate {
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
        Self::with(LocalHub(Some(hub)), None, folder, flags).await
    }

    /// The same, where the hub is a process of its own that has these tenants.
    pub(crate) async fn start_with_hub_process(folder: &Path, flags: &[&str], tenants: &[&str]) -> Self {
        let process = HubProcess::start(folder.join("hub"), tenants);
        Self::with(LocalHub(None), Some(process), folder, flags).await
    }

    async fn with(hub: LocalHub, process: Option<HubProcess>, folder: &Path, flags: &[&str]) -> Self {
        let (fault, calls, report_rate) = (Arc::default(), Arc::default(), Arc::default());
        let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = process.as_ref().map_or_else(|| vectorizer_hub::router(hub.clone()), HubProcess::way);
        let running = Some(serve(listener, router, &fault, &calls, &report_rate));
        let data = folder.join("data");
        let service_key = process.as_ref().map_or(SERVICE_KEY, HubProcess::service_key).to_owned();
        let node = node(data.clone(), &url, &service_key, flags).await;
        let hub_files = Searched(folder.join("hub"));
        Self {
            hub,
            process,
            node,
            fault,
            calls,
            report_rate,
            url,
            service_key,
            data,
            running,
            _hub_files: hub_files,
        }
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

    /// Ends the hub's listener and its connections.
    pub(crate) async fn stop_hub(&mut self) {
        let (stop, server) = self.running.take().unwrap();
        stop.cancel();
        server.await.unwrap();
    }

    pub(crate) fn start_hub(&mut self) {
        let address = self.url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = server::listen(address).unwrap();
        let router =
            self.process.as_ref().map_or_else(|| vectorizer_hub::router(self.hub.clone()), HubProcess::way);
        self.running = Some(serve(listener, router, &self.fault, &self.calls, &self.report_rate));
    }

    /// From now on all answers of the hub have this fault.
    pub(crate) fn set_fault(&self, fault: HubFault) {
        self.calls.lock().unwrap().is_holding = false;
        *self.fault.lock().unwrap() = HubFaults { all: fault, usage: HubFault::None };
    }

    /// From now on the answers to reports of usage have this fault, and no others.
    pub(crate) fn set_usage_fault(&self, fault: HubFault) {
        *self.fault.lock().unwrap() = HubFaults { all: HubFault::None, usage: fault };
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

    /// Waits until an answer is held.
    pub(crate) async fn is_holding(&self) {
        eventually("an answer is held", async || self.calls.lock().unwrap().is_holding).await;
    }

    /// Waits until the node has noticed for the first time that the policy feed fails.
    pub(crate) async fn feed_is_missed(&self) {
        let is_missed = async || self.node.has_logged(&["policy feed cannot be followed"]);
        eventually("the node misses the policy feed", is_missed).await;
    }

    /// Waits until the node has done what followed from the policy feed, and from gaps in it.
    pub(crate) async fn feed_is_obeyed(&self) {
        let end = Some(self.hub.policy_cursor());
        let is_obeyed = |store: &NodeStore| {
            store.policy_cursor().is_ok_and(|stored| stored >= end)
                && store.deletions().is_ok_and(|deletions| deletions.is_empty())
                && store.has_gap().is_ok_and(|has_gap| !has_gap)
        };
        self.is_stored("that the policy feed was obeyed", is_obeyed).await;
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
struct Behaviour {
    fault: Arc<Mutex<HubFaults>>,
    calls: Arc<Mutex<Calls>>,
    report_rate: Arc<Mutex<ReportRate>>,
    stop: CancellationToken,
}

fn serve(
    listener: TcpListener,
    router: Router,
    fault: &Arc<Mutex<HubFaults>>,
    calls: &Arc<Mutex<Calls>>,
    report_rate: &Arc<Mutex<ReportRate>>,
) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let behaviour = Behaviour {
        fault: Arc::clone(fault),
        calls: Arc::clone(calls),
        report_rate: Arc::clone(report_rate),
        stop: stop.clone(),
    };
    let router = router.layer(from_fn_with_state(behaviour, answer));
    let ended = stop.clone().cancelled_owned();
    (stop, tokio::spawn(server::serve(listener, router, Duration::ZERO, ended)))
}

/// The position in the policy feed in this query.
fn since(query: &str) -> Option<String> {
    let encoded = query.split('&').find_map(|field| field.strip_prefix("since="))?;
    Some(percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned())
}

async fn answer(
    State(Behaviour { fault, calls, report_rate, stop }): State<Behaviour>,
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
    let faults = *fault.lock().unwrap();
    let reports = path.ends_with("/usage");
    match if reports && faults.usage != HubFault::None { faults.usage } else { faults.all } {
        HubFault::WithoutQuotas | HubFault::ForgetfulWithoutQuotas if path.ends_with("/quota") => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        HubFault::WithoutPolicies if path.ends_with("/policies") => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        HubFault::Forgetful | HubFault::ForgetfulWithoutQuotas
            if request.uri().query().is_some_and(|query| query.contains("since=")) =>
        {
            (StatusCode::GONE, "{\"error\": \"cursor_lost\", \"details\": \"\"}").into_response()
        }
        HubFault::None
        | HubFault::WithoutQuotas
        | HubFault::WithoutPolicies
        | HubFault::Forgetful
        | HubFault::ForgetfulWithoutQuotas => {
            // A hub that stops ends the requests that wait for news.
            let answer = stop.run_until_cancelled(next.run(request)).await;
            answer.filter(|_| !stop.is_cancelled()).unwrap_or_else(broken_off)
        }
        // What it answers is older than its arrival, and news are not delayed.
        HubFault::Slow(_) | HubFault::Held if path.ends_with("/policies") => next.run(request).await,
        HubFault::Slow(delay) => {
            let answer = next.run(request).await;
            tokio::time::sleep(delay).await;
            answer
        }
        HubFault::Held => held(request, next, &fault, &calls).await,
        HubFault::Status(status, retry_after) => {
            let mut answer = StatusCode::from_u16(status).unwrap().into_response();
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            answer
        }
        HubFault::LosingReceipts
        | HubFault::HalfReceipts
        | HubFault::RejectingFirst
        | HubFault::HalfRead
        | HubFault::Reversed
        | HubFault::Doubled
        | HubFault::UnknownFor(_)
        | HubFault::RefusingTenant(_)
        | HubFault::Strict
            if !reports =>
        {
            let answer = stop.run_until_cancelled(next.run(request)).await;
            answer.filter(|_| !stop.is_cancelled()).unwrap_or_else(broken_off)
        }
        HubFault::LosingReceipts => {
            whole(next.run(request).await.into_body()).await;
            broken_off()
        }
        HubFault::HalfReceipts => {
            let receipts = whole(next.run(request).await.into_body()).await;
            cut(receipts.slice(..receipts.len() / 2))
        }
        HubFault::HalfRead => {
            let (head, body) = request.into_parts();
            let report = whole(body).await;
            let half = Request::from_parts(head, Body::from(report.slice(..report.len() / 2)));
            whole(next.run(half).await.into_body()).await;
            broken_off()
        }
        HubFault::Reversed => rearranged(request, next, |lines| lines.reverse()).await,
        HubFault::Doubled => {
            let doubled =
                |lines: &mut Vec<&[u8]>| *lines = lines.iter().flat_map(|line| [*line, *line]).collect();
            rearranged(request, next, doubled).await
        }
        HubFault::RefusingTenant(tenant) => refusing(tenant, request, next).await,
        HubFault::Strict if report_rate.lock().unwrap().admits() => next.run(request).await,
        HubFault::Strict => {
            // A connection that is reset while the report is still being sent takes the answer with it.
            whole(request.into_body()).await;
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()
        }
        HubFault::Without(_) if reports || path.ends_with("/policies") => next.run(request).await,
        HubFault::Without(field) => without(field, request, next).await,
        HubFault::UnknownFor(tenant) => postponed(tenant, request, next).await,
        HubFault::RejectingFirst => rejecting_first(request, next).await,
        HubFault::Garbage => "{\"valid\": [<html>".into_response(),
        HubFault::Resetting => broken_off(),
    }
}

/// The hub's answer, as it was when the request came, once the fault has gone.
async fn held(request: Request, next: Next, fault: &Mutex<HubFaults>, calls: &Mutex<Calls>) -> Response {
    let answer = next.run(request).await;
    calls.lock().unwrap().is_holding = true;
    while fault.lock().unwrap().all == HubFault::Held {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answer
}

/// The hub's receipts, in another order or number.
async fn rearranged(request: Request, next: Next, rearrange: impl FnOnce(&mut Vec<&[u8]>)) -> Response {
    let receipts = whole(next.run(request).await.into_body()).await;
    let mut lines: Vec<&[u8]> = receipts.split_inclusive(|byte| *byte == b'\n').collect();
    rearrange(&mut lines);
    lines.concat().into_response()
}

/// The hub's answer, but for reports in which this tenant is.
async fn refusing(tenant: &str, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let report = whole(body).await;
    let source = format!("/vectorizer/tenants/{tenant}\"");
    if report.windows(source.len()).any(|at| at == source.as_bytes()) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    next.run(Request::from_parts(head, Body::from(report))).await
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
    let rejected =
        serde_json::json!({"id": first["id"], "outcome": "rejected", "reason": "rejected by the test"});
    [format!("{rejected}\n").into_bytes(), receipts.to_vec()].concat().into_response()
}

/// The hub's answer to a report, with an unknown outcome for this tenant's lines.
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
