//! The keys by which servers are known.

use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_log::Timestamp;

use super::models::{NewServiceKeyAnswer, RotateServiceKey, ServiceKeyView, ServiceKeysAnswer};
use crate::server::rejection::HubRejection;
use crate::server::sent::JsonBody;
use crate::server::{Served, with_hub};

pub(in crate::server) async fn list(State(served): State<Served>) -> Json<ServiceKeysAnswer> {
    let now = Timestamp::now();
    let view = |key| ServiceKeyView::new(key, now);
    Json(ServiceKeysAnswer { keys: served.hub.service_keys().iter().map(view).collect() })
}

pub(in crate::server) async fn rotate(
    State(served): State<Served>,
    JsonBody(RotateServiceKey { overlap_seconds }): JsonBody<RotateServiceKey>,
) -> Result<(StatusCode, Json<NewServiceKeyAnswer>), HubRejection> {
    let secret = with_hub(&served, move |hub| hub.rotate_service_key(overlap_seconds)).await?;
    let hash = KeyHash::of(secret.expose());
    let made = served.hub.service_keys().into_iter().find(|key| key.sha256 == hash);
    let key = ServiceKeyView::new(&made.ok_or(HubRejection::Broken)?, Timestamp::now());
    Ok((StatusCode::CREATED, Json(NewServiceKeyAnswer { secret: secret.expose().to_owned(), key })))
}

pub(in crate::server) async fn revoke(
    State(served): State<Served>,
    Path(id): Path<String>,
) -> Result<Json<ServiceKeyView>, HubRejection> {
    let id = KeyId::try_from(id).map_err(|_| HubRejection::UnknownKey)?;
    let revoked = with_hub(&served, move |hub| {
        hub.revoke_service_key(&id)?;
        hub.state().service_key(&id).cloned()
    });
    Ok(Json(ServiceKeyView::new(&revoked.await?, Timestamp::now())))
}
