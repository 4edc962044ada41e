//! The hub over HTTP.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Json, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::store::Hub;
use crate::hivehub::{ErrorAnswer, SERVICE_KEY_HEADER, VALIDATE_PATH, ValidateRequest};

const BODY_BYTES_MAX: usize = 16 * 1024;
/// The longest a request may take, its body's arrival included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Everything the hub serves. Whoever has no service key learns nothing, not even which paths exist.
pub fn router(hub: Hub) -> Router {
    Router::new()
        .route(VALIDATE_PATH, post(validate).fallback(method_not_allowed))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(hub.clone(), require_service_key))
        .layer(middleware::from_fn(limit_time))
        .with_state(hub)
}

async fn validate(
    State(hub): State<Hub>,
    request: Result<Json<ValidateRequest>, JsonRejection>,
) -> Result<Response, HubRejection> {
    let Json(request) = request.map_err(HubRejection::Body)?;
    Ok(Json(hub.validate(&request.key_sha256)).into_response())
}

async fn not_found() -> HubRejection {
    HubRejection::NotFound
}

async fn method_not_allowed() -> HubRejection {
    HubRejection::MethodNotAllowed
}

async fn require_service_key(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(SERVICE_KEY_HEADER).and_then(|value| value.to_str().ok());
    if shown.is_some_and(|key| hub.is_service_key(key)) {
        next.run(request).await
    } else {
        HubRejection::ServiceKey.into_response()
    }
}

async fn limit_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
    answer.unwrap_or_else(|_| HubRejection::TooSlow.into_response())
}

/// Why a request is not answered; every one of them is `{"error", "details"}`.
enum HubRejection {
    ServiceKey,
    NotFound,
    MethodNotAllowed,
    TooSlow,
    Body(JsonRejection),
}

impl IntoResponse for HubRejection {
    fn into_response(self) -> Response {
        let (status, error, details) = match self {
            Self::ServiceKey => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                format!("the header {SERVICE_KEY_HEADER} is missing or wrong"),
            ),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, "not_found", "there is nothing at this path".to_owned())
            }
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path takes another method".to_owned(),
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                format!("the request took longer than {} s", REQUEST_TIME_MAX.as_secs()),
            ),
            Self::Body(rejection) => (rejection.status(), "invalid_request", rejection.body_text()),
        };
        (status, Json(ErrorAnswer { error: error.to_owned(), details })).into_response()
    }
}
