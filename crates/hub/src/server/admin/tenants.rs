//! Tenants.

use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use vectorizer_hivehub::TenantStatus;
use vectorizer_log::TenantId;

use super::models::{CreateTenant, PAGE_MAX, SetTenant, TenantView, TenantsAnswer};
use crate::error::HubStoreError;
use crate::server::rejection::HubRejection;
use crate::server::sent::{JsonBody, Parameters};
use crate::server::{Served, with_hub};
use crate::store::{Hub, NewTenant};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Page {
    after: Option<TenantId>,
    limit: Option<u16>,
}

pub(in crate::server) async fn list(
    State(served): State<Served>,
    Parameters(Page { after, limit }): Parameters<Page>,
) -> Result<Json<TenantsAnswer>, HubRejection> {
    let limit = limit.map_or(PAGE_MAX, usize::from).clamp(1, PAGE_MAX);
    let mut found = served.hub.tenants(after.as_ref(), limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(id, ..)| id.clone());
    let tenants = found
        .into_iter()
        .map(|(id, entry, quota)| TenantView::new(id, entry, quota, served.hub.delete_grace()))
        .collect();
    Ok(Json(TenantsAnswer { tenants, next }))
}

pub(in crate::server) async fn create(
    State(served): State<Served>,
    JsonBody(CreateTenant { id, name, plan, overrides, deployment }): JsonBody<CreateTenant>,
) -> Result<(StatusCode, Json<TenantView>), HubRejection> {
    let name = match name {
        Some(name) => name,
        None => id.as_str().parse().map_err(|_| HubRejection::Contradiction("the tenant has no name"))?,
    };
    let new = NewTenant { id, name, plan, overrides, deployment };
    let view = with_hub(&served, move |hub| {
        hub.create_tenant(&new)?;
        view(hub, &new.id)
    });
    Ok((StatusCode::CREATED, Json(view.await?)))
}

pub(in crate::server) async fn show(
    State(served): State<Served>,
    Path(id): Path<String>,
) -> Result<Json<TenantView>, HubRejection> {
    view(&served.hub, &tenant(&id)?).map(Json).map_err(HubRejection::Store)
}

pub(in crate::server) async fn set(
    State(served): State<Served>,
    Path(id): Path<String>,
    JsonBody(SetTenant { name, plan, overrides, deployment }): JsonBody<SetTenant>,
) -> Result<Json<TenantView>, HubRejection> {
    let id = tenant(&id)?;
    let view = with_hub(&served, move |hub| {
        hub.set_tenant(&id, |tenant| {
            tenant.name = name.unwrap_or(tenant.name.clone());
            tenant.plan = plan.unwrap_or(tenant.plan.clone());
            overrides.apply(&mut tenant.overrides);
            if let Some(deployment) = deployment {
                tenant.deployment = deployment;
            }
        })?;
        view(hub, &id)
    });
    Ok(Json(view.await?))
}

pub(in crate::server) async fn suspend(
    served: State<Served>,
    id: Path<String>,
) -> Result<Json<TenantView>, HubRejection> {
    set_status(served, id, TenantStatus::Suspended).await
}

pub(in crate::server) async fn resume(
    served: State<Served>,
    id: Path<String>,
) -> Result<Json<TenantView>, HubRejection> {
    set_status(served, id, TenantStatus::Active).await
}

pub(in crate::server) async fn delete(
    served: State<Served>,
    id: Path<String>,
) -> Result<Json<TenantView>, HubRejection> {
    set_status(served, id, TenantStatus::Deleted).await
}

pub(in crate::server) async fn undelete(
    State(served): State<Served>,
    Path(id): Path<String>,
) -> Result<Json<TenantView>, HubRejection> {
    let id = tenant(&id)?;
    let view = with_hub(&served, move |hub| {
        hub.undelete_tenant(&id)?;
        view(hub, &id)
    });
    Ok(Json(view.await?))
}

async fn set_status(
    State(served): State<Served>,
    Path(id): Path<String>,
    status: TenantStatus,
) -> Result<Json<TenantView>, HubRejection> {
    let id = tenant(&id)?;
    let view = with_hub(&served, move |hub| {
        hub.set_tenant_status(&id, status)?;
        view(hub, &id)
    });
    Ok(Json(view.await?))
}

fn tenant(id: &str) -> Result<TenantId, HubRejection> {
    id.parse().map_err(|_| HubRejection::UnknownTenant)
}

fn view(hub: &Hub, id: &TenantId) -> Result<TenantView, HubStoreError> {
    hub.tenant(id).map(|(entry, quota)| TenantView::new(id.clone(), entry, quota, hub.delete_grace()))
}
