//! Every failure in one shape: `application/problem+json` (RFC 9457).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_index::{InvalidFilter, InvalidIndexPath, InvalidQuery, InvalidTextQuery};
use vectorizer_log::{InvalidCollectionName, InvalidPoint};

use crate::auth::{Denial, DenialReason};
use crate::embedding::NotEmbedded;
use crate::quota::QuotaType;
use crate::tenancy::{DeletionError, Refusal, WakeError};

/// A quota makes room when something is deleted or the plan changes, which nobody can foresee; plans are
/// asked for every minute.
const QUOTA_RETRY_SECONDS: u64 = 60;

/// What went wrong, as a client sees it. What only the operator may know is logged, not sent.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of every answer that is an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `urn:vectorizer:problem:<code>`; the code is for programs and never changes its meaning.
    #[schema(
        pattern = "^urn:vectorizer:problem:[a-z0-9-]+$",
        example = "urn:vectorizer:problem:no-such-collection"
    )]
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    #[schema(example = "Not Found")]
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 404)]
    status: u16,
    /// What was wrong with this request: the field, the value and the limit.
    #[schema(example = "there is no collection named \"words\"")]
    detail: &'a str,
    /// The request, as it is named in the server's log and in the audit trail.
    request_id: &'a str,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), headers: Vec::new() }
    }

    /// What kind of problem it is, for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What was wrong, for people.
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

    /// 422: the request can be read, and what it asks for cannot be.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 413: the request can never fit.
    pub fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
    }

    /// 503: not now.
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds))
    }

    /// 507: not before the operator has made room.
    fn storage_full(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(STORAGE_FULL_RETRY_SECONDS))
    }

    /// 503: an operator has to look first.
    fn tenant_damaged() -> Self {
        let detail = "the tenant's log is damaged and not served until an operator has looked at it";
        Self::unavailable("tenant-damaged", detail, 300)
    }

    /// 429: the caller has had what it may have, for now.
    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds))
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

    /// Adds a header to the answer.
    #[must_use]
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer's body, now that the request's id is known.
    pub(super) fn body(&self, request_id: &str) -> Body {
        Body::from(self.json(request_id))
    }

    /// The whole answer as HTTP/1.1 has it, after which the connection ends: for a client that cannot be answered by a
    /// handler.
    pub(crate) fn written(&self, request_id: &str) -> Vec<u8> {
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

/// Carries the problem to the middleware that knows the request's id and writes the body.
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

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::CollectionExists(_) => Self::new(StatusCode::CONFLICT, "collection-exists", detail),
            Refusal::NoSuchCollection(_) => Self::new(StatusCode::NOT_FOUND, "no-such-collection", detail),
            Refusal::NoSuchVector { .. } => Self::new(StatusCode::NOT_FOUND, "no-such-vector", detail),
            Refusal::NoSuchIndex { .. } => Self::new(StatusCode::NOT_FOUND, "no-such-index", detail),
            Refusal::TooManyIndexes(_) => Self::new(StatusCode::CONFLICT, "too-many-indexes", detail),
            Refusal::WrongDimension { .. } => Self::invalid("wrong-dimension", detail),
            Refusal::NoVector { .. } => Self::invalid("vector-missing", detail),
            Refusal::UnexpectedVector { .. } => Self::invalid("vector-unexpected", detail),
            Refusal::NoText { .. } => Self::invalid("text-missing", detail),
            Refusal::UnexpectedText { .. } | Refusal::NoTexts(_) => Self::invalid("text-unexpected", detail),
            Refusal::ZeroVector { .. } => Self::invalid("zero-vector", detail),
            Refusal::RepeatedId { .. } => Self::invalid("repeated-id", detail),
            Refusal::Payload(invalid) => Self::from(invalid).at("after the change"),
            Refusal::PreconditionFailed { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
            }
            Refusal::IdempotencyMismatch { .. } => Self::invalid("idempotency-key-reused", detail),
            Refusal::QuotaExceeded(exceeded) if exceeded.never_fits() => match exceeded.quota {
                QuotaType::Collections => Self::invalid("larger-than-quota", detail),
                QuotaType::StorageBytes | QuotaType::LogBytes | QuotaType::Vectors => {
                    Self::too_large("larger-than-quota", detail)
                }
            },
            Refusal::QuotaExceeded(_) => Self::too_many("quota-exceeded", detail, QUOTA_RETRY_SECONDS),
            Refusal::TooLarge => Self::too_large("write-too-large", detail),
            Refusal::StorageFailed | Refusal::StorageClosed => Self::unavailable("storage-failed", detail, 5),
            Refusal::StorageFull | Refusal::StorageFullBefore => Self::storage_full(detail),
            Refusal::Busy | Refusal::ReadBusy => Self::unavailable("busy", detail, 1),
            Refusal::LinkingFailed => Self::unavailable("linking-failed", detail, 60),
            Refusal::Stopping => Self::unavailable("stopping", detail, 5),
        }
    }
}

/// RFC 6750, section 3.1: no error code if the request lacks any credentials.
const CHALLENGE: &str = "Bearer realm=\"vectorizer\"";
const CHALLENGE_INVALID: &str = "Bearer realm=\"vectorizer\", error=\"invalid_token\"";
const CHALLENGE_INSUFFICIENT: &str = "Bearer realm=\"vectorizer\", error=\"insufficient_scope\"";

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        let detail = denial.to_string();
        let (status, code, challenge) = match denial {
            Denial::NoKey => (StatusCode::UNAUTHORIZED, DenialReason::NoKey.code(), CHALLENGE),
            Denial::MalformedKey => {
                (StatusCode::UNAUTHORIZED, DenialReason::MalformedKey.code(), CHALLENGE_INVALID)
            }
            Denial::InvalidKey => {
                (StatusCode::UNAUTHORIZED, DenialReason::InvalidKey.code(), CHALLENGE_INVALID)
            }
            Denial::Suspended => {
                (StatusCode::FORBIDDEN, DenialReason::TenantSuspended.code(), CHALLENGE_INSUFFICIENT)
            }
            Denial::Insufficient { .. } => {
                (StatusCode::FORBIDDEN, DenialReason::InsufficientPermission.code(), CHALLENGE_INSUFFICIENT)
            }
            Denial::Elsewhere { .. } => {
                let code = DenialReason::TenantElsewhere.code();
                return Self::new(StatusCode::MISDIRECTED_REQUEST, code, detail);
            }
            Denial::TooManyFailures { retry_after_seconds } => {
                let code = DenialReason::TooManyFailedAuthentications.code();
                return Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
                    .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
            }
            Denial::TooManyRequests { retry_after } => {
                return Self::too_many("rate-limit-exceeded", detail, seconds_up(retry_after));
            }
            Denial::Unavailable { retry_after_seconds } => {
                return Self::unavailable("keys-unavailable", detail, retry_after_seconds);
            }
            Denial::LimitsUnknown { retry_after_seconds } => {
                return Self::unavailable("limits-unavailable", detail, retry_after_seconds);
            }
        };
        Self::new(status, code, detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}

/// A disk is not emptied in a moment.
const STORAGE_FULL_RETRY_SECONDS: u64 = 30;

/// Whole seconds, so that nobody comes back too early.
fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<&WakeError> for Problem {
    fn from(error: &WakeError) -> Self {
        match error {
            WakeError::Stopping => Self::unavailable("stopping", error.to_string(), 5),
            WakeError::Crowded | WakeError::NoRoom => Self::unavailable("busy", error.to_string(), 5),
            WakeError::Moving | WakeError::Waking => {
                Self::unavailable("tenant-unavailable", error.to_string(), 5)
            }
            WakeError::DeletedHere => Self::new(StatusCode::GONE, "tenant-deleted", error.to_string()),
            WakeError::InDoubt => Self::unavailable("tenant-unavailable", error.to_string(), 1),
            WakeError::OfThePast => Self::unavailable("tenant-unavailable", error.to_string(), 5),
            WakeError::Outdated => Denial::InvalidKey.into(),
            WakeError::Deleted => {
                let detail =
                    "the tenant's log was deleted and is not served until an operator has restored it";
                Self::unavailable("tenant-deleted", detail, 300)
            }
            // Which record is damaged, and whose file lies in the tenant's folder, is the operator's to know and in the
            // log; the tenant learns that its data is not served rather than served in part.
            WakeError::Log(error) if error.is_damage() => Self::tenant_damaged(),
            WakeError::Apply(_) => Self::tenant_damaged(),
            WakeError::Log(error) if error.is_storage_full() => {
                Self::storage_full("there is no room left on the server's disk; nothing was done")
            }
            // Only the operator's log says what of it; no write was begun.
            WakeError::Log(error) if error.is_unavailable() => {
                Self::unavailable("storage-failed", "the tenant's storage has failed; nothing was done", 5)
            }
            WakeError::Log(_) | WakeError::Panicked(_) => {
                Self::unavailable("tenant-unavailable", "the tenant's data cannot be opened right now", 5)
            }
        }
    }
}

impl From<DeletionError> for Problem {
    fn from(error: DeletionError) -> Self {
        let detail = error.to_string();
        match error {
            DeletionError::NotFound => Self::new(StatusCode::NOT_FOUND, "no-such-tenant", detail),
            DeletionError::DeletedAtHiveHub | DeletionError::AnotherAtHiveHub => {
                Self::new(StatusCode::CONFLICT, "deleted-at-hivehub", detail)
            }
            DeletionError::HiveHubUnknown => Self::unavailable("hivehub-unavailable", detail, 5),
            DeletionError::Exists => Self::new(StatusCode::CONFLICT, "tenant-exists", detail),
            DeletionError::Busy | DeletionError::Unbilled => {
                Self::unavailable("tenant-unavailable", detail, 5)
            }
            DeletionError::Stopping => Self::unavailable("stopping", detail, 5),
            DeletionError::Log(_) => {
                tracing::error!(detail, "a tenant could not be deleted or restored");
                Self::unavailable("storage-failed", "the tenant's folder could not be moved", 5)
            }
        }
    }
}

impl From<InvalidPoint> for Problem {
    fn from(invalid: InvalidPoint) -> Self {
        let detail = invalid.to_string();
        let code = match invalid {
            InvalidPoint::IdEmpty
            | InvalidPoint::IdTooLong { .. }
            | InvalidPoint::IdControlCharacter { .. } => "invalid-id",
            InvalidPoint::NotFinite { .. } => "not-finite",
            InvalidPoint::RaggedVector { .. } => "invalid-vector",
            InvalidPoint::PayloadNotAnObject | InvalidPoint::PayloadNotJson => "invalid-payload",
            InvalidPoint::TextEmpty => "invalid-text",
            InvalidPoint::TextTooLarge { .. } => return Self::too_large("text-too-large", detail),
            InvalidPoint::PayloadTooLarge { .. } => return Self::too_large("payload-too-large", detail),
        };
        Self::invalid(code, detail)
    }
}

impl From<InvalidCollectionName> for Problem {
    fn from(invalid: InvalidCollectionName) -> Self {
        Self::invalid("invalid-name", invalid.to_string())
    }
}

impl From<InvalidIndexPath> for Problem {
    fn from(invalid: InvalidIndexPath) -> Self {
        Self::invalid("invalid-index-path", invalid.to_string())
    }
}

impl From<InvalidQuery> for Problem {
    fn from(invalid: InvalidQuery) -> Self {
        let code = match invalid {
            InvalidQuery::NoVectors => "vector-unexpected",
            InvalidQuery::WrongDimension { .. } => "wrong-dimension",
            InvalidQuery::NotFinite { .. } => "not-finite",
            InvalidQuery::ZeroVector => "zero-vector",
        };
        Self::invalid(code, invalid.to_string())
    }
}

impl From<InvalidTextQuery> for Problem {
    fn from(invalid: InvalidTextQuery) -> Self {
        Self::invalid("invalid-text", invalid.to_string()).at("text")
    }
}

/// What is wrong with the service is the operator's to know and in the log.
const EMBEDDING_FAILED: &str =
    "the embeddings service could not be asked or did not answer as it should; nothing was done";
const EMBEDDING_RETRY_SECONDS: u64 = 5;

impl From<NotEmbedded> for Problem {
    fn from(not: NotEmbedded) -> Self {
        let detail = not.to_string();
        match not {
            NotEmbedded::WrongDimension { .. } => Self::invalid("embedding-dimension", detail),
            NotEmbedded::TooMany { .. } => Self::invalid("too-many-texts", detail),
            NotEmbedded::Failed(_) => {
                Self::unavailable("embedding-unavailable", EMBEDDING_FAILED, EMBEDDING_RETRY_SECONDS)
            }
        }
    }
}

impl From<InvalidFilter> for Problem {
    fn from(invalid: InvalidFilter) -> Self {
        let code = if invalid.is_nested_too_deep() { "nested-too-deep" } else { "invalid-filter" };
        Self::invalid(code, invalid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use vectorizer_log::Error;

    use super::*;

    #[test]
    fn storage_that_fails_is_called_so_also_when_the_log_is_opened() {
        let code = |error: Error| Problem::from(&WakeError::Log(error)).code;
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(code(Error::File { doing: "write", path: "head".into(), source }), "storage-full");
        let source = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(code(Error::File { doing: "write", path: "head".into(), source }), "storage-failed");
        assert_eq!(code(Error::Locked("log".into())), "tenant-unavailable");
        assert_eq!(Problem::from(Refusal::StorageClosed).code, "storage-failed");
    }
}
