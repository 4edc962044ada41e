//! What the node measures of itself.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::middleware::auth::GrantedCluster;
use super::middleware::host::{AllowedHosts, check_against};
use super::middleware::request;
use super::problem::Problem;
use super::{App, no_such_method, no_such_route};
use crate::metrics::CONTENT_TYPE;

/// Read the node's metrics, as Prometheus does. They name its tenants, so they are the operator's.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", responses(
    (status = 200, content_type = "text/plain; version=0.0.4", body = String),
))]
pub(super) async fn serve(
    State(app): State<App>,
    GrantedCluster(_): GrantedCluster,
) -> Result<Response, Problem> {
    measured(app).await
}

/// What a listener for metrics alone serves: them, to anybody, and nothing else. `allowed_hosts` is what a
/// `Host` header may say; `None` does not look at it.
pub fn listener(app: App, allowed_hosts: Option<AllowedHosts>) -> Router {
    let check = |State(allowed): State<Option<AllowedHosts>>, request: Request, next: Next| async move {
        check_against(allowed.as_ref(), request, next).await
    };
    Router::new()
        .route("/metrics", get(|State(app): State<App>| measured(app)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(allowed_hosts, check))
        .layer(from_fn(request::track))
        .with_state(app)
}

async fn measured(app: App) -> Result<Response, Problem> {
    let text = app.service().metrics_text().await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
