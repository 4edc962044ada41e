//! Plans.

use axum::extract::{Json, Path, State};
use serde::Deserialize;

use super::models::{PAGE_MAX, PlanView, PlansAnswer};
use crate::limits::{Limits, PlanName};
use crate::server::rejection::HubRejection;
use crate::server::sent::{JsonBody, Parameters};
use crate::server::{Served, with_hub};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Page {
    after: Option<PlanName>,
    limit: Option<u16>,
}

pub(in crate::server) async fn list(
    State(served): State<Served>,
    Parameters(Page { after, limit }): Parameters<Page>,
) -> Result<Json<PlansAnswer>, HubRejection> {
    let limit = limit.map_or(PAGE_MAX, usize::from).clamp(1, PAGE_MAX);
    let mut found = served.hub.plans(after.as_ref(), limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(name, _)| name.clone());
    let plans = found.into_iter().map(|(name, quota)| PlanView { name, quota }).collect();
    Ok(Json(PlansAnswer { plans, next }))
}

pub(in crate::server) async fn show(
    State(served): State<Served>,
    Path(name): Path<String>,
) -> Result<Json<PlanView>, HubRejection> {
    let name: PlanName = name.parse().map_err(|_| HubRejection::UnknownPlan)?;
    let quota = served.hub.plan(&name).map_err(HubRejection::Store)?;
    Ok(Json(PlanView { name, quota }))
}

pub(in crate::server) async fn set(
    State(served): State<Served>,
    Path(name): Path<String>,
    JsonBody(quota): JsonBody<Limits>,
) -> Result<Json<PlanView>, HubRejection> {
    let name: PlanName = name.parse().map_err(|_| {
        HubRejection::Contradiction("a plan's name is of the form [A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
    })?;
    let plan = PlanView { name, quota };
    let told = plan.clone();
    with_hub(&served, move |hub| hub.set_plan(&told.name, told.quota)).await?;
    Ok(Json(plan))
}
