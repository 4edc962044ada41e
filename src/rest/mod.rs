//! The REST API: a thin face on [`service`](crate::service).
//!
//! One function, [`router`], returns all of it; every route comes from [`Operation::ALL`], so there is no route that the
//! table of operations does not know. A handler reads what was sent, calls one function of the service, and renders the
//! result.
//!
//! - `middleware`: what every request passes: its id and span, the host check, the access check.
//! - `collections`, `indexes`, `vectors`, `search`, `audit`, `cluster`, `metrics`, `health`: the handlers.
//! - `extract`, `body`, `conditions`: what a client sends; `encoding`: compressed bodies and answers.
//! - `answer`: JSON that a client gets; `problem`: what it is told when a request fails.
//! - `mcp`: where MCP messages come in.
//! - `openapi`: the description of all this, held against the routes by a test.

mod answer;
mod audit;
mod body;
mod cluster;
mod collections;
mod conditions;
mod encoding;
mod extract;
mod health;
mod indexes;
mod mcp;
mod metrics;
pub mod middleware;
mod openapi;
mod problem;
mod search;
mod vectors;

use std::sync::Arc;

use axum::extract::State;
use axum::handler::Handler;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};
use tokio::sync::Semaphore;
use tower::util::option_layer;

use self::extract::ImpliedId;
pub use self::metrics::listener as metrics_router;
pub use self::middleware::address::Peer;
pub use self::middleware::cross_origin::PageOrigins;
pub use self::middleware::host::AllowedHosts;
pub use self::openapi::document;
pub use self::problem::Problem;
use crate::auth::Operation;
use crate::config::Network;
use crate::mcp::Endpoint;
use crate::service::Service;

/// Everything the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    allowed_hosts: Option<AllowedHosts>,
    /// Of the pages that may speak MCP, and of this server where it is told its names.
    known_hosts: AllowedHosts,
    page_origins: PageOrigins,
    trusted_proxies: Vec<Network>,
    mcp: Endpoint,
    /// MCP messages that are being read or answered.
    messages: Arc<Semaphore>,
}

/// What is believed of where requests come from.
#[derive(Clone, Debug)]
pub struct NetworkRules {
    /// What a `Host` header may say to a server without keys, and an `Origin` to any that is asked for tools.
    pub known_hosts: AllowedHosts,
    /// The origins whose pages in browsers may use the API.
    pub page_origins: PageOrigins,
    /// The proxies whose word about a client's address is taken.
    pub trusted_proxies: Vec<Network>,
}

impl App {
    /// An app over these operations.
    pub fn new(service: Service, network: NetworkRules) -> Self {
        let NetworkRules { known_hosts, page_origins, trusted_proxies } = network;
        let shared = Shared {
            allowed_hosts: (!service.access().is_cluster()).then(|| known_hosts.clone()),
            known_hosts,
            page_origins,
            trusted_proxies,
            mcp: Endpoint::new(service.ending()),
            messages: Arc::new(Semaphore::new(mcp::MESSAGES_MAX)),
            service,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The operations.
    pub fn service(&self) -> &Service {
        &self.shared.service
    }

    fn trusted_proxies(&self) -> &[Network] {
        &self.shared.trusted_proxies
    }

    fn json_depth_max(&self) -> usize {
        self.service().limits().json_depth_max
    }
}

/// Where an operation is served: its method and path template.
pub fn location(operation: Operation) -> (Method, &'static str) {
    match operation {
        Operation::CreateCollection => (Method::POST, "/api/v1/collections"),
        Operation::ListCollections => (Method::GET, "/api/v1/collections"),
        Operation::DescribeCollection => (Method::GET, "/api/v1/collections/{name}"),
        Operation::DeleteCollection => (Method::DELETE, "/api/v1/collections/{name}"),
        Operation::DeclareIndex => (Method::PUT, "/api/v1/collections/{name}/indexes/{path}"),
        Operation::ListIndexes => (Method::GET, "/api/v1/collections/{name}/indexes"),
        Operation::DropIndex => (Method::DELETE, "/api/v1/collections/{name}/indexes/{path}"),
        Operation::UpsertVectors => (Method::PUT, "/api/v1/collections/{name}/vectors"),
        Operation::ListVectors => (Method::GET, "/api/v1/collections/{name}/vectors"),
        Operation::GetVector => (Method::GET, "/api/v1/collections/{name}/vectors/{id}"),
        Operation::DeleteVector => (Method::DELETE, "/api/v1/collections/{name}/vectors/{id}"),
        Operation::ChangePayload => (Method::PATCH, "/api/v1/collections/{name}/vectors/{id}/payload"),
        Operation::DeleteVectors => (Method::POST, "/api/v1/collections/{name}/vectors/delete"),
        Operation::Search => (Method::POST, "/api/v1/collections/{name}/search"),
        Operation::SearchBatch => (Method::POST, "/api/v1/collections/{name}/search/batch"),
        Operation::Count => (Method::POST, "/api/v1/collections/{name}/count"),
        Operation::ReadLog => (Method::GET, "/api/v1/log"),
        Operation::ReadLogHead => (Method::GET, "/api/v1/log/head"),
        Operation::Metrics => (Method::GET, "/metrics"),
        Operation::ClusterHealth => (Method::GET, "/api/v1/cluster/health"),
        Operation::ListTenants => (Method::GET, "/api/v1/cluster/tenants"),
        Operation::DeleteTenant => (Method::DELETE, "/api/v1/cluster/tenants/{id}"),
        Operation::RestoreTenant => (Method::POST, "/api/v1/cluster/tenants/{id}/restore"),
        Operation::Usage => (Method::GET, "/api/v1/cluster/usage"),
        Operation::ValidateKey => (Method::POST, "/api/v1/cluster/keys/validate"),
        Operation::Mcp => (Method::POST, "/mcp"),
        Operation::Health => (Method::GET, "/health"),
        Operation::Ready => (Method::GET, "/ready"),
        Operation::OpenApi => (Method::GET, "/api/v1/openapi.json"),
    }
}

/// Paths that are also those of vectors with some ids.
///
/// One is that of the operation `delete`. The others are what clients make of the ids `.` and `..` before they send
/// anything (RFC 3986, section 5.2.4): of `vectors/..` they leave the path of the collection with a slash behind it, and so
/// on. No other operation has these paths, so they lead to the vectors that were meant.
const OTHER_WAYS_TO_VECTORS: [(Operation, &str, &str); 10] = [
    (Operation::GetVector, "/api/v1/collections/{name}/vectors/delete", "delete"),
    (Operation::DeleteVector, "/api/v1/collections/{name}/vectors/delete", "delete"),
    (Operation::GetVector, "/api/v1/collections/{name}/", ".."),
    (Operation::DeleteVector, "/api/v1/collections/{name}/", ".."),
    (Operation::ChangePayload, "/api/v1/collections/{name}/payload", ".."),
    (Operation::GetVector, "/api/v1/collections/{name}/vectors/", "."),
    (Operation::DeleteVector, "/api/v1/collections/{name}/vectors/", "."),
    (Operation::ChangePayload, "/api/v1/collections/{name}/vectors/payload", "."),
    (Operation::GetVector, "/api/v1/collections/{name}/vectors/payload", "payload"),
    (Operation::DeleteVector, "/api/v1/collections/{name}/vectors/payload", "payload"),
];

/// The whole API.
pub fn router(app: App) -> Router {
    let cross_origin = app.shared.page_origins.layer();
    let mut router = Router::new();
    for operation in Operation::ALL {
        router = router.route(location(operation).1, guarded(&app, operation));
    }
    for (operation, path, id) in OTHER_WAYS_TO_VECTORS {
        router = router.route(path, guarded(&app, operation).layer(Extension(ImpliedId(id))));
    }
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(app.clone(), middleware::host::check))
        .layer(axum::middleware::from_fn(middleware::request::track))
        .layer(axum::middleware::from_fn(encoding::compress))
        .layer(option_layer(cross_origin))
        .with_state(app)
}

/// The operation's handler behind the access check for exactly this operation.
fn guarded(app: &App, operation: Operation) -> MethodRouter<App> {
    served(operation).route_layer(from_fn_with_state((app.clone(), operation), middleware::auth::gate))
}

/// The operation's handler.
fn served(operation: Operation) -> MethodRouter<App> {
    match operation {
        Operation::CreateCollection => route(operation, collections::create),
        Operation::ListCollections => route(operation, collections::list),
        Operation::DescribeCollection => route(operation, collections::describe),
        Operation::DeleteCollection => route(operation, collections::delete),
        Operation::DeclareIndex => route(operation, indexes::declare),
        Operation::ListIndexes => route(operation, indexes::list),
        Operation::DropIndex => route(operation, indexes::undeclare),
        Operation::UpsertVectors => route(operation, vectors::upsert),
        Operation::ListVectors => route(operation, vectors::list),
        Operation::GetVector => route(operation, vectors::get),
        Operation::DeleteVector => route(operation, vectors::delete),
        Operation::ChangePayload => route(operation, vectors::change_payload),
        Operation::DeleteVectors => route(operation, vectors::delete_many),
        Operation::Search => route(operation, search::search),
        Operation::SearchBatch => route(operation, search::search_batch),
        Operation::Count => route(operation, search::count),
        Operation::ReadLog => route(operation, audit::read),
        Operation::ReadLogHead => route(operation, audit::head),
        Operation::Metrics => route(operation, metrics::serve),
        Operation::ClusterHealth => route(operation, cluster::health),
        Operation::ListTenants => route(operation, cluster::tenants),
        Operation::DeleteTenant => route(operation, cluster::delete_tenant),
        Operation::RestoreTenant => route(operation, cluster::restore_tenant),
        Operation::Usage => route(operation, cluster::usage),
        Operation::ValidateKey => route(operation, cluster::validate_key),
        Operation::Mcp => route(operation, mcp::serve),
        Operation::Health => route(operation, health::health),
        Operation::Ready => route(operation, health::ready),
        Operation::OpenApi => route(operation, openapi::serve),
    }
}

fn route<H, T>(operation: Operation, handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    let method = location(operation).0;
    let filter = MethodFilter::try_from(method).expect("every method in the table is one that can be routed");
    let route = on(filter, handler);
    if takes_parameters(operation) {
        return route;
    }
    route.route_layer(axum::middleware::from_fn(body::refuse_parameters))
}

/// Whether the operation has parameters in the query. Those that have refuse unknown ones themselves;
/// what is asked of a probe is left to whoever probes.
const fn takes_parameters(operation: Operation) -> bool {
    match operation {
        Operation::ListVectors
        | Operation::GetVector
        | Operation::ReadLog
        | Operation::Metrics
        | Operation::ListTenants
        | Operation::RestoreTenant
        | Operation::Usage
        | Operation::Health
        | Operation::Ready
        | Operation::OpenApi => true,
        Operation::CreateCollection
        | Operation::ListCollections
        | Operation::DescribeCollection
        | Operation::DeleteCollection
        | Operation::DeclareIndex
        | Operation::ListIndexes
        | Operation::DropIndex
        | Operation::UpsertVectors
        | Operation::DeleteVector
        | Operation::ChangePayload
        | Operation::DeleteVectors
        | Operation::Search
        | Operation::SearchBatch
        | Operation::Count
        | Operation::ReadLogHead
        | Operation::ClusterHealth
        | Operation::DeleteTenant
        | Operation::ValidateKey
        | Operation::Mcp => false,
    }
}

async fn no_such_route(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Response {
    let detail = format!("there is nothing at {}", uri.path());
    let problem = Problem::new(StatusCode::NOT_FOUND, "no-such-route", detail);
    middleware::auth::tell_rate(&app, &headers, problem.into_response())
}

async fn no_such_method(State(app): State<App>, headers: HeaderMap, method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not take {method}", uri.path());
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
    middleware::auth::tell_rate(&app, &headers, problem.into_response())
}
