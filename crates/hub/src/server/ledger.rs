//! Reading the ledger, for servers and for the operator.

use axum::extract::{Json, Path, State};
use vectorizer_log::{Meter, TenantId};

use super::admin::models::{MeterTotals, PAGE_MAX, UsageQuery, UsageTotalsAnswer};
use super::rejection::HubRejection;
use super::sent::Parameters;
use super::{Served, with_hub};
use crate::ledger::{Totals, UsageFilter, UsagePage};

pub(super) async fn usage(
    State(served): State<Served>,
    Path(id): Path<String>,
    Parameters(query): Parameters<UsageQuery>,
) -> Result<Json<UsagePage>, HubRejection> {
    let id: TenantId = id.parse().map_err(|_| HubRejection::UnknownTenant)?;
    let (after, limit) = (query.after.unwrap_or_default(), query.limit.map_or(PAGE_MAX, usize::from));
    let filter = query.filter();
    let page = with_hub(&served, move |hub| hub.usage(&id, &filter, after, limit.clamp(1, PAGE_MAX))).await?;
    Ok(Json(page))
}

/// Without a filter, returns the totals that the hub keeps. With a filter, adds up the matching events. These are read
/// page by page, so that the time limit can end a request that takes too long.
pub(super) async fn totals(
    State(served): State<Served>,
    Path(id): Path<String>,
    Parameters(query): Parameters<UsageQuery>,
) -> Result<Json<UsageTotalsAnswer>, HubRejection> {
    let id: TenantId = id.parse().map_err(|_| HubRejection::UnknownTenant)?;
    let filter = query.filter();
    let totals = if filter == UsageFilter::default() {
        with_hub(&served, move |hub| hub.usage_totals(&id)).await?
    } else {
        let mut totals: Vec<_> = Meter::ALL.into_iter().map(Totals::of).collect();
        let mut after = Some(0);
        while let Some(from) = after {
            let id = id.clone();
            let page = with_hub(&served, move |hub| hub.usage(&id, &filter, from, PAGE_MAX)).await?;
            for event in &page.events {
                totals
                    .iter_mut()
                    .filter(|totals| totals.meter == event.data.meter)
                    .for_each(|totals| totals.add(event));
            }
            after = page.next;
        }
        totals.retain(|totals| totals.events > 0);
        totals
    };
    Ok(Json(UsageTotalsAnswer { totals: totals.into_iter().map(MeterTotals::from).collect() }))
}
