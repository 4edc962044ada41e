//! The node as its operator sees it, and a key as its holder does.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use vectorizer_log::{LogId, Tombstone};

use super::App;
use super::answer::json;
use super::body::Parameters;
use super::extract::{self, OfTenant};
use super::middleware::auth::{Caller, GrantedCluster, GrantedUsage};
use super::problem::Problem;
use crate::auth::{ClusterPass, Operation};
use crate::hivehub::Permission;
use crate::service::{self, KeyFacts, NodeHealth};
use crate::tenancy::{DeletedFacts, EndedBy, ReportedState, TenantFacts};
use crate::wire::usage::{UsageAnswer, UsageNow};

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

/// Whose usage to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageParameters {
    /// A tenant's id: for the operator, who has to name one. A tenant may name itself only.
    tenant: Option<String>,
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

/// See how the node is.
#[utoipa::path(get, path = "/api/v1/cluster/health", operation_id = "cluster_health", responses(
    (status = 200, body = ClusterHealth),
))]
pub(super) async fn health(State(app): State<App>, GrantedCluster(pass): GrantedCluster) -> Response {
    let NodeHealth { problems, is_cluster, uptime_seconds, tenants_awake, hivehub, usage } =
        app.service().node_health(&pass);
    let answer =
        ClusterHealth {
            status: if problems.is_empty() { "ok" } else { "degraded" },
            problems,
            version: env!("CARGO_PKG_VERSION"),
            mode: if is_cluster { "cluster" } else { "single-tenant" },
            uptime_seconds,
            tenants_awake,
            hivehub: hivehub.map(|service::HiveHubHealth { answering, policies_current }| HiveHubHealth {
                answering,
                policies_current,
            }),
            usage: usage.map(|service::UsageBacklog { tenants, oldest_seconds, parked_lines }| {
                UsageBacklog { tenants, oldest_seconds, parked_lines }
            }),
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
    let tombstone = app.service().delete_tenant(&pass, &tenant).await?;
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
    let tombstone = app.service().restore_tenant(&pass, &tenant, log_id.map(LogId::new)).await?;
    Ok(json(StatusCode::OK, &DeletedTenant::from(tombstone)))
}

/// See what a tenant uses, and what it may use.
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

/// See what one's own key is and may do.
#[utoipa::path(post, path = "/api/v1/cluster/keys/validate", operation_id = "validate_key", responses(
    (status = 200, body = KeyAnswer),
))]
pub(super) async fn validate_key(State(app): State<App>, Caller(holds): Caller) -> Response {
    let KeyFacts { key_id, permission, tenant, expires_at, operations } = app.service().key(holds);
    let answer = KeyAnswer {
        valid: true,
        key_id: key_id.map(|key_id| key_id.to_string()),
        permission: word(permission),
        scope: if tenant.is_some() { "tenant" } else { "cluster" },
        expires_at: expires_at.map(|end| end.to_string()),
        tenant: tenant.map(|(id, name, plan)| KeyTenant { id: id.to_string(), name, plan }),
        operations: operations.into_iter().map(Operation::name).collect(),
    };
    json(StatusCode::OK, &answer)
}

const fn word(permission: Permission) -> &'static str {
    match permission {
        Permission::Admin => "ADMIN",
        Permission::ReadWrite => "READ_WRITE",
        Permission::ReadOnly => "READ_ONLY",
        Permission::Mcp => "MCP",
    }
}
