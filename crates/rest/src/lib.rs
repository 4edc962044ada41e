//! The REST API: a thin face on [`service`](vectorizer_service).
//!
//! [`router`] returns all of it. Every route comes from [`Operation::ALL`], so each route is in the table of
//! operations. A handler parses the request, calls one function of the service, and renders the result.
//!
//! - `middleware`: request id and span, host check, access check.
//! - `collections`, `indexes`, `vectors`, `search`, `audit`, `cluster`, `metrics`, `health`: the handlers.
//! - `extract`, `body`, `conditions`: paths, bodies and headers; `encoding`: compressed bodies and answers.
//! - `answer`: JSON answers; `problem`: errors.
//! - `mcp`: the endpoint of MCP.
//! - `openapi`: the OpenAPI document; a test compares it with the routes.

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
use vectorizer_access::{Operation, OperationFacts, Verb};
use vectorizer_mcp::Endpoint;
use vectorizer_service::Service;

use self::extract::ImpliedId;
pub use self::metrics::listener as metrics_router;
pub use self::middleware::address::{Network, Peer};
pub use self::middleware::cross_origin::{PageOrigin, PageOrigins};
pub use self::middleware::host::AllowedHosts;
pub use self::openapi::document;
pub use self::problem::Problem;

/// The state of the handlers. Cheap to clone.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    allowed_hosts: Option<AllowedHosts>,
    /// The hosts of pages that may use MCP, and the configured names of this server.
    known_hosts: AllowedHosts,
    page_origins: PageOrigins,
    trusted_proxies: Vec<Network>,
    mcp: Endpoint,
    /// The permits of MCP messages that are being answered.
    messages: Arc<Semaphore>,
}

/// Which hosts, origins and proxies are trusted.
#[derive(Clone, Debug)]
pub struct NetworkRules {
    /// The allowed values of `Host` on a server without keys, and of `Origin` for MCP on any server.
    pub known_hosts: AllowedHosts,
    /// The origins whose pages may use the API from a browser.
    pub page_origins: PageOrigins,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
}

impl App {
    /// Creates the state.
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

    /// The service that performs the operations.
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

/// The method and the path template of an operation.
pub fn location(operation: Operation) -> (Method, &'static str) {
    let OperationFacts { verb, path, .. } = operation.facts();
    let method = match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Delete => Method::DELETE,
        Verb::Patch => Method::PATCH,
    };
    (method, path)
}

/// The handler of each operation, with its description. An operation without a handler does not compile.
macro_rules! handlers {
    ($($operation:ident => $module:ident::$handler:ident,)+) => {
        fn served(operation: Operation) -> MethodRouter<App> {
            match operation {
                $(Operation::$operation => route(operation, $module::$handler),)+
            }
        }

        /// The OpenAPI descriptions of the handlers.
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($module::$handler),+))]
        struct Described;
    };
}

handlers! {
    CreateCollection => collections::create,
    ListCollections => collections::list,
    DescribeCollection => collections::describe,
    DeleteCollection => collections::delete,
    DeclareIndex => indexes::declare,
    ListIndexes => indexes::list,
    DropIndex => indexes::undeclare,
    UpsertVectors => vectors::upsert,
    ListVectors => vectors::list,
    GetVector => vectors::get,
    DeleteVector => vectors::delete,
    ChangePayload => vectors::change_payload,
    DeleteVectors => vectors::delete_many,
    Search => search::search,
    SearchBatch => search::search_batch,
    Count => search::count,
    ReadLog => audit::read,
    ReadLogHead => audit::head,
    Metrics => metrics::serve,
    ClusterHealth => cluster::health,
    ListTenants => cluster::tenants,
    DeleteTenant => cluster::delete_tenant,
    RestoreTenant => cluster::restore_tenant,
    Usage => cluster::usage,
    ValidateKey => cluster::validate_key,
    Mcp => mcp::serve,
    Health => health::health,
    Ready => health::ready,
    OpenApi => openapi::serve,
}

/// Other paths of vectors with special ids.
///
/// `vectors/delete` is also the path of an operation. Clients remove the dot segments of the ids `.` and `..` before
/// they send a request (RFC 3986, section 5.2.4): `vectors/..` becomes the path of the collection with a trailing
/// slash. No other operation has these paths, so they are routed to the vectors.
const VECTOR_PATH_ALIASES: [(Operation, &str, &str); 10] = [
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
    for (operation, path, id) in VECTOR_PATH_ALIASES {
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

/// The operation's handler behind the access check for this operation.
fn guarded(app: &App, operation: Operation) -> MethodRouter<App> {
    served(operation).route_layer(from_fn_with_state((app.clone(), operation), middleware::auth::authorize))
}

fn route<H, T>(operation: Operation, handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    let method = location(operation).0;
    let filter = MethodFilter::try_from(method).expect("every method in the table can be routed");
    let route = on(filter, handler);
    if operation.facts().takes_parameters {
        return route;
    }
    route.route_layer(axum::middleware::from_fn(body::reject_parameters))
}

async fn no_such_route(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Response {
    let detail = format!("there is nothing at {}", uri.path());
    let problem = Problem::new(StatusCode::NOT_FOUND, "no-such-route", detail);
    middleware::auth::add_rate_headers(&app, &headers, problem.into_response())
}

async fn no_such_method(State(app): State<App>, headers: HeaderMap, method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not support {method}", uri.path());
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
    middleware::auth::add_rate_headers(&app, &headers, problem.into_response())
}
