//! Extractors for the body and the query parameters of a request. They follow the rules of a node's API.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use vectorizer_json::Unreadable;

use super::BODY_BYTES_MAX;
use super::rejection::HubRejection;

/// A JSON body, sent with the media type of JSON.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = HubRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, HubRejection> {
        let sent = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = sent.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(HubRejection::ContentType(sent.to_owned()));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            // There are only two cases: the body is too large, or it ended early.
            let is_too_large = rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE;
            if is_too_large { HubRejection::TooLarge(BODY_BYTES_MAX) } else { HubRejection::Incomplete }
        })?;
        vectorizer_json::read(&bytes).map(Self).map_err(|unreadable| match unreadable {
            Unreadable::NotJson(why) => HubRejection::Malformed(format!("not JSON: {why}")),
            Unreadable::Wrong(wrong) if wrong.is_whole() => HubRejection::Invalid(format!("body: {wrong}")),
            Unreadable::Wrong(wrong) => HubRejection::Invalid(wrong.to_string()),
        })
    }
}

/// The query parameters. Unknown parameters are refused.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = HubRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HubRejection> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| HubRejection::Malformed("the query cannot be read".to_owned()))?;
        vectorizer_json::parameters(pairs)
            .map(Self)
            .map_err(|wrong| HubRejection::Malformed(wrong.to_string()))
    }
}
