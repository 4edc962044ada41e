//! Calls of servers: validating a key, and reading a tenant's quota.

use axum::extract::{Json, Path, State};
use vectorizer_hivehub::{QuotaAnswer, ValidateAnswer, ValidateRequest};
use vectorizer_log::TenantId;

use super::Served;
use super::rejection::HubRejection;
use super::sent::JsonBody;

pub(super) async fn validate(
    State(served): State<Served>,
    JsonBody(request): JsonBody<ValidateRequest>,
) -> Result<Json<ValidateAnswer>, HubRejection> {
    Ok(Json(served.hub.validate(&request.key_sha256)))
}

pub(super) async fn quota(
    State(served): State<Served>,
    Path(id): Path<String>,
) -> Result<Json<QuotaAnswer>, HubRejection> {
    let id: TenantId = id.parse().map_err(|_| HubRejection::UnknownTenant)?;
    served.hub.quota(&id).map(Json).map_err(HubRejection::Store)
}
