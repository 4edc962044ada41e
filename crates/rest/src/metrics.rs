//! The node's metrics.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use vectorizer_metrics::CONTENT_TYPE;

use super::middleware::auth::GrantedCluster;
use super::middleware::host::{AllowedHosts, check_against};
use super::middleware::request;
use super::problem::Problem;
use super::{App, no_such_method, no_such_route};

/// Read the node's metrics in the Prometheus text format. They name tenants, so they need the operator's key.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", responses(
    (status = 200, content_type = "text/plain; version=0.0.4", body = String),
))]
pub(super) async fn serve(
    State(app): State<App>,
    GrantedCluster(_): GrantedCluster,
) -> Result<Response, Problem> {
    render_metrics(app).await
}

/// The router of the listener for metrics, which serves them without a key. `allowed_hosts` restricts the `Host`
/// header; `None` allows any.
pub fn listener(app: App, allowed_hosts: Option<AllowedHosts>) -> Router {
    let check = |State(allowed): State<Option<AllowedHosts>>, request: Request, next: Next| async move {
        check_against(allowed.as_ref(), request, next).await
    };
    Router::new()
        .route("/metrics", get(|State(app): State<App>| render_metrics(app)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(allowed_hosts, check))
        .layer(from_fn(request::track))
        .with_state(app)
}

async fn render_metrics(app: App) -> Result<Response, Problem> {
    let text = app.service().metrics_text().await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
