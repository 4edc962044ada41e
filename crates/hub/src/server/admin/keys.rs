//! Keys.

use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use vectorizer_access::KeyId;
use vectorizer_hivehub::Scope;
use vectorizer_log::{TenantId, Timestamp};

use super::models::{CreateKey, KeyView, KeysAnswer, NewKeyAnswer, PAGE_MAX, RotateKey};
use crate::server::rejection::HubRejection;
use crate::server::sent::{JsonBody, Parameters};
use crate::server::{Served, with_hub};
use crate::store::NewKey;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Page {
    tenant: Option<TenantId>,
    after: Option<KeyId>,
    limit: Option<u16>,
}

pub(in crate::server) async fn list(
    State(served): State<Served>,
    Parameters(Page { tenant, after, limit }): Parameters<Page>,
) -> Result<Json<KeysAnswer>, HubRejection> {
    let limit = limit.map_or(PAGE_MAX, usize::from).clamp(1, PAGE_MAX);
    let mut found = served.hub.keys(tenant.as_ref(), after.as_ref(), limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|key| key.id.clone());
    let now = Timestamp::now();
    let keys = found.into_iter().map(|key| KeyView::new(key, now)).collect();
    Ok(Json(KeysAnswer { keys, next }))
}

pub(in crate::server) async fn create(
    State(served): State<Served>,
    JsonBody(request): JsonBody<CreateKey>,
) -> Result<(StatusCode, Json<NewKeyAnswer>), HubRejection> {
    let CreateKey { permission, scope, tenant, expires_at, environment } = request;
    if (scope == Scope::Tenant) != tenant.is_some() {
        let what = "a key of scope \"tenant\" has a tenant, and one of scope \"cluster\" has none";
        return Err(HubRejection::Contradiction(what));
    }
    let new = NewKey { permission, tenant, expires_at };
    let answer = with_hub(&served, move |hub| {
        let secret = hub.create_key(environment.into(), &new)?;
        hub.key(&secret.id()).map(|key| NewKeyAnswer::new(&secret, key))
    });
    Ok((StatusCode::CREATED, Json(answer.await?)))
}

pub(in crate::server) async fn show(
    State(served): State<Served>,
    Path(id): Path<String>,
) -> Result<Json<KeyView>, HubRejection> {
    let key = served.hub.key(&key_id(id)?).map_err(HubRejection::Store)?;
    Ok(Json(KeyView::new(key, Timestamp::now())))
}

pub(in crate::server) async fn rotate(
    State(served): State<Served>,
    Path(id): Path<String>,
    JsonBody(RotateKey { overlap_seconds, environment }): JsonBody<RotateKey>,
) -> Result<(StatusCode, Json<NewKeyAnswer>), HubRejection> {
    let id = key_id(id)?;
    let answer = with_hub(&served, move |hub| {
        let secret = hub.rotate_key(environment.into(), &id, overlap_seconds)?;
        hub.key(&secret.id()).map(|key| NewKeyAnswer::new(&secret, key))
    });
    Ok((StatusCode::CREATED, Json(answer.await?)))
}

pub(in crate::server) async fn revoke(
    State(served): State<Served>,
    Path(id): Path<String>,
) -> Result<Json<KeyView>, HubRejection> {
    let id = key_id(id)?;
    let key = with_hub(&served, move |hub| {
        hub.revoke_key(&id)?;
        hub.key(&id)
    });
    Ok(Json(KeyView::new(key.await?, Timestamp::now())))
}

fn key_id(text: String) -> Result<KeyId, HubRejection> {
    KeyId::try_from(text).map_err(|_| HubRejection::UnknownKey)
}
