//! The access check: the only place that makes passes, which give access to a tenant's data.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vectorizer_access::{
    ApiKey, Asked, Denial, Denied, KeyId, Level, Operation, Permission, Requirement, mcp_level, reaches,
    rest_level,
};
use vectorizer_hivehub::{
    DeploymentName, HiveHubClient, Holder, HubError, KeyCache, KeyIdentity, LookupError, QuotaVerdict,
    Refusal,
};
use vectorizer_limits::{
    HistoryLimits, Limits, LimitsUnavailable, QuotaManager, RateReport, RequestRefused, TenantLimits,
};
use vectorizer_log::{Actor, Incarnation, TenantId, Via};

use super::failures::FailedAuthentications;

/// How callers are checked.
#[derive(Clone)]
pub enum AccessCheck {
    /// Cluster mode: HiveHub knows the keys and the quotas of their tenants.
    Keys {
        /// The holders of keys.
        keys: KeyCache<HiveHubClient>,
        /// Failed authentications by address.
        failures: FailedAuthentications,
        /// The limits of tenants.
        quotas: QuotaManager,
        /// The deployment that this node belongs to.
        deployment: Option<DeploymentName>,
    },
    /// Single-tenant mode: every caller is the administrator of the one tenant.
    Keyless {
        /// The tenant.
        tenant: TenantId,
        /// No limits.
        tenant_limits: Arc<TenantLimits>,
    },
}

/// The result of the access check.
#[derive(Debug)]
pub struct Admitted {
    /// The pass, or why the caller is refused.
    pub outcome: Result<Admission, Denied>,
    /// The state of the tenant's rate limits, if it has any.
    pub rate: Option<RateReport>,
}

/// The right to act for one tenant at level `L`. Only [`AccessCheck::admit`] makes one.
#[derive(Debug)]
pub struct Pass<L> {
    tenant: TenantId,
    incarnation: Option<Incarnation>,
    tenant_limits: Arc<TenantLimits>,
    key_id: Option<KeyId>,
    via: Via,
    asked: Asked,
    level: PhantomData<L>,
}

/// The right to use tools for one request. It gives access to no data: [`McpPass::permit`] makes the pass that a tool
/// needs, by the same table of operations. Only [`AccessCheck::admit`] makes one.
#[derive(Debug)]
pub struct McpPass {
    tenant: TenantId,
    incarnation: Option<Incarnation>,
    tenant_limits: Arc<TenantLimits>,
    key_id: Option<KeyId>,
    reach: Level,
    asked: Asked,
}

/// The right to act as the operator of the node, without access to tenants' data. Only [`AccessCheck::admit`] makes
/// one.
#[derive(Debug)]
pub struct ClusterPass {
    key_id: Option<KeyId>,
    asked: Asked,
}

/// The holder and the permission of the caller's key. It gives access to nothing.
#[derive(Clone, Debug)]
pub enum Holds {
    /// No key, in single-tenant mode.
    Keyless(TenantId),
    /// A key.
    Key(Arc<KeyIdentity>),
}

impl Holds {
    /// The tenant of the key, if it has one.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Keyless(tenant) => Some(tenant),
            Self::Key(identity) => match &identity.holder {
                Holder::Tenant(tenant) => Some(&tenant.id),
                Holder::Cluster => None,
            },
        }
    }
}

/// A level as a type, so that a function's signature has the level that it needs.
pub trait Reach {
    /// Whether it allows changes.
    const WRITES: bool;
}

impl Reach for Read {
    const WRITES: bool = false;
}

impl Reach for Write {
    const WRITES: bool = true;
}

impl Reach for Admin {
    const WRITES: bool = true;
}

/// Search and read.
#[derive(Debug)]
pub enum Read {}
/// Change vectors.
#[derive(Debug)]
pub enum Write {}
/// Manage collections, read the audit log.
#[derive(Debug)]
pub enum Admin {}

/// What an admitted caller gets: exactly what the operation needs, even if the key allows more.
#[derive(Debug)]
pub enum Admission {
    /// Nothing: the operation needs no key.
    Public,
    /// A pass to read.
    Read(Pass<Read>),
    /// A pass to write.
    Write(Pass<Write>),
    /// A pass to administrate.
    Admin(Pass<Admin>),
    /// A pass to operate the node.
    Cluster(ClusterPass),
    /// The holder of the key.
    Holder(Holds),
    /// A pass for tools.
    Mcp(McpPass),
}

impl AccessCheck {
    /// Single-tenant mode with this tenant, whose history is kept as long as `history` says.
    pub fn keyless(tenant: TenantId, history: HistoryLimits) -> Self {
        Self::Keyless { tenant, tenant_limits: TenantLimits::of_history(history) }
    }

    /// Admits a caller to one operation of one request, and charges its tenant for the request. `bearer` is the token
    /// of the `Authorization` header; nothing else of a request gives a right.
    ///
    /// IMPORTANT, the order: identity, rate limit, permission. A caller without permission is charged, too, so that
    /// refused requests count.
    pub async fn admit(&self, asked: &Asked, bearer: Option<&str>) -> Admitted {
        let requirement = asked.operation.requirement();
        if requirement == Requirement::Nothing {
            return Admitted { outcome: Ok(Admission::Public), rate: None };
        }
        let caller = match self.identify(bearer, asked.from).await {
            Ok(caller) => caller,
            Err(denied) => return Admitted { outcome: Err(denied), rate: None },
        };
        let (rate, charged) = caller.charge();
        let outcome = match charged {
            Ok(()) => caller.permit(asked),
            Err(RequestRefused { retry_after }) => {
                Err(caller.denied(Denial::TooManyRequests { retry_after }))
            }
        };
        Admitted { outcome, rate }
    }

    /// Whether an admitted caller would still be admitted, for long requests. Charges nothing.
    pub async fn still_admits(&self, operation: Operation, bearer: Option<&str>) -> Result<(), Denial> {
        if operation.requirement() == Requirement::Nothing {
            return Ok(());
        }
        let asked = Asked { operation, from: None, request_id: "".into() };
        let permitted = self.identify(bearer, None).await.and_then(|caller| caller.permit(&asked));
        permitted.map(drop).map_err(|denied| denied.denial)
    }

    /// The state of the rate limits of the key's tenant, if both are known. Makes no call, charges nothing and gives
    /// no right.
    pub fn report(&self, bearer: Option<&str>) -> Option<RateReport> {
        let Self::Keys { keys, quotas, .. } = self else { return None };
        let identity = keys.known(&ApiKey::parse(bearer?).ok()?.sha256())?;
        match &identity.holder {
            Holder::Tenant(tenant) => quotas.report(&tenant.id),
            Holder::Cluster => None,
        }
    }

    /// Whether callers need keys.
    pub const fn is_cluster(&self) -> bool {
        matches!(self, Self::Keys { .. })
    }

    /// Whether the policy feed is followed; `None` in single-tenant mode.
    pub fn hears_policies(&self) -> Option<bool> {
        match self {
            Self::Keyless { .. } => None,
            Self::Keys { keys, .. } => Some(keys.hears_policies()),
        }
    }

    /// Asks HiveHub for a tenant's quota; `None` in single-tenant mode.
    pub async fn at_hivehub(&self, tenant: &TenantId) -> Option<Result<QuotaVerdict, HubError>> {
        match self {
            Self::Keyless { .. } => None,
            Self::Keys { keys, .. } => Some(keys.source().quota(tenant).await),
        }
    }

    /// The limits of a tenant that the server itself wakes.
    pub async fn limits_of(&self, tenant: &TenantId) -> Result<Arc<TenantLimits>, LimitsUnavailable> {
        match self {
            Self::Keyless { tenant_limits, .. } => Ok(Arc::clone(tenant_limits)),
            Self::Keys { quotas, .. } => quotas.limits_of(tenant, None).await,
        }
    }

    /// The known limits of a tenant, without a call.
    pub fn known_limits(&self, tenant: &TenantId) -> Option<Limits> {
        match self {
            Self::Keyless { tenant_limits, .. } => Some(tenant_limits.current()),
            Self::Keys { quotas, .. } => quotas.known(tenant),
        }
    }

    async fn identify(&self, bearer: Option<&str>, from: Option<IpAddr>) -> Result<Caller<'_>, Denied> {
        let (keys, failures, quotas, deployment) = match self {
            Self::Keyless { tenant, tenant_limits } => return Ok(Caller::Keyless { tenant, tenant_limits }),
            Self::Keys { keys, failures, quotas, deployment } => (keys, failures, quotas, deployment),
        };
        let identity = holder(keys, failures, bearer, from).await?;
        let (tenant, incarnation) = match &identity.holder {
            Holder::Cluster => return Ok(Caller::Operator { identity }),
            Holder::Tenant(tenant) => {
                // IMPORTANT: before any call and any change for the tenant. A server without a deployment's name
                // belongs to none.
                if let Some(theirs) = &tenant.deployment
                    && deployment.as_ref() != Some(theirs)
                {
                    let denial = Denial::Elsewhere { deployment: theirs.to_string() };
                    let (tenant, key_id) = (Some(tenant.id.clone()), Some(identity.key_id.clone()));
                    return Err(Denied { denial, tenant, key_id });
                }
                (tenant.id.clone(), tenant.incarnation)
            }
        };
        let denial = match quotas.limits_of(&tenant, incarnation).await {
            Ok(tenant_limits) => {
                let now = quotas.uptime();
                return Ok(Caller::Tenant { tenant, incarnation, identity, tenant_limits, now });
            }
            Err(LimitsUnavailable::Unknown { retry_after }) => {
                Denial::LimitsUnknown { retry_after_seconds: retry_after.as_secs().max(1) }
            }
            // The key is that of an earlier tenant with this id.
            Err(LimitsUnavailable::Outdated) => Denial::InvalidKey,
        };
        Err(Denied { denial, tenant: Some(tenant), key_id: Some(identity.key_id.clone()) })
    }
}

/// The holder of the key in the request.
async fn holder(
    keys: &KeyCache<HiveHubClient>,
    failures: &FailedAuthentications,
    bearer: Option<&str>,
    from: Option<IpAddr>,
) -> Result<Arc<KeyIdentity>, Denied> {
    let key = ApiKey::parse(bearer.ok_or(Denial::NoKey)?).map_err(|_| Denial::MalformedKey)?;
    let hash = key.sha256();
    // A key that HiveHub has not confirmed has no name in the audit log: callers can make up any number of them.
    let stranger = |denial| Denied { denial, tenant: None, key_id: None };
    // IMPORTANT: a key in the cache does not wait, and takes no slot of the address.
    if let Some(from) = from
        && !keys.holds(&hash)
    {
        match failures.question(from, &hash) {
            Ok(Duration::ZERO) => {}
            Ok(turn) => tokio::time::sleep(turn).await,
            Err(wait) => {
                let retry_after_seconds = wait.as_secs().max(1);
                return Err(stranger(Denial::TooManyFailures { retry_after_seconds }));
            }
        }
    }
    match keys.lookup(&hash).await {
        Ok(identity) => {
            failures.proved(&hash);
            Ok(identity)
        }
        // The key is genuine, so this is no failed authentication.
        Err(LookupError::Refused { reason: Refusal::TenantSuspended(tenant) }) => {
            Err(Denied { denial: Denial::Suspended, tenant: Some(tenant), key_id: Some(key.id()) })
        }
        Err(LookupError::Refused { reason }) => {
            if let Some(from) = from {
                failures.failed(from);
            }
            let key_id = is_confirmed(&reason).then(|| key.id());
            Err(Denied { denial: Denial::InvalidKey, tenant: None, key_id })
        }
        Err(LookupError::Unavailable { retry_after }) => {
            let retry_after_seconds = retry_after.as_secs().max(1);
            Err(stranger(Denial::Unavailable { retry_after_seconds }))
        }
    }
}

/// Whether HiveHub has issued the refused key.
fn is_confirmed(reason: &Refusal) -> bool {
    match reason {
        Refusal::Revoked | Refusal::Expired | Refusal::TenantDeleted | Refusal::TenantSuspended(_) => true,
        Refusal::Unknown | Refusal::NotUnderstood => false,
    }
}

/// An identified caller.
enum Caller<'check> {
    /// A caller in single-tenant mode: the administrator of the tenant, and the operator.
    Keyless { tenant: &'check TenantId, tenant_limits: &'check Arc<TenantLimits> },
    Tenant {
        tenant: TenantId,
        incarnation: Option<Incarnation>,
        identity: Arc<KeyIdentity>,
        tenant_limits: Arc<TenantLimits>,
        now: Duration,
    },
    /// The operator, without access to tenants' data.
    Operator { identity: Arc<KeyIdentity> },
}

impl Caller<'_> {
    fn charge(&self) -> (Option<RateReport>, Result<(), RequestRefused>) {
        match self {
            Self::Tenant { tenant_limits, now, .. } => tenant_limits.charge(*now),
            Self::Keyless { .. } | Self::Operator { .. } => (None, Ok(())),
        }
    }

    /// A denial with the caller's tenant and key.
    fn denied(&self, denial: Denial) -> Denied {
        match self {
            Self::Keyless { tenant, .. } => {
                Denied { denial, tenant: Some(TenantId::clone(tenant)), key_id: None }
            }
            Self::Tenant { tenant, identity, .. } => {
                Denied { denial, tenant: Some(tenant.clone()), key_id: Some(identity.key_id.clone()) }
            }
            Self::Operator { identity } => {
                Denied { denial, tenant: None, key_id: Some(identity.key_id.clone()) }
            }
        }
    }

    fn permit(self, asked: &Asked) -> Result<Admission, Denied> {
        match asked.operation.requirement() {
            Requirement::Nothing => Ok(Admission::Public),
            Requirement::Tenant(needed) => self.permit_tenant(needed, asked),
            Requirement::Cluster => self.permit_operator(asked).map(Admission::Cluster),
            Requirement::TenantOrCluster => match &self {
                Self::Operator { .. } => self.permit_operator(asked).map(Admission::Cluster),
                Self::Keyless { .. } | Self::Tenant { .. } => self.permit_tenant(Level::Read, asked),
            },
            Requirement::AnyKey => match self {
                Self::Keyless { tenant, .. } => Ok(Admission::Holder(Holds::Keyless(tenant.clone()))),
                Self::Tenant { identity, .. } | Self::Operator { identity }
                    if rest_level(identity.permission).is_some() =>
                {
                    Ok(Admission::Holder(Holds::Key(identity)))
                }
                Self::Tenant { .. } | Self::Operator { .. } => {
                    Err(self.denied(Denial::Insufficient { needed: name(Level::Read) }))
                }
            },
            Requirement::AnyTenant => self.permit_mcp(asked).map(Admission::Mcp),
        }
    }

    fn permit_tenant(self, needed: Level, asked: &Asked) -> Result<Admission, Denied> {
        let (tenant, incarnation, tenant_limits, key_id) = match self {
            Self::Keyless { tenant, tenant_limits } => {
                (tenant.clone(), None, Arc::clone(tenant_limits), None)
            }
            Self::Tenant { tenant, incarnation, identity, tenant_limits, .. }
                if rest_level(identity.permission).is_some_and(|reach| reach >= needed) =>
            {
                (tenant, incarnation, tenant_limits, Some(identity.key_id.clone()))
            }
            Self::Tenant { .. } | Self::Operator { .. } => {
                return Err(self.denied(Denial::Insufficient { needed: name(needed) }));
            }
        };
        Ok(match needed {
            Level::Read => Admission::Read(Pass::mint(tenant, incarnation, tenant_limits, key_id, asked)),
            Level::Write => Admission::Write(Pass::mint(tenant, incarnation, tenant_limits, key_id, asked)),
            Level::Admin => Admission::Admin(Pass::mint(tenant, incarnation, tenant_limits, key_id, asked)),
        })
    }

    fn permit_mcp(self, asked: &Asked) -> Result<McpPass, Denied> {
        let (tenant, incarnation, tenant_limits, key_id, reach) = match self {
            Self::Keyless { tenant, tenant_limits } => {
                (tenant.clone(), None, Arc::clone(tenant_limits), None, Level::Admin)
            }
            Self::Tenant { tenant, incarnation, identity, tenant_limits, .. } => {
                let reach = mcp_level(identity.permission);
                (tenant, incarnation, tenant_limits, Some(identity.key_id.clone()), reach)
            }
            Self::Operator { .. } => {
                return Err(self.denied(Denial::Insufficient { needed: "a tenant's" }));
            }
        };
        Ok(McpPass { tenant, incarnation, tenant_limits, key_id, reach, asked: asked.clone() })
    }

    fn permit_operator(self, asked: &Asked) -> Result<ClusterPass, Denied> {
        match self {
            Self::Keyless { .. } => Ok(ClusterPass::mint(None, asked)),
            Self::Operator { identity } if identity.permission == Permission::Admin => {
                Ok(ClusterPass::mint(Some(identity.key_id.clone()), asked))
            }
            Self::Operator { .. } | Self::Tenant { .. } => {
                Err(self.denied(Denial::Insufficient { needed: "ADMIN of cluster scope" }))
            }
        }
    }
}

fn actor(key_id: Option<&KeyId>, via: Via) -> Actor {
    Actor { key_id: key_id.map(ToString::to_string), via }
}

impl<L> Pass<L> {
    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The tenant's incarnation; `None` if it is not known.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// The tenant's limits.
    pub fn tenant_limits(&self) -> &Arc<TenantLimits> {
        &self.tenant_limits
    }

    /// The actor, for the log.
    pub fn actor(&self) -> Actor {
        actor(self.key_id.as_ref(), self.via)
    }

    /// The public name of the key; `None` in single-tenant mode.
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// The request that it was made for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Private: isolation depends on it.
    fn mint(
        tenant: TenantId,
        incarnation: Option<Incarnation>,
        tenant_limits: Arc<TenantLimits>,
        key_id: Option<KeyId>,
        asked: &Asked,
    ) -> Self {
        let (via, asked) = (Via::Rest, asked.clone());
        Self { tenant, incarnation, tenant_limits, key_id, via, asked, level: PhantomData }
    }

    fn for_mcp(pass: &McpPass, asked: Asked) -> Self {
        let McpPass { tenant, incarnation, tenant_limits, key_id, .. } = pass;
        let (tenant, tenant_limits, key_id) = (tenant.clone(), Arc::clone(tenant_limits), key_id.clone());
        let incarnation = *incarnation;
        Self { tenant, incarnation, tenant_limits, key_id, via: Via::Mcp, asked, level: PhantomData }
    }
}

impl McpPass {
    /// The tenant of the key.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The request that it was made for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Whether `operation` may be used as a tool.
    pub fn may(&self, operation: Operation) -> bool {
        reaches(self.reach, operation.requirement()).is_some()
    }

    /// The pass for the operation of one tool.
    pub fn permit(&self, operation: Operation) -> Result<Admission, Denied> {
        let requirement = operation.requirement();
        let asked = || Asked { operation, ..self.asked.clone() };
        match reaches(self.reach, requirement) {
            Some(Level::Read) => Ok(Admission::Read(Pass::for_mcp(self, asked()))),
            Some(Level::Write) => Ok(Admission::Write(Pass::for_mcp(self, asked()))),
            Some(Level::Admin) => Ok(Admission::Admin(Pass::for_mcp(self, asked()))),
            None => {
                let needed = match requirement {
                    Requirement::Tenant(level) => name(level),
                    Requirement::Nothing
                    | Requirement::Cluster
                    | Requirement::TenantOrCluster
                    | Requirement::AnyKey
                    | Requirement::AnyTenant => "the operator's",
                };
                Err(Denied {
                    denial: Denial::Insufficient { needed },
                    tenant: Some(self.tenant.clone()),
                    key_id: self.key_id.clone(),
                })
            }
        }
    }
}

impl ClusterPass {
    /// The public name of the operator's key; `None` in single-tenant mode.
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// The request that it was made for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Private: only the access check makes one.
    fn mint(key_id: Option<KeyId>, asked: &Asked) -> Self {
        Self { key_id, asked: asked.clone() }
    }
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::Read => "READ_ONLY",
        Level::Write => "READ_WRITE",
        Level::Admin => "ADMIN",
    }
}
