//! The gate: access check, then the tenant's handle for exactly what the operation needs.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::request::RequestId;
use super::{address, rate_headers};
use crate::auth::{Asked, ClusterPass, Holds, McpPass, Operation};
use crate::limits::RateReport;
use crate::rest::{App, Problem};
use crate::service::{Access, Admitted, Readmission, UsageOf};
use crate::tenancy::{Share, Tenant};

/// Lets a request through to its operation, with a handle that reaches as far as the operation needs.
/// A refused request never gets near a tenant.
pub async fn gate(
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
        rate_headers::tell(response.headers_mut(), &rate);
    }
    app.service().metrics().request(operation, response.status(), started.elapsed());
    response
}

/// Tells how the limits of the tenant whose key came stand, on an answer for which nothing was asked of the
/// tenant.
pub fn tell_rate(app: &App, asked: &HeaderMap, mut answer: Response) -> Response {
    if let Some(rate) = app.service().access().report(bearer(asked)) {
        rate_headers::tell(answer.headers_mut(), &rate);
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
        carry(access, extensions);
        extensions.insert(Readmission::new(app.service(), operation, bearer));
    });
    (rate, admitted.map_err(Problem::from))
}

/// Puts a right where the operation's handler looks for it.
fn carry(access: Access, extensions: &mut Extensions) {
    match access {
        Access::Public => {}
        Access::Read(tenant) => carry_tenant(tenant, extensions),
        Access::Write(tenant) => carry_tenant(tenant, extensions),
        Access::Admin(tenant) => carry_tenant(tenant, extensions),
        Access::Cluster(pass) => drop(extensions.insert(pass)),
        Access::Holder(holds) => drop(extensions.insert(holds)),
        Access::Mcp(pass) => drop(extensions.insert(pass)),
    }
}

fn carry_tenant<L: Send + Sync + 'static>(tenant: Arc<Tenant<L>>, extensions: &mut Extensions) {
    extensions.insert(tenant.share().clone());
    extensions.insert(tenant);
}

/// The token of the one `Authorization: Bearer` header (RFC 6750, section 2.1). The other ways of
/// that RFC, body and query, are not taken.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// The handle the gate has minted, as a handler's argument. A handler that asks for more than its
/// operation needs gets nothing at all.
#[derive(Debug)]
pub struct Granted<L>(pub Arc<Tenant<L>>);

impl<L: Send + Sync + 'static> FromRequestParts<App> for Granted<L> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.remove().map(Self).ok_or_else(|| missing("the operation does not grant this level"))
    }
}

/// The operator's right, as a handler's argument.
#[derive(Debug)]
pub struct GrantedCluster(pub Arc<ClusterPass>);

impl FromRequestParts<App> for GrantedCluster {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.remove().map(Self).ok_or_else(|| missing("the operation is not the operator's"))
    }
}

/// The right to see one tenant's usage, or any tenant's, as a handler's argument.
pub struct GrantedUsage(pub UsageOf);

impl FromRequestParts<App> for GrantedUsage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let extensions = &mut parts.extensions;
        let own = extensions.remove().map(UsageOf::Tenant);
        own.or_else(|| extensions.remove().map(UsageOf::Cluster))
            .map(Self)
            .ok_or_else(|| missing("the operation does not show anybody's usage"))
    }
}

/// The right to ask for tools, as a handler's argument.
pub struct GrantedMcp(pub Arc<McpPass>);

impl FromRequestParts<App> for GrantedMcp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.remove().map(Self).ok_or_else(|| missing("the operation is not MCP"))
    }
}

/// Whose key came, as a handler's argument.
#[derive(Debug)]
pub struct Caller(pub Holds);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts
            .extensions
            .remove()
            .map(Self)
            .ok_or_else(|| missing("the operation does not ask whose key it is"))
    }
}

/// The share of the tenant that a body is for. A body that did not pass the gate has none and is not read.
pub fn share(parts: &mut Parts) -> Result<Share, Problem> {
    parts.extensions.remove().ok_or_else(|| missing("there is no tenant whose body it could be"))
}

impl FromRequestParts<App> for Readmission {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.remove().ok_or_else(|| missing("the request did not pass the gate"))
    }
}

fn missing(what: &str) -> Problem {
    tracing::error!("{what}: a route is put together wrongly");
    Problem::internal()
}
