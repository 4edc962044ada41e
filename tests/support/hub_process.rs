//! A HiveHub in a process of its own, which can be killed, and a proxy in front of it, which can fail.

use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use reqwest::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use vectorizer_access::ApiKey;
use vectorizer_hivehub::UsageEvent;
use vectorizer_hub::demo::{Demo, HUB_FOLDER};
use vectorizer_hub::{Hub, Limits, NewKey, NewTenant, PlanName, UsagePage};
use vectorizer_log::TenantId;

use super::hub_and_node::broken_off;
use super::node::{Node, http};

/// `vectorizer hub` on a folder and at an address that stay the same whenever it is killed.
pub(crate) struct HubProcess {
    /// None while it is down.
    process: Option<Node>,
    folder: PathBuf,
    authority: String,
    operator: ApiKey,
    service_key: String,
    /// An ADMIN key of each of its tenants.
    keys: Vec<(TenantId, ApiKey)>,
}

impl HubProcess {
    /// With these tenants.
    pub(crate) fn start(folder: PathBuf, tenants: &[&str]) -> Self {
        // Before it is a process: it has its folder to itself.
        let Demo { hub, keys: demo } = Demo::open(&folder).unwrap();
        let demo = demo.unwrap();
        let plan: PlanName = vectorizer_hub::demo::PLAN.parse().unwrap();
        let keys = tenants.iter().map(|name| {
            let id: TenantId = name.parse().unwrap();
            if let Some(known) = demo.tenants.iter().find(|tenant| tenant.id == id) {
                return (id, known.keys.admin.clone());
            }
            let (name, overrides) = (name.parse().unwrap(), Limits::default());
            hub.create_tenant(&NewTenant {
                id: id.clone(),
                name,
                plan: plan.clone(),
                overrides,
                deployment: None,
            })
            .unwrap();
            let admin = vectorizer_hivehub::Permission::Admin;
            let new = NewKey { permission: admin, tenant: Some(id.clone()), expires_at: None };
            (id, hub.create_key(vectorizer_access::Environment::Live, &new).unwrap())
        });
        let keys = keys.collect();
        drop(hub);
        let process = Node::hub(&folder, &[]);
        let authority = process.authority().to_owned();
        let service_key = demo.hivehub_api_key.expose().to_owned();
        Self { process: Some(process), folder, authority, operator: demo.operator, service_key, keys }
    }

    /// What a node shows to it.
    pub(crate) fn service_key(&self) -> &str {
        &self.service_key
    }

    /// The tenant's key, or the operator's.
    pub(crate) fn key(&self, tenant: Option<&str>) -> ApiKey {
        let Some(tenant) = tenant else { return self.operator.clone() };
        self.keys.iter().find(|(id, _)| id.as_str() == tenant).unwrap().1.clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// SIGKILL; nothing happens to one that is down.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// On the same folder and at the same address; nothing happens to one that is up.
    pub(crate) fn start_again(&mut self) {
        if self.process.is_none() {
            self.process = Some(Node::hub(&self.folder, &["--listen", &self.authority]));
        }
    }

    /// Lets it finish, and opens what it leaves.
    pub(crate) fn end(mut self) -> Hub {
        self.process.take().unwrap().stop();
        Hub::open(&self.folder.join(HUB_FOLDER)).unwrap()
    }

    /// The tenant's lines in its ledger; none of them while it is down.
    pub(crate) async fn usage(&self, tenant: &TenantId) -> Vec<UsageEvent> {
        let url = format!("http://{}/api/admin/tenants/{tenant}/usage", self.authority);
        let (mut events, mut after) = (Vec::new(), Some(0));
        while let Some(from) = after {
            let request = http().get(format!("{url}?after={from}")).bearer_auth(self.operator.expose());
            let Ok(answer) = request.send().await else { return Vec::new() };
            let page: UsagePage = answer.error_for_status().unwrap().json().await.unwrap();
            events.extend(page.events);
            after = page.next;
        }
        events
    }

    /// Takes requests to the process and its answers back, both while they come.
    pub(crate) fn way(&self) -> Router {
        Router::new().fallback(forward).with_state((http(), format!("http://{}", self.authority)))
    }
}

async fn forward(State((http, url)): State<(reqwest::Client, String)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut headers = head.headers;
    // They are this connection's, not the next one's.
    for name in [HOST, CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        headers.remove(name);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let asked = http.request(head.method, format!("{url}{path}")).headers(headers);
    let Ok(answer) = asked.body(reqwest::Body::wrap_stream(body.into_data_stream())).send().await else {
        return broken_off();
    };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        headers.remove(name);
    }
    (status, headers, Body::from_stream(answer.bytes_stream())).into_response()
}
