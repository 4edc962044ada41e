//! Error answers: `application/problem+json` (RFC 9457).

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_access::DenialReason;
use vectorizer_service::{Error, ErrorKind};

/// An error for a client. Details for the operator are logged and not sent.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `urn:vectorizer:problem:<code>`; programs can rely on the code, whose meaning never changes.
    #[schema(
        pattern = "^urn:vectorizer:problem:[a-z0-9-]+$",
        example = "urn:vectorizer:problem:no-such-collection"
    )]
    #[serde(rename = "type")]
    kind: String,
    /// The reason phrase of the status.
    #[schema(example = "Not SearchResults")]
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 404)]
    status: u16,
    /// The error of this request for people: the field, the value and the limit.
    #[schema(example = "there is no collection named \"words\"")]
    detail: &'a str,
    /// The id of the request, as in the server's log and in the audit log.
    request_id: &'a str,
}

impl Problem {
    /// Creates a problem.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), headers: Vec::new() }
    }

    /// The kind of problem, for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The description, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// 400: the request cannot be read.
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 422: the request can be read, and a value is not valid.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 500: our fault. What it was goes to the log.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server has failed at this request")
    }

    /// Puts the name of a field in front of the detail.
    #[must_use]
    pub fn at(mut self, field: impl std::fmt::Display) -> Self {
        self.detail = format!("{field}: {}", self.detail);
        self
    }

    /// Adds a header.
    #[must_use]
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer's body, with the request's id.
    pub(super) fn body(&self, request_id: &str) -> Body {
        Body::from(self.json(request_id))
    }

    /// The complete answer in HTTP/1.1, after which the connection closes: for a request that no handler can answer.
    pub fn written(&self, request_id: &str) -> Vec<u8> {
        let (status, body) = (self.status, self.json(request_id));
        let mut answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             x-request-id: {request_id}\r\nconnection: close\r\n",
            body.len()
        )
        .into_bytes();
        for (name, value) in &self.headers {
            answer.extend_from_slice(name.as_str().as_bytes());
            answer.extend_from_slice(b": ");
            answer.extend_from_slice(value.as_bytes());
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"\r\n");
        answer.extend_from_slice(&body);
        answer
    }

    fn json(&self, request_id: &str) -> Vec<u8> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let kind = format!("urn:vectorizer:problem:{}", self.code);
        let body =
            ProblemBody { kind, title, status: self.status.as_u16(), detail: &self.detail, request_id };
        serde_json::to_vec(&body).expect("texts and a number are JSON")
    }
}

/// Attaches the problem to the response. The middleware that knows the request's id writes the body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let content_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// RFC 6750, section 3.1: no error code if the request lacks any credentials.
const CHALLENGE: &str = "Bearer realm=\"vectorizer\"";
const CHALLENGE_INVALID: &str = "Bearer realm=\"vectorizer\", error=\"invalid_token\"";
const CHALLENGE_INSUFFICIENT: &str = "Bearer realm=\"vectorizer\", error=\"insufficient_scope\"";

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, challenge) = match error.kind() {
            ErrorKind::Malformed => (StatusCode::BAD_REQUEST, None),
            ErrorKind::Unauthenticated if error.code() == DenialReason::NoKey.code() => {
                (StatusCode::UNAUTHORIZED, Some(CHALLENGE))
            }
            ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, Some(CHALLENGE_INVALID)),
            ErrorKind::Forbidden => (StatusCode::FORBIDDEN, Some(CHALLENGE_INSUFFICIENT)),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, None),
            ErrorKind::Conflict => (StatusCode::CONFLICT, None),
            ErrorKind::Gone => (StatusCode::GONE, None),
            ErrorKind::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, None),
            ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            ErrorKind::Misdirected => (StatusCode::MISDIRECTED_REQUEST, None),
            ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, None),
            ErrorKind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, None),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, None),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, None),
            ErrorKind::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, None),
        };
        let mut problem = Self::new(status, error.code(), error.detail());
        if let Some(seconds) = error.retry_after_seconds() {
            problem.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Some(challenge) = challenge {
            problem.headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        }
        problem
    }
}
