//! Rejections: the reasons to refuse a request, and their responses.

use std::time::Duration;

use axum::extract::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tracing::error;
use vectorizer_hivehub::{CURSOR_LOST, ErrorAnswer, SERVICE_KEY_HEADER, UNKNOWN_TENANT};

use super::Caller;
use crate::error::HubStoreError;

/// The error code of all invalid requests.
const INVALID_REQUEST: &str = "invalid_request";
/// Further error codes of a 404, besides the code of a path that does not exist.
pub(super) const UNKNOWN_PLAN: &str = "unknown_plan";
const UNKNOWN_KEY: &str = "unknown_key";

/// The reason to refuse a request. The body of each response is `{"error", "details"}`.
#[derive(Debug)]
pub(super) enum HubRejection {
    Key(Caller),
    NotFound,
    MethodNotAllowed,
    TooSlow(Duration),
    /// The media type of the body is not JSON. Holds the `Content-Type` of the request.
    ContentType(String),
    /// The body has more bytes than this.
    TooLarge(usize),
    /// The body ended early.
    Incomplete,
    /// The body or the query cannot be read.
    Malformed(String),
    /// The body is JSON, but not a valid request.
    Invalid(String),
    /// The request contradicts itself, or a value in it has an invalid form.
    Contradiction(&'static str),
    UnknownTenant,
    UnknownPlan,
    UnknownKey,
    CursorLost,
    Busy,
    Store(HubStoreError),
    /// A bug in the hub.
    Broken,
}

impl IntoResponse for HubRejection {
    fn into_response(self) -> Response {
        let caller = if let Self::Key(caller) = &self { Some(*caller) } else { None };
        let (status, error, details) = self.described();
        let mut response = (status, Json(ErrorAnswer { error: error.to_owned(), details })).into_response();
        if caller == Some(Caller::Operator) {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl HubRejection {
    fn described(self) -> (StatusCode, &'static str, String) {
        let no_tenant = || (StatusCode::NOT_FOUND, UNKNOWN_TENANT, "there is no such tenant".to_owned());
        let no_plan = || (StatusCode::NOT_FOUND, UNKNOWN_PLAN, "there is no such plan".to_owned());
        let no_key = || (StatusCode::NOT_FOUND, UNKNOWN_KEY, "there is no such key".to_owned());
        match self {
            Self::Key(Caller::Service) => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                format!("the header {SERVICE_KEY_HEADER} is missing or wrong"),
            ),
            Self::Key(Caller::Operator) => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this needs Authorization: Bearer with an operator's key".to_owned(),
            ),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, "not_found", "there is nothing at this path".to_owned())
            }
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path takes another method".to_owned(),
            ),
            Self::TooSlow(most) => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                format!("the request took longer than {} s", most.as_secs()),
            ),
            Self::ContentType(sent) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                INVALID_REQUEST,
                format!("Content-Type is {sent:?}, this takes application/json"),
            ),
            Self::TooLarge(most) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                INVALID_REQUEST,
                format!("the body has more than {most} bytes"),
            ),
            Self::Incomplete => (StatusCode::BAD_REQUEST, INVALID_REQUEST, "the body broke off".to_owned()),
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, INVALID_REQUEST, why),
            Self::Invalid(why) => (StatusCode::UNPROCESSABLE_ENTITY, INVALID_REQUEST, why),
            Self::Contradiction(what) => (StatusCode::UNPROCESSABLE_ENTITY, INVALID_REQUEST, what.to_owned()),
            Self::UnknownTenant => no_tenant(),
            Self::UnknownPlan => no_plan(),
            Self::UnknownKey => no_key(),
            Self::CursorLost => (
                StatusCode::GONE,
                CURSOR_LOST,
                "the feed cannot go on from this cursor: forget what is cached and begin again".to_owned(),
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many requests of this kind are under way".to_owned(),
            ),
            Self::Store(error) => {
                let details = error.to_string();
                match error {
                    HubStoreError::NoSuchTenant(_) => no_tenant(),
                    HubStoreError::NoSuchPlan(_) => no_plan(),
                    HubStoreError::NoSuchKey(_) => no_key(),
                    HubStoreError::TenantExists(_) => (StatusCode::CONFLICT, "tenant_exists", details),
                    HubStoreError::TenantDeleted(_) => (StatusCode::CONFLICT, "tenant_deleted", details),
                    HubStoreError::TenantNotDeleted(_) => {
                        (StatusCode::CONFLICT, "tenant_not_deleted", details)
                    }
                    HubStoreError::GraceOver { .. } => (StatusCode::CONFLICT, "grace_over", details),
                    HubStoreError::KeyExists(_) => (StatusCode::CONFLICT, "key_exists", details),
                    HubStoreError::KeyEnded(_) => (StatusCode::CONFLICT, "key_ended", details),
                    HubStoreError::Initialised => (StatusCode::CONFLICT, "initialised", details),
                    HubStoreError::OnlyServiceKey(_) => (StatusCode::CONFLICT, "only_service_key", details),
                    HubStoreError::TooManyServiceKeys => {
                        (StatusCode::CONFLICT, "too_many_service_keys", details)
                    }
                    HubStoreError::LesserClusterKey | HubStoreError::OverlapTooLong => {
                        (StatusCode::UNPROCESSABLE_ENTITY, INVALID_REQUEST, details)
                    }
                    HubStoreError::Io { .. }
                    | HubStoreError::Damaged { .. }
                    | HubStoreError::InUse { .. }
                    | HubStoreError::NoEntropy(_) => {
                        // Only the operator may see paths and messages of the system.
                        error!(error = &error as &dyn std::error::Error, "the hub's files failed");
                        let details = "the hub's files failed; its own log says how".to_owned();
                        (StatusCode::INTERNAL_SERVER_ERROR, "storage_failed", details)
                    }
                }
            }
            Self::Broken => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the hub failed; its own log says how".to_owned(),
            ),
        }
    }
}
