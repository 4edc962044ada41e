//! The operator's view of the node, a tenant's usage, and a holder's view of a key.

use std::sync::Arc;

use vectorizer_access::{KeyId, Level, Operation, Requirement, rest_level};
use vectorizer_engine::admission::{ClusterPass, Holds, Read};
use vectorizer_engine::tenancy::{
    AtHiveHub, BillFacts, DeletedFacts, DeletionError, Retention, Tenant, TenantFacts,
};
use vectorizer_hivehub::{Call, Extensible, Holder, Permission, QuotaVerdict, TenantStatus};
use vectorizer_limits::Limits;
use vectorizer_log::{LogId, TenantId, Timestamp, Tombstone};
use vectorizer_metrics::Reading;
use vectorizer_node_store::StoredSize;

use super::Service;
use super::error::{Error, ErrorKind};

/// The largest number of tenants on a page, and the default.
const TENANTS_MAX: usize = 1_000;
const TENANTS_DEFAULT: usize = 100;

/// Usage that is undelivered for longer is a problem.
const USAGE_LATE_SECONDS: u64 = 900;

/// The node's health.
#[derive(Clone, Debug)]
pub struct NodeHealth {
    /// The current problems, as sentences.
    pub problems: Vec<&'static str>,
    /// Whether HiveHub validates the keys.
    pub is_cluster: bool,
    /// Seconds since the server started.
    pub uptime_seconds: u64,
    /// The number of tenants in memory.
    pub tenants_awake: usize,
    /// The connection to HiveHub, if there is one.
    pub hivehub: Option<HiveHubHealth>,
    /// Undelivered usage, if there are bills.
    pub usage: Option<UsageBacklog>,
}

/// The connection to HiveHub.
#[derive(Clone, Copy, Debug)]
pub struct HiveHubHealth {
    /// Whether HiveHub answered the last request.
    pub answering: bool,
    /// Whether the policy feed is up to date.
    pub policies_current: bool,
}

/// Closed billing windows that are not delivered.
#[derive(Clone, Copy, Debug)]
pub struct UsageBacklog {
    /// The number of tenants with undelivered usage.
    pub tenants: usize,
    /// The seconds since the oldest window was closed.
    pub oldest_seconds: Option<u64>,
    /// The number of bill lines that HiveHub has rejected since the server started.
    pub parked_lines: u64,
}

/// Whose usage a caller may see.
pub enum UsageOf {
    /// The caller's own.
    Tenant(Arc<Tenant<Read>>),
    /// Any tenant's.
    Cluster(Arc<ClusterPass>),
}

/// A tenant's usage and limits.
#[derive(Clone, Debug)]
pub struct TenantUsage {
    /// The tenant.
    pub tenant: TenantId,
    /// Its usage.
    pub size: StoredSize,
    /// Its limits, if they are known.
    pub limits: Option<Limits>,
    /// The state of its bill, if there are bills.
    pub bill: Option<BillFacts>,
    /// How long its history is kept; `None` while that is not known.
    pub retention: Option<Retention>,
}

/// A key and its permissions.
#[derive(Clone, Debug)]
pub struct KeyFacts {
    /// The key's public id; `None` on a server without keys.
    pub key_id: Option<KeyId>,
    /// Its permission.
    pub permission: Permission,
    /// The key's tenant, with its display name and its plan; `None` for the operator's key.
    pub tenant: Option<(TenantId, String, String)>,
    /// When the key expires; `None` if it does not.
    pub expires_at: Option<Timestamp>,
    /// The operations that it permits.
    pub operations: Vec<Operation>,
}

impl Service {
    /// The node's health.
    pub fn node_health(&self, _: &ClusterPass) -> NodeHealth {
        let shared = &self.shared;
        let hivehub = shared.access.is_cluster().then(|| HiveHubHealth {
            answering: [Call::Validate, Call::Quota].iter().all(|call| shared.metrics.hivehub_answers(*call)),
            policies_current: shared.access.hears_policies().unwrap_or(false),
        });
        let mut problems = Vec::new();
        if let Some(hivehub) = &hivehub {
            if !hivehub.answering {
                problems.push("HiveHub does not answer: cached keys and limits are used");
            }
            if !hivehub.policies_current {
                problems
                    .push("the policy feed is interrupted: a revoked key may be accepted for as long as cached keys are");
            }
        }
        let usage = shared.tenancy.backlog().map(|backlog| UsageBacklog {
            tenants: backlog.tenants,
            oldest_seconds: backlog.age().map(|age| age.as_secs()),
            parked_lines: shared.metrics.parked_lines(),
        });
        if shared.tenancy.is_report_refused() {
            problems.push("HiveHub rejects this server's key: usage is kept and not billed");
        }
        if usage.and_then(|usage| usage.oldest_seconds).is_some_and(|age| age >= USAGE_LATE_SECONDS) {
            problems.push("usage is not delivered to HiveHub: it is kept");
        }
        if shared.tenancy.keeps_notes_in_memory() {
            problems
                .push("the data folder is not writable: usage counts and notes are lost if the node stops");
        }
        NodeHealth {
            problems,
            is_cluster: hivehub.is_some(),
            uptime_seconds: shared.started.elapsed().as_secs(),
            tenants_awake: shared.tenancy.awake_count(),
            hivehub,
            usage,
        }
    }

    /// Returns up to `requested` tenants after `after`, by id, 100 by default; and whether there are more.
    ///
    /// # Errors
    /// `invalid-limit`.
    pub async fn list_tenants(
        &self,
        pass: &Arc<ClusterPass>,
        requested: Option<usize>,
        after: Option<TenantId>,
    ) -> Result<(Vec<TenantFacts>, bool), Error> {
        let limit = tenants_limit(requested)?;
        let (tenancy, pass) = (self.tenancy().clone(), Arc::clone(pass));
        // One more than requested says whether there is a next page. Reads the disk.
        let found = move || tenancy.tenants(&pass, after.as_ref(), limit + 1);
        let found = tokio::task::spawn_blocking(found).await.map_err(|_| Error::internal())?;
        let mut found = found.map_err(|error| {
            tracing::error!(%error, "the tenants cannot be listed");
            Error::internal()
        })?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        Ok((found, has_more))
    }

    /// Returns up to `requested` deleted tenants that can be restored, after the cursor `after`; and whether there are
    /// more.
    ///
    /// # Errors
    /// `invalid-limit`.
    pub async fn list_deleted_tenants(
        &self,
        pass: &Arc<ClusterPass>,
        requested: Option<usize>,
        after: Option<&str>,
    ) -> Result<(Vec<DeletedFacts>, bool), Error> {
        let limit = tenants_limit(requested)?;
        let (tenancy, pass) = (self.tenancy().clone(), Arc::clone(pass));
        let found = tokio::task::spawn_blocking(move || tenancy.deleted_tenants(&pass)).await;
        let found = found.map_err(|_| Error::internal())?.map_err(|error| {
            tracing::error!(%error, "the deleted tenants cannot be listed");
            Error::internal()
        })?;
        let is_after = |it: &DeletedFacts| after.is_none_or(|after| *it.place() > *after);
        let mut found: Vec<_> = found.into_iter().filter(is_after).collect();
        let has_more = found.len() > limit;
        found.truncate(limit);
        Ok((found, has_more))
    }

    /// Deletes a tenant with all its data. It can be restored until the grace period is over.
    ///
    /// # Errors
    /// `no-such-tenant`, `tenant-unavailable`, `storage-failed`.
    pub async fn delete_tenant(&self, pass: &ClusterPass, tenant: &TenantId) -> Result<Tombstone, Error> {
        Ok(self.tenancy().delete(pass, tenant).await?)
    }

    /// Restores a deleted tenant: the log with this id, or the one that was deleted last under the tenant's id.
    ///
    /// # Errors
    /// `no-such-tenant`, `tenant-exists`, `deleted-at-hivehub`, `hivehub-unavailable`, `storage-failed`.
    pub async fn restore_tenant(
        &self,
        pass: &ClusterPass,
        tenant: &TenantId,
        log_id: Option<LogId>,
    ) -> Result<Tombstone, Error> {
        let at_hivehub = match self.access().at_hivehub(tenant).await {
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
        Ok(self.tenancy().restore(pass, tenant, log_id, at_hivehub).await?)
    }

    /// Returns a tenant's usage and limits. A tenant sees only its own; the operator names a tenant.
    ///
    /// # Errors
    /// `insufficient-permission` for another tenant's usage, `no-tenant`, `no-such-tenant`.
    pub async fn usage(&self, of: UsageOf, named: Option<TenantId>) -> Result<TenantUsage, Error> {
        match of {
            UsageOf::Tenant(own) => {
                // The answer is the same whether the other tenant exists or not, so it reveals nothing.
                if named.is_some_and(|named| named != *own.id()) {
                    return Err(Error::new(
                        ErrorKind::Forbidden,
                        "insufficient-permission",
                        "a tenant's key permits only its own usage; another tenant's usage needs the operator's key",
                    ));
                }
                Ok(TenantUsage {
                    tenant: own.id().clone(),
                    size: own.size(),
                    limits: Some(own.limits()),
                    bill: own.bill(),
                    retention: own.retention(),
                })
            }
            UsageOf::Cluster(pass) => {
                let tenant = named.ok_or_else(|| {
                    Error::invalid(
                        "no-tenant",
                        "the operator's key has no tenant: name one with ?tenant=<id>",
                    )
                })?;
                let (tenancy, id) = (self.tenancy().clone(), tenant.clone());
                let facts = move || {
                    (tenancy.size(&pass, &id), tenancy.bill(&pass, &id), tenancy.retention(&pass, &id))
                };
                let facts = tokio::task::spawn_blocking(facts).await;
                let (size, bill, retention) = facts.map_err(|_| Error::internal())?;
                let size = size.ok_or_else(|| no_such_tenant(&tenant))?;
                let limits = self.access().known_limits(&tenant);
                Ok(TenantUsage { tenant, size, limits, bill, retention })
            }
        }
    }

    /// A key and its permissions.
    pub fn key(&self, holds: Holds) -> KeyFacts {
        let allowed = |may: &dyn Fn(Requirement) -> bool| {
            Operation::ALL.into_iter().filter(|operation| may(operation.requirement())).collect()
        };
        match holds {
            Holds::Keyless(tenant) => KeyFacts {
                key_id: None,
                permission: Permission::Admin,
                tenant: Some((tenant.clone(), tenant.to_string(), String::new())),
                expires_at: None,
                operations: allowed(&|_| true),
            },
            Holds::Key(identity) => {
                let reach = rest_level(identity.permission);
                let tenant = match &identity.holder {
                    Holder::Cluster => None,
                    Holder::Tenant(tenant) => {
                        Some((tenant.id.clone(), tenant.name.clone(), tenant.plan.clone()))
                    }
                };
                let is_cluster = tenant.is_none();
                KeyFacts {
                    key_id: Some(identity.key_id.clone()),
                    permission: identity.permission,
                    tenant,
                    expires_at: identity.expires_at,
                    operations: allowed(&|requirement| may(requirement, is_cluster, reach)),
                }
            }
        }
    }

    /// Renders the node's metrics in the Prometheus text format. One call at a time, as it takes CPU time.
    ///
    /// # Errors
    /// Only internal errors.
    pub async fn metrics_text(&self) -> Result<String, Error> {
        let permit =
            Arc::clone(&self.shared.measuring).acquire_owned().await.map_err(|_| Error::internal())?;
        let service = self.clone();
        let measure = move || {
            let _permit = permit;
            let mut reading = Reading { rooms: service.memory_usage(), ..Reading::default() };
            service.tenancy().read_into(&mut reading);
            service.metrics().text(&reading)
        };
        tokio::task::spawn_blocking(measure).await.map_err(|_| Error::internal())
    }
}

fn tenants_limit(requested: Option<usize>) -> Result<usize, Error> {
    let limit = requested.unwrap_or(TENANTS_DEFAULT);
    if (1..=TENANTS_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::invalid("invalid-limit", format!("limit is {limit}, it must be 1 to {TENANTS_MAX}")))
}

fn may(requirement: Requirement, is_cluster: bool, reach: Option<Level>) -> bool {
    match requirement {
        Requirement::Nothing | Requirement::AnyKey | Requirement::TenantOrCluster => true,
        Requirement::Cluster => is_cluster,
        Requirement::AnyTenant => !is_cluster,
        Requirement::Tenant(level) => !is_cluster && reach.is_some_and(|reach| reach >= level),
    }
}

fn no_such_tenant(tenant: &TenantId) -> Error {
    Error::new(ErrorKind::NotFound, "no-such-tenant", format!("there is no tenant {tenant} on this node"))
}
