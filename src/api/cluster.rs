//! The node as its operator sees it, and a key as its holder does.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use vectorizer_log::{LogId, MeterTotal, Seq, TenantId, Tombstone};

use super::answer::json;
use super::body::Parameters;
use super::middleware::auth::{Caller, GrantedCluster, GrantedUsage};
use super::problem::Problem;
use super::values::{self, OfTenant};
use super::{App, openapi};
use crate::auth::{ClusterPass, Holds, Level, Operation, Requirement, rest_level};
use crate::hivehub::{Call, Extensible, Holder, Permission, QuotaVerdict, TenantStatus, integer};
use crate::limits::Limits;
use crate::node_store::StoredSize;
use crate::tenancy::{AtHiveHub, BillFacts, DeletedFacts, DeletionError, EndedBy, TenantState, WindowFacts};

/// The most tenants on a page, and how many there are on one that does not say.
const TENANTS_MAX: usize = 1_000;
const TENANTS_DEFAULT: usize = 100;

/// How old usage is when its not being delivered is a problem.
const USAGE_LATE_SECONDS: u64 = 900;

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterHealth {
    /// `ok`, or `degraded` while something that it needs does not answer: then `problems` says what.
    #[schema(pattern = "^(ok|degraded)$")]
    status: &'static str,
    /// What does not work, in sentences.
    problems: Vec<&'static str>,
    /// The server's version.
    version: &'static str,
    /// `cluster` or `single-tenant`.
    #[schema(pattern = "^(cluster|single-tenant)$")]
    mode: &'static str,
    /// Seconds since the server started.
    uptime_seconds: u64,
    /// Tenants in memory.
    tenants_awake: usize,
    /// What is known of HiveHub; null in single-tenant mode.
    hivehub: Option<HiveHubHealth>,
    /// What of the bills is not delivered; null in single-tenant mode.
    usage: Option<UsageBacklog>,
}

/// What of the bills is closed and not delivered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageBacklog {
    /// Tenants of which something is not.
    tenants: usize,
    /// How long ago the oldest of it was closed; null if there is none.
    oldest_seconds: Option<u64>,
    /// Lines that HiveHub has rejected since the server started. They are in their tenants' logs.
    parked_lines: u64,
}

/// What is known of HiveHub.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HiveHubHealth {
    /// Whether it answered when it was asked last.
    answering: bool,
    /// Whether the policy feed is up to date: revocations arrive within a second.
    policies_current: bool,
}

/// Parameters of a page of tenants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TenantsParameters {
    /// How many at most: 1 to 1,000; 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Show those that were deleted and can be had back, in place of those that are here.
    deleted: Option<bool>,
}

/// A page of tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantsPage {
    /// By id. None of them if those that were deleted are asked for.
    tenants: Vec<TenantAnswer>,
    /// With `deleted=true`: those that were deleted and can be had back, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deleted: Option<Vec<RestorableTenant>>,
    /// Where the next page starts; null on the last.
    next_cursor: Option<String>,
}

/// A deleted tenant that can be had back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RestorableTenant {
    /// Its id.
    tenant: String,
    /// The id of its log.
    log_id: String,
    /// When it was deleted.
    deleted_at: String,
    /// Until when it can be had back.
    #[schema(format = DateTime)]
    restorable_until: String,
    /// `operator`: by this node's operator, who restores it here. `hivehub`: by HiveHub, where its deletion is taken back.
    /// null if that was not noted down.
    deleted_by: Option<&'static str>,
}

/// A tenant, without anything of its data.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantAnswer {
    /// Its id.
    id: String,
    /// `awake` or `asleep`.
    #[schema(pattern = "^(awake|asleep)$")]
    state: &'static str,
    /// How large it is; null if that was never noted down.
    usage: Option<UsageNow>,
    /// Bytes of memory that it takes up now, as they are counted for `server.memory_budget`; 0 for one that sleeps.
    memory_bytes: u64,
    /// When it was used last, in RFC 3339, to the minute; null if that was never noted down.
    last_used: Option<String>,
}

/// Which of the logs that were deleted under an id.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RestoreParameters {
    /// The `log_id` that the deletion was answered with.
    #[param(value_type = Option<String>, format = "uuid")]
    log_id: Option<Uuid>,
}

/// A tenant that is or was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeletedTenant {
    /// Its id.
    tenant: String,
    /// The id of its log.
    log_id: String,
    /// When it was deleted.
    #[schema(format = DateTime)]
    deleted_at: String,
}

/// What a tenant uses.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct UsageNow {
    /// Logical bytes of its vectors: for each 4 × dimension + id + payload + 32.
    storage_bytes: u64,
    /// Stored bytes of its log.
    log_bytes: u64,
    /// Vectors.
    vectors: u64,
    /// Collections.
    collections: u64,
    /// The last record of its log that this counts.
    seq: u64,
}

/// What a tenant may use; null is no limit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuotaNow {
    /// Logical bytes of its vectors.
    storage_bytes: Option<u64>,
    /// Stored bytes of its log.
    log_bytes: Option<u64>,
    /// Vectors.
    vectors: Option<u64>,
    /// Collections.
    collections: Option<u64>,
    /// Requests within a minute.
    #[schema(value_type = Option<u64>)]
    requests_per_minute: Option<u32>,
    /// Requests within an hour.
    #[schema(value_type = Option<u64>)]
    requests_per_hour: Option<u32>,
}

/// Whose usage to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageParameters {
    /// A tenant's id: for the operator, who has to name one. A tenant may name itself only.
    tenant: Option<String>,
}

/// What a tenant uses of what it may use.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageAnswer {
    /// The tenant.
    tenant: String,
    /// What it uses.
    usage: UsageNow,
    /// What it may use; null while that is not known.
    quota: Option<QuotaNow>,
    /// The window of the bill that is open; null for one that sleeps, and in single-tenant mode.
    window: Option<WindowNow>,
    /// What of the bill HiveHub has; null before it has anything.
    last_delivered: Option<DeliveredNow>,
}

/// The window of the bill that is open.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowNow {
    /// When it began; null before the first record of the log.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Its first record.
    first_seq: Option<u64>,
    /// What it comes to now, by meter: `vectors_upserted`, `vectors_deleted`, `searches`, `requests`,
    /// `storage_byte_seconds` and `storage_bytes`. As text above 2^53.
    #[schema(value_type = BTreeMap<String, openapi::WholeNumber>)]
    totals: BTreeMap<&'static str, MeterValue>,
}

/// A whole number, as a text above 2^53.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct MeterValue(#[serde(serialize_with = "integer::serialize")] u128);

/// What of the bill HiveHub has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveredNow {
    /// Every window closed at this record of the log or before.
    seq: u64,
    /// When that was; null if it was in an earlier life of the server that noted nothing down.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// The last window of it; null while that is not known.
    window: Option<DeliveredWindowNow>,
}

/// A window of the bill that HiveHub has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveredWindowNow {
    /// Its lines are known to HiveHub by this, a colon and the meter.
    id: String,
    /// When it began.
    #[schema(format = DateTime)]
    since: String,
    /// When it ended.
    #[schema(format = DateTime)]
    until: String,
    /// Its first record.
    first_seq: u64,
    /// Its last record, which closed it.
    last_seq: u64,
    /// What it came to, by meter, as in the window that is open. What is zero is no line, except for
    /// `storage_bytes` where vectors were deleted.
    #[schema(value_type = BTreeMap<String, openapi::WholeNumber>)]
    totals: BTreeMap<&'static str, MeterValue>,
}

/// What a key is and may do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    /// Always true: a key that is not valid gets a 401.
    valid: bool,
    /// Its public name; null on a server without keys.
    key_id: Option<String>,
    /// `ADMIN`, `READ_WRITE` or `READ_ONLY`.
    #[schema(pattern = "^(ADMIN|READ_WRITE|READ_ONLY)$")]
    permission: &'static str,
    /// `tenant`, or `cluster` for the operator's.
    #[schema(pattern = "^(tenant|cluster)$")]
    scope: &'static str,
    /// When it ends; null is never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Whose it is; null for the operator's.
    tenant: Option<KeyTenant>,
    /// The operations it may use, by the names of this document.
    operations: Vec<&'static str>,
}

/// Whose key it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyTenant {
    /// The tenant's id.
    id: String,
    /// Its name for people.
    name: String,
    /// Its plan.
    plan: String,
}

impl From<Tombstone> for DeletedTenant {
    fn from(tombstone: Tombstone) -> Self {
        Self {
            tenant: tombstone.tenant.to_string(),
            log_id: tombstone.log_id.to_string(),
            deleted_at: tombstone.deleted_at.to_string(),
        }
    }
}

impl From<StoredSize> for UsageNow {
    fn from(size: StoredSize) -> Self {
        Self {
            storage_bytes: size.storage_bytes,
            log_bytes: size.log_bytes,
            vectors: size.vectors,
            collections: size.collections,
            seq: size.seq,
        }
    }
}

impl From<Limits> for QuotaNow {
    fn from(limits: Limits) -> Self {
        Self {
            storage_bytes: limits.storage_bytes,
            log_bytes: limits.log_bytes,
            vectors: limits.vectors,
            collections: limits.collections,
            requests_per_minute: limits.requests.map(|requests| requests.per_minute),
            requests_per_hour: limits.requests.map(|requests| requests.per_hour),
        }
    }
}

/// See how the node is.
#[utoipa::path(get, path = "/api/v1/cluster/health", operation_id = "cluster_health", responses(
    (status = 200, body = ClusterHealth),
))]
pub(super) async fn health(State(app): State<App>, GrantedCluster(_): GrantedCluster) -> Response {
    let shared = &app.shared;
    let hivehub = shared.access.is_cluster().then(|| HiveHubHealth {
        answering: [Call::Validate, Call::Quota].iter().all(|call| shared.metrics.hivehub_answers(*call)),
        policies_current: shared.access.hears_policies().unwrap_or(false),
    });
    let mut problems = Vec::new();
    if let Some(hivehub) = &hivehub {
        if !hivehub.answering {
            problems.push("HiveHub does not answer: known keys and limits are used");
        }
        if !hivehub.policies_current {
            problems.push("policies do not arrive: a revoked key may be taken for as long as known keys are");
        }
    }
    let usage = shared.tenancy.backlog().map(|backlog| UsageBacklog {
        tenants: backlog.tenants,
        oldest_seconds: backlog.age().map(|age| age.as_secs()),
        parked_lines: shared.metrics.parked_lines(),
    });
    if shared.tenancy.is_report_refused() {
        problems.push("HiveHub does not accept this server's key: usage is kept and not billed");
    }
    if usage.as_ref().and_then(|usage| usage.oldest_seconds).is_some_and(|age| age >= USAGE_LATE_SECONDS) {
        problems.push("usage is not delivered to HiveHub: it is kept");
    }
    if shared.tenancy.keeps_notes_in_memory() {
        problems
            .push("the data folder takes no notes: what is counted and noted down is lost if the node stops");
    }
    let answer = ClusterHealth {
        status: if problems.is_empty() { "ok" } else { "degraded" },
        problems,
        version: env!("CARGO_PKG_VERSION"),
        mode: if hivehub.is_some() { "cluster" } else { "single-tenant" },
        uptime_seconds: shared.started.elapsed().as_secs(),
        tenants_awake: shared.tenancy.awake_count(),
        hivehub,
        usage,
    };
    json(StatusCode::OK, &answer)
}

/// See which tenants the node has.
#[utoipa::path(get, path = "/api/v1/cluster/tenants", operation_id = "list_tenants", params(TenantsParameters),
    responses(
        (status = 200, body = TenantsPage),
    ))]
pub(super) async fn tenants(
    State(app): State<App>,
    GrantedCluster(pass): GrantedCluster,
    Parameters(TenantsParameters { limit, cursor, deleted }): Parameters<TenantsParameters>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(TENANTS_DEFAULT);
    if !(1..=TENANTS_MAX).contains(&limit) {
        let detail = format!("limit is {limit}, it must be 1 to {TENANTS_MAX}");
        return Err(Problem::invalid("invalid-limit", detail));
    }
    if deleted == Some(true) {
        return deleted_tenants(&app, pass, cursor, limit).await;
    }
    let after = cursor.as_deref().map(|cursor| values::tenant(cursor, "cursor")).transpose()?;
    let tenancy = app.shared.tenancy.clone();
    // One more than asked for says whether there is a next page. Reads the disk.
    let found = tokio::task::spawn_blocking(move || tenancy.tenants(&pass, after.as_ref(), limit + 1)).await;
    let mut found = found.map_err(|_| Problem::internal())?.map_err(|error| {
        tracing::error!(%error, "the tenants cannot be listed");
        Problem::internal()
    })?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.id.to_string());
    let tenants = found.into_iter().map(|tenant| TenantAnswer {
        id: tenant.id.to_string(),
        state: match tenant.state {
            TenantState::Awake => "awake",
            TenantState::Asleep => "asleep",
        },
        last_used: tenant.size.and_then(|size| size.last_use).map(|at| at.to_string()),
        usage: tenant.size.map(UsageNow::from),
        memory_bytes: tenant.memory_bytes,
    });
    Ok(json(StatusCode::OK, &TenantsPage { tenants: tenants.collect(), deleted: None, next_cursor }))
}

async fn deleted_tenants(
    app: &App,
    pass: Arc<ClusterPass>,
    cursor: Option<String>,
    limit: usize,
) -> Result<Response, Problem> {
    let tenancy = app.shared.tenancy.clone();
    let found = tokio::task::spawn_blocking(move || tenancy.deleted_tenants(&pass)).await;
    let found = found.map_err(|_| Problem::internal())?.map_err(|error| {
        tracing::error!(%error, "the deleted tenants cannot be listed");
        Problem::internal()
    })?;
    let is_behind = |it: &DeletedFacts| cursor.as_ref().is_none_or(|cursor| it.place() > *cursor);
    let mut found: Vec<_> = found.into_iter().filter(is_behind).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(DeletedFacts::place);
    let shown = found.into_iter().map(|DeletedFacts { tombstone, until, by }| RestorableTenant {
        tenant: tombstone.tenant.to_string(),
        log_id: tombstone.log_id.to_string(),
        deleted_at: tombstone.deleted_at.to_string(),
        restorable_until: until.to_string(),
        deleted_by: by.map(|by| match by {
            EndedBy::Operator => "operator",
            EndedBy::Hivehub => "hivehub",
        }),
    });
    let page = TenantsPage { tenants: Vec::new(), deleted: Some(shown.collect()), next_cursor };
    Ok(json(StatusCode::OK, &page))
}

/// Delete a tenant with everything it has. It can be had back for `server.delete_grace` seconds. In a cluster its keys
/// are answered with 410 until it is restored, or HiveHub has created the tenant anew, which then starts empty.
#[utoipa::path(delete, path = "/api/v1/cluster/tenants/{id}", operation_id = "delete_tenant",
    params(("id" = String, Path, description = "The tenant's id.")),
    responses(
        (status = 200, body = DeletedTenant),
    ))]
pub(super) async fn delete_tenant(
    State(app): State<App>,
    GrantedCluster(pass): GrantedCluster,
    OfTenant(tenant): OfTenant,
) -> Result<Response, Problem> {
    let tombstone = app.shared.tenancy.delete(&pass, &tenant).await?;
    Ok(json(StatusCode::OK, &DeletedTenant::from(tombstone)))
}

/// Have back a deleted tenant, as it was: the log that is named, or the one that was deleted last under this id. One that
/// HiveHub has deleted is had back there: 409 `deleted-at-hivehub`.
#[utoipa::path(post, path = "/api/v1/cluster/tenants/{id}/restore", operation_id = "restore_tenant",
    params(("id" = String, Path, description = "The tenant's id."), RestoreParameters),
    responses(
        (status = 200, body = DeletedTenant),
        (status = 409, description = "A tenant with this id exists, or HiveHub has deleted it."),
    ))]
pub(super) async fn restore_tenant(
    State(app): State<App>,
    GrantedCluster(pass): GrantedCluster,
    OfTenant(tenant): OfTenant,
    Parameters(RestoreParameters { log_id }): Parameters<RestoreParameters>,
) -> Result<Response, Problem> {
    let at_hivehub = match app.shared.access.at_hivehub(&tenant).await {
        None | Some(Ok(QuotaVerdict::NoSuchTenant)) => AtHiveHub::Silent,
        Some(Ok(QuotaVerdict::Quota(answer))) => match answer.status {
            Some(Extensible::Known(TenantStatus::Deleted)) => AtHiveHub::Deleted(answer.incarnation),
            Some(Extensible::Known(TenantStatus::Active | TenantStatus::Suspended)) => {
                AtHiveHub::Lives(answer.incarnation)
            }
            Some(Extensible::Unknown(_)) | None => AtHiveHub::Silent,
        },
        Some(Err(_)) => return Err(DeletionError::HiveHubUnknown.into()),
    };
    let tombstone = app.shared.tenancy.restore(&pass, &tenant, log_id.map(LogId::new), at_hivehub).await?;
    Ok(json(StatusCode::OK, &DeletedTenant::from(tombstone)))
}

/// See what a tenant uses, and what it may use.
#[utoipa::path(get, path = "/api/v1/cluster/usage", operation_id = "usage", params(UsageParameters), responses(
    (status = 200, body = UsageAnswer),
    (status = 404, description = "This node has no such tenant."),
))]
pub(super) async fn usage(
    State(app): State<App>,
    granted: GrantedUsage,
    Parameters(UsageParameters { tenant: named }): Parameters<UsageParameters>,
) -> Result<Response, Problem> {
    let named = named.as_deref().map(|named| values::tenant(named, "tenant")).transpose()?;
    let (tenant, size, limits, bill) = match granted {
        GrantedUsage::Tenant(own) => {
            // Another's name answers like one's own that is wrong: nothing is learned about who exists.
            if named.is_some_and(|named| named != *own.id()) {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "insufficient-permission",
                    "a tenant's key shows that tenant's usage; another's needs the operator's key",
                ));
            }
            (own.id().clone(), own.size(), Some(own.limits()), own.bill())
        }
        GrantedUsage::Cluster(pass) => {
            let tenant = named.ok_or_else(|| {
                Problem::invalid("no-tenant", "the operator's key has no tenant: name one, ?tenant=<id>")
            })?;
            let tenancy = app.shared.tenancy.clone();
            let id = tenant.clone();
            let facts =
                tokio::task::spawn_blocking(move || (tenancy.size(&pass, &id), tenancy.bill(&pass, &id)));
            let (size, bill) = facts.await.map_err(|_| Problem::internal())?;
            let size = size.ok_or_else(|| no_such_tenant(&tenant))?;
            let limits = app.shared.access.known_limits(&tenant);
            (tenant, size, limits, bill)
        }
    };
    let (window, last_delivered) = bill.map_or((None, None), shown);
    let answer = UsageAnswer {
        tenant: tenant.to_string(),
        usage: size.into(),
        quota: limits.map(QuotaNow::from),
        window,
        last_delivered,
    };
    Ok(json(StatusCode::OK, &answer))
}

/// A bill as it is shown.
fn shown(bill: BillFacts) -> (Option<WindowNow>, Option<DeliveredNow>) {
    let BillFacts { log_id, window, delivered } = bill;
    let window = window.map(|WindowFacts { since, first_seq, totals }| WindowNow {
        since: since.map(|since| since.to_string()),
        first_seq: first_seq.map(Seq::get),
        totals: by_meter(totals),
    });
    let delivered = (delivered.seq > Seq::NONE).then(|| DeliveredNow {
        seq: delivered.seq.get(),
        at: delivered.at.map(|at| at.to_string()),
        window: delivered.window.map(|window| DeliveredWindowNow {
            id: format!("{log_id}:{}", window.last_seq),
            since: window.since.to_string(),
            until: window.through.to_string(),
            first_seq: window.first_seq.get(),
            last_seq: window.last_seq.get(),
            totals: by_meter(window.totals),
        }),
    });
    (window, delivered)
}

fn by_meter(totals: Vec<MeterTotal>) -> BTreeMap<&'static str, MeterValue> {
    totals.into_iter().map(|total| (total.meter.name(), MeterValue(total.value))).collect()
}

/// See what one's own key is and may do.
#[utoipa::path(post, path = "/api/v1/cluster/keys/validate", operation_id = "validate_key", responses(
    (status = 200, body = KeyAnswer),
))]
pub(super) async fn validate_key(Caller(holds): Caller) -> Response {
    let answer = match holds {
        Holds::Keyless(tenant) => KeyAnswer {
            valid: true,
            key_id: None,
            permission: "ADMIN",
            scope: "tenant",
            expires_at: None,
            tenant: Some(KeyTenant { id: tenant.to_string(), name: tenant.to_string(), plan: String::new() }),
            operations: names(|_| true),
        },
        Holds::Key(identity) => {
            let reach = rest_level(identity.permission);
            let (scope, tenant) = match &identity.holder {
                Holder::Cluster => ("cluster", None),
                Holder::Tenant(tenant) => {
                    let (name, plan) = (tenant.name.clone(), tenant.plan.clone());
                    ("tenant", Some(KeyTenant { id: tenant.id.to_string(), name, plan }))
                }
            };
            let is_cluster = tenant.is_none();
            KeyAnswer {
                valid: true,
                key_id: Some(identity.key_id.to_string()),
                permission: word(identity.permission),
                scope,
                expires_at: identity.expires_at.map(|end| end.to_string()),
                tenant,
                operations: names(|requirement| may(requirement, is_cluster, reach)),
            }
        }
    };
    json(StatusCode::OK, &answer)
}

fn may(requirement: Requirement, is_cluster: bool, reach: Option<Level>) -> bool {
    match requirement {
        Requirement::Nothing | Requirement::AnyKey | Requirement::TenantOrCluster => true,
        Requirement::Cluster => is_cluster,
        Requirement::AnyTenant => !is_cluster,
        Requirement::Tenant(level) => !is_cluster && reach.is_some_and(|reach| reach >= level),
    }
}

fn names(may: impl Fn(Requirement) -> bool) -> Vec<&'static str> {
    let allowed = Operation::ALL.into_iter().filter(|operation| may(operation.requirement()));
    allowed.map(Operation::name).collect()
}

const fn word(permission: Permission) -> &'static str {
    match permission {
        Permission::Admin => "ADMIN",
        Permission::ReadWrite => "READ_WRITE",
        Permission::ReadOnly => "READ_ONLY",
        Permission::Mcp => "MCP",
    }
}

fn no_such_tenant(tenant: &TenantId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-tenant", format!("there is no tenant {tenant} on this node"))
}
