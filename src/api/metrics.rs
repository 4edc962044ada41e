//! What the node measures of itself.

use std::sync::Arc;

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
use super::{App, answer, no_such_method, no_such_route};
use crate::metrics::{CONTENT_TYPE, Reading};

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

/// One at a time: it is work for a core, and nobody needs it twice.
async fn measured(app: App) -> Result<Response, Problem> {
    let turn = Arc::clone(&app.shared.measuring).acquire_owned().await.map_err(|_| Problem::internal())?;
    let measure = move || {
        let _turn = turn;
        let shared = &app.shared;
        let rooms = vec![shared.body_limits.measured_room(), answer::measured_room(&shared.answers)];
        let mut reading = Reading { rooms, ..Reading::default() };
        shared.tenancy.read_into(&mut reading);
        shared.metrics.text(&reading)
    };
    let text = tokio::task::spawn_blocking(measure).await.map_err(|_| Problem::internal())?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
