//! What the node measures of itself.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use super::middleware::auth::GrantedCluster;
use super::problem::{Problem, ProblemBody};
use crate::metrics::{CONTENT_TYPE, Metrics};

/// Read the node's metrics, as Prometheus does. They name its tenants, so they are the operator's.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", responses(
    (status = 200, content_type = "text/plain; version=0.0.4", body = String),
    (status = 401, body = ProblemBody),
    (status = 403, body = ProblemBody),
))]
pub(super) async fn serve(
    State(app): State<App>,
    GrantedCluster(_): GrantedCluster,
) -> Result<Response, Problem> {
    answer(app.shared.metrics.clone()).await
}

async fn answer(metrics: Metrics) -> Result<Response, Problem> {
    let text = tokio::task::spawn_blocking(move || metrics.text()).await.map_err(|_| Problem::internal())?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
