//! A request's id, span, log line, and problem body.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument as _, debug, error_span, field, warn};
use uuid::Uuid;

use crate::problem::Problem;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id of a client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The id of a request in the server's log, the audit log and the answer.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The client's id, so that its log can be matched with the server's, or a new one. The id grants no access.
    fn of(request: &Request) -> Self {
        let fits = |text: &&str| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match request.headers().get(&X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(fits) {
            Some(text) => Self(text.into()),
            None => Self(Uuid::now_v7().to_string().into()),
        }
    }
}

/// Gives the request an id, runs it in its span, and completes its answer.
pub async fn track(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let started = Instant::now();
    // The highest level, so that every log line has the span, whatever the filter is.
    let span = error_span!(
        "request",
        request_id = %id.0,
        tenant = field::Empty,
        method = %request.method(),
        route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str),
    );
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        *response.body_mut() = problem.body(&id.0);
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let status = response.status();
    span.in_scope(|| {
        if status.is_server_error() {
            warn!(status = status.as_u16(), microseconds, "answered");
        } else {
            debug!(status = status.as_u16(), microseconds, "answered");
        }
    });
    response
}
