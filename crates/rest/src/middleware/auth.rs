//! The access check, which grants a handler exactly the access that its operation needs.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use vectorizer_access::{Asked, Operation};
use vectorizer_engine::admission::{ClusterPass, Holds, McpPass};
use vectorizer_engine::tenancy::{Share, Tenant};
use vectorizer_limits::RateReport;
use vectorizer_service::{Access, Admitted, Readmission, UsageOf};

use super::request::RequestId;
use super::{address, rate_headers};
use crate::{App, Problem};

/// Checks a request's access and passes it on with the handle that its operation needs. A denied request never reaches
/// a tenant.
pub async fn authorize(
    State((app, operation)): State<(App, Operation)>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (rate, admitted) = admit(&app, operation, &mut request).await;
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(rate) = rate {
        rate_headers::insert(response.headers_mut(), &rate);
    }
    app.service().metrics().request(operation, response.status(), started.elapsed());
    response
}

/// Adds the rate limits of the key's tenant to an answer that was made without the tenant.
pub fn add_rate_headers(app: &App, asked: &HeaderMap, mut answer: Response) -> Response {
    if let Some(rate) = app.service().access().report(bearer(asked)) {
        rate_headers::insert(answer.headers_mut(), &rate);
    }
    answer
}

async fn admit(
    app: &App,
    operation: Operation,
    request: &mut Request,
) -> (Option<RateReport>, Result<(), Problem>) {
    let Some(RequestId(id)) = request.extensions().get().cloned() else {
        return (None, Err(missing("the request has no id")));
    };
    let bearer = bearer(request.headers()).map(str::to_owned);
    let from = address::client(request, app.trusted_proxies());
    let asked = Asked { operation, from, request_id: id };
    let Admitted { access, rate } = app.service().admit(&asked, bearer.as_deref()).await;
    let extensions = request.extensions_mut();
    let admitted = access.map(|access| {
        insert_access(access, extensions);
        extensions.insert(Readmission::new(app.service(), operation, bearer));
    });
    (rate, admitted.map_err(Problem::from))
}

/// Stores the access where the handler's extractor finds it.
fn insert_access(access: Access, extensions: &mut Extensions) {
    match access {
        Access::Public => {}
        Access::Read(tenant) => insert_tenant(tenant, extensions),
        Access::Write(tenant) => insert_tenant(tenant, extensions),
        Access::Admin(tenant) => insert_tenant(tenant, extensions),
        Access::Cluster(pass) => drop(extensions.insert(pass)),
        Access::Holder(holds) => drop(extensions.insert(holds)),
        Access::Mcp(pass) => drop(extensions.insert(pass)),
    }
}

fn insert_tenant<L: Send + Sync + 'static>(tenant: Arc<Tenant<L>>, extensions: &mut Extensions) {
    extensions.insert(tenant.share().clone());
    extensions.insert(tenant);
}

/// The token of the only `Authorization: Bearer` header (RFC 6750, section 2.1). Tokens in the body or the query, which
/// that RFC also describes, are not supported.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// The granted handle of a tenant, as a handler's argument. A handler that requires another level than its operation's
/// gets an internal error.
#[derive(Debug)]
pub struct Granted<L>(pub Arc<Tenant<L>>);

impl<L: Send + Sync + 'static> FromRequestParts<App> for Granted<L> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        carried(parts, "the operation does not grant the handler's level").map(Self)
    }
}

/// The operator's access, as a handler's argument.
#[derive(Debug)]
pub struct GrantedCluster(pub Arc<ClusterPass>);

impl FromRequestParts<App> for GrantedCluster {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        carried(parts, "the operation is not for the operator").map(Self)
    }
}

/// The access to the usage of one tenant, or of any tenant, as a handler's argument.
pub struct GrantedUsage(pub UsageOf);

impl FromRequestParts<App> for GrantedUsage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let extensions = &mut parts.extensions;
        let own = extensions.remove().map(UsageOf::Tenant);
        own.or_else(|| extensions.remove().map(UsageOf::Cluster))
            .map(Self)
            .ok_or_else(|| missing("the operation does not grant access to usage"))
    }
}

/// The access to tools, as a handler's argument.
pub struct GrantedMcp(pub Arc<McpPass>);

impl FromRequestParts<App> for GrantedMcp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        carried(parts, "the operation is not MCP").map(Self)
    }
}

/// The holder of the request's key, as a handler's argument.
#[derive(Debug)]
pub struct Caller(pub Holds);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        carried(parts, "the operation does not grant the key's holder").map(Self)
    }
}

/// The share of the tenant that the body is charged to. Without the access check there is none, and the body is not
/// read.
pub fn share(parts: &mut Parts) -> Result<Share, Problem> {
    carried(parts, "the body has no tenant")
}

impl FromRequestParts<App> for Readmission {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        carried(parts, "the request did not pass the access check")
    }
}

/// Takes what the access check has put into the request. `otherwise` says what is wrong if it has put none.
fn carried<T: Clone + Send + Sync + 'static>(parts: &mut Parts, otherwise: &str) -> Result<T, Problem> {
    parts.extensions.remove().ok_or_else(|| missing(otherwise))
}

fn missing(what: &str) -> Problem {
    tracing::error!("a route is misconfigured: {what}");
    Problem::internal()
}
