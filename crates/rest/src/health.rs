//! Liveness and readiness.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_service::Error;

use super::answer::json;
use super::{App, Problem};

/// The server's status.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// Always `ok`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

const OK: Status = Status { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// Check that the process is alive.
#[utoipa::path(get, path = "/health", operation_id = "health", responses((status = 200, body = Status)), security(()))]
pub(super) async fn health() -> Response {
    json(StatusCode::OK, &OK)
}

/// Check that the server accepts requests. It does not while it stops.
#[utoipa::path(get, path = "/ready", operation_id = "ready", security(()), responses(
    (status = 200, body = Status), (status = 503, description = "The server is stopping.")
))]
pub(super) async fn ready(State(app): State<App>) -> Response {
    if app.service().is_draining() {
        let stopping = Error::unavailable("stopping", "the server is stopping", 5);
        return Problem::from(stopping).into_response();
    }
    json(StatusCode::OK, &OK)
}
