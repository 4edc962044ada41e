//! The operator's view of the node, a tenant's usage, and a holder's view of a key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use vectorizer_access::Operation;
use vectorizer_engine::admission::ClusterPass;
use vectorizer_engine::tenancy::{DeletedFacts, EndedBy, ReportedState, TenantFacts};
use vectorizer_hivehub::Permission;
use vectorizer_log::{LogId, Tombstone};
use vectorizer_service::{KeyFacts, NodeHealth};
use vectorizer_wire::usage::{UsageAnswer, UsageNow};

use super::App;
use super::answer::json;
use super::body::Parameters;
use super::extract::{self, TenantPath};
use super::middleware::auth::{Caller, GrantedCluster, GrantedUsage};
use super::problem::Problem;

/// The node's health.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterHealth {
    /// `ok`, or `degraded` if there are `problems`.
    #[schema(pattern = "^(ok|degraded)$")]
    status: &'static str,
    /// The current problems, as sentences.
    problems: Vec<&'static str>,
    /// The server's version.
    version: &'static str,
    /// `cluster` or `single-tenant`.
    #[schema(pattern = "^(cluster|single-tenant)$")]
    mode: &'static str,
    /// Seconds since the server started.
    uptime_seconds: u64,
    /// The number of tenants in memory.
    tenants_awake: usize,
    /// The connection to HiveHub; null in single-tenant mode.
    hivehub: Option<HiveHubHealth>,
    /// Usage that is not delivered yet; null in single-tenant mode.
    usage: Option<UsageBacklog>,
}

/// Closed billing windows that are not delivered yet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageBacklog {
    /// The number of tenants with undelivered usage.
    tenants: usize,
    /// Seconds since the oldest undelivered window was closed; null if there is none.
    oldest_seconds: Option<u64>,
    /// Bill lines that HiveHub has rejected since the server started. The tenants' logs keep them.
    parked_lines: u64,
}

/// The connection to HiveHub.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HiveHubHealth {
    /// Whether HiveHub answered the last request.
    answering: bool,
    /// Whether the policy feed is up to date. While it is, revocations take effect within a second.
    policies_current: bool,
}

/// The parameters of listing tenants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TenantsParameters {
    /// The most tenants on the page, 1 to 1,000; by default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
    /// List deleted tenants that can be restored, instead of existing tenants.
    deleted: Option<bool>,
}

/// A page of tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantsPage {
    /// The tenants, by id; empty with `deleted=true`.
    tenants: Vec<TenantAnswer>,
    /// With `deleted=true`: the deleted tenants that can be restored, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deleted: Option<Vec<RestorableTenant>>,
    /// The cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// A deleted tenant that can be restored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RestorableTenant {
    /// Its id.
    tenant: String,
    /// The id of its log.
    log_id: String,
    /// When it was deleted.
    deleted_at: String,
    /// The time until which it can be restored.
    #[schema(format = DateTime)]
    restorable_until: String,
    /// `operator` if this node's operator deleted it and can restore it here; `hivehub` if HiveHub deleted it and can
    /// restore it there; null if this is unknown.
    deleted_by: Option<&'static str>,
}

/// A tenant, without its data.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantAnswer {
    /// Its id.
    id: String,
    /// `awake` or `asleep`.
    #[schema(pattern = "^(awake|asleep)$")]
    state: &'static str,
    /// Its size; null if it is not known yet.
    usage: Option<UsageNow>,
    /// Its memory in bytes, as counted against `server.memory_budget`; 0 if it is asleep.
    memory_bytes: u64,
    /// The time of its last use, in RFC 3339, to the minute; null if it is not known.
    last_used: Option<String>,
}

/// The parameters of restoring a tenant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RestoreParameters {
    /// The log to restore, from the answer to the deletion; by default the one that was deleted last.
    #[param(value_type = Option<String>, format = "uuid")]
    log_id: Option<Uuid>,
}

/// A tenant that was deleted or restored.
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

/// The parameters of reading usage.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageParameters {
    /// The tenant's id. The operator's key requires it; a tenant's key allows only its own tenant.
    tenant: Option<String>,
}

/// A key and its permissions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    /// Always true: an invalid key gets a 401.
    valid: bool,
    /// The key's public id; null on a server without keys.
    key_id: Option<String>,
    /// `ADMIN`, `READ_WRITE` or `READ_ONLY`.
    #[schema(pattern = "^(ADMIN|READ_WRITE|READ_ONLY)$")]
    permission: &'static str,
    /// `tenant`, or `cluster` for the operator's key.
    #[schema(pattern = "^(tenant|cluster)$")]
    scope: &'static str,
    /// When the key expires; null if it does not.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// The key's tenant; null for the operator's key.
    tenant: Option<KeyTenant>,
    /// The operations that the key permits, by their operation ids in this document.
    operations: Vec<&'static str>,
}

/// The tenant of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyTenant {
    /// The tenant's id.
    id: String,
    /// The tenant's display name.
    name: String,
    /// The tenant's plan.
    plan: String,
}

impl From<TenantFacts> for TenantAnswer {
    fn from(tenant: TenantFacts) -> Self {
        Self {
            id: tenant.id.to_string(),
            state: match tenant.state {
                ReportedState::Awake => "awake",
                ReportedState::Asleep => "asleep",
            },
            last_used: tenant.size.and_then(|size| size.last_use).map(|at| at.to_string()),
            usage: tenant.size.map(UsageNow::from),
            memory_bytes: tenant.memory_bytes,
        }
    }
}

impl From<DeletedFacts> for RestorableTenant {
    fn from(DeletedFacts { tombstone, until, by }: DeletedFacts) -> Self {
        Self {
            tenant: tombstone.tenant.to_string(),
            log_id: tombstone.log_id.to_string(),
            deleted_at: tombstone.deleted_at.to_string(),
            restorable_until: until.to_string(),
            deleted_by: by.map(|by| match by {
                EndedBy::Operator => "operator",
                EndedBy::Hivehub => "hivehub",
            }),
        }
    }
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

/// Read the node's health.
#[utoipa::path(get, path = "/api/v1/cluster/health", operation_id = "cluster_health", responses(
    (status = 200, body = ClusterHealth),
))]
pub(super) async fn health(State(app): State<App>, GrantedCluster(pass): GrantedCluster) -> Response {
    let NodeHealth { problems, is_cluster, uptime_seconds, tenants_awake, hivehub, usage } =
        app.service().node_health(&pass);
    let answer = ClusterHealth {
        status: if problems.is_empty() { "ok" } else { "degraded" },
        problems,
        version: env!("CARGO_PKG_VERSION"),
        mode: if is_cluster { "cluster" } else { "single-tenant" },
        uptime_seconds,
        tenants_awake,
        hivehub: hivehub.map(|vectorizer_service::HiveHubHealth { answering, policies_current }| {
            HiveHubHealth { answering, policies_current }
        }),
        usage: usage.map(|vectorizer_service::UsageBacklog { tenants, oldest_seconds, parked_lines }| {
            UsageBacklog { tenants, oldest_seconds, parked_lines }
        }),
    };
    json(StatusCode::OK, &answer)
}

/// List the node's tenants.
#[utoipa::path(get, path = "/api/v1/cluster/tenants", operation_id = "list_tenants", params(TenantsParameters),
    responses(
        (status = 200, body = TenantsPage),
    ))]
pub(super) async fn tenants(
    State(app): State<App>,
    GrantedCluster(pass): GrantedCluster,
    Parameters(TenantsParameters { limit, cursor, deleted }): Parameters<TenantsParameters>,
) -> Result<Response, Problem> {
    if deleted == Some(true) {
        return deleted_tenants(&app, &pass, cursor, limit).await;
    }
    let after = cursor.as_deref().map(|cursor| extract::tenant(cursor, "cursor")).transpose()?;
    let (found, has_more) = app.service().list_tenants(&pass, limit, after).await?;
    let next_cursor = found.last().filter(|_| has_more).map(|last| last.id.to_string());
    let tenants = found.into_iter().map(TenantAnswer::from).collect();
    Ok(json(StatusCode::OK, &TenantsPage { tenants, deleted: None, next_cursor }))
}

async fn deleted_tenants(
    app: &App,
    pass: &Arc<ClusterPass>,
    cursor: Option<String>,
    limit: Option<usize>,
) -> Result<Response, Problem> {
    let (found, has_more) = app.service().list_deleted_tenants(pass, limit, cursor.as_deref()).await?;
    let next_cursor = found.last().filter(|_| has_more).map(DeletedFacts::place);
    let deleted = Some(found.into_iter().map(RestorableTenant::from).collect());
    Ok(json(StatusCode::OK, &TenantsPage { tenants: Vec::new(), deleted, next_cursor }))
}

/// Delete a tenant with all its data. It can be restored for `server.delete_grace` seconds. In a cluster, requests with
/// its keys get 410 until it is restored, or until HiveHub creates the tenant again, which then starts empty.
#[utoipa::path(delete, path = "/api/v1/cluster/tenants/{id}", operation_id = "delete_tenant",
    params(("id" = String, Path, description = "The tenant's id.")),
    responses(
        (status = 200, body = DeletedTenant),
    ))]
pub(super) async fn delete_tenant(
    State(app): State<App>,
    GrantedCluster(pass): GrantedCluster,
    TenantPath(tenant): TenantPath,
) -> Result<Response, Problem> {
    let tombstone = app.service().delete_tenant(&pass, &tenant).await?;
    Ok(json(StatusCode::OK, &DeletedTenant::from(tombstone)))
}

/// Restore a deleted tenant. `log_id` names the log to restore; by default it is the one that was deleted last under
/// this id. A tenant that HiveHub deleted is restored at HiveHub: 409 `deleted-at-hivehub`.
#[utoipa::path(post, path = "/api/v1/cluster/tenants/{id}/restore", operation_id = "restore_tenant",
    params(("id" = String, Path, description = "The tenant's id."), RestoreParameters),
    responses(
        (status = 200, body = DeletedTenant),
        (status = 409, description = "A tenant with this id exists, or HiveHub has deleted it."),
    ))]
pub(super) async fn restore_tenant(
    State(app): State<App>,
    GrantedCluster(pass): GrantedCluster,
    TenantPath(tenant): TenantPath,
    Parameters(RestoreParameters { log_id }): Parameters<RestoreParameters>,
) -> Result<Response, Problem> {
    let tombstone = app.service().restore_tenant(&pass, &tenant, log_id.map(LogId::new)).await?;
    Ok(json(StatusCode::OK, &DeletedTenant::from(tombstone)))
}

/// Read a tenant's usage and limits.
#[utoipa::path(get, path = "/api/v1/cluster/usage", operation_id = "usage", params(UsageParameters), responses(
    (status = 200, body = UsageAnswer),
    (status = 404, description = "This node has no such tenant."),
))]
pub(super) async fn usage(
    State(app): State<App>,
    GrantedUsage(of): GrantedUsage,
    Parameters(UsageParameters { tenant: named }): Parameters<UsageParameters>,
) -> Result<Response, Problem> {
    let named = named.as_deref().map(|named| extract::tenant(named, "tenant")).transpose()?;
    let usage = app.service().usage(of, named).await?;
    Ok(json(StatusCode::OK, &UsageAnswer::from(usage)))
}

/// Read the permissions of the request's key.
#[utoipa::path(post, path = "/api/v1/cluster/keys/validate", operation_id = "validate_key", responses(
    (status = 200, body = KeyAnswer),
))]
pub(super) async fn validate_key(State(app): State<App>, Caller(holds): Caller) -> Response {
    let KeyFacts { key_id, permission, tenant, expires_at, operations } = app.service().key(holds);
    let answer = KeyAnswer {
        valid: true,
        key_id: key_id.map(|key_id| key_id.to_string()),
        permission: permission_name(permission),
        scope: if tenant.is_some() { "tenant" } else { "cluster" },
        expires_at: expires_at.map(|end| end.to_string()),
        tenant: tenant.map(|(id, name, plan)| KeyTenant { id: id.to_string(), name, plan }),
        operations: operations.into_iter().map(Operation::name).collect(),
    };
    json(StatusCode::OK, &answer)
}

const fn permission_name(permission: Permission) -> &'static str {
    match permission {
        Permission::Admin => "ADMIN",
        Permission::ReadWrite => "READ_WRITE",
        Permission::ReadOnly => "READ_ONLY",
        Permission::Mcp => "MCP",
    }
}
