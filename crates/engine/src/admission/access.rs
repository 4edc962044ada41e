//! The access check: the one place that turns a request into the right to touch a tenant's data.

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
use vectorizer_limits::{Limits, LimitsUnavailable, QuotaManager, RateReport, RequestRefused, TenantLimits};
use vectorizer_log::{Actor, Incarnation, TenantId, Via};

use super::failures::FailedAuthentications;

/// Who may enter.
#[derive(Clone)]
pub enum AccessCheck {
    /// Cluster mode: HiveHub says whose a key is and what its tenant may use.
    Keys {
        /// Whose which key is.
        keys: KeyCache<HiveHubClient>,
        /// Who has shown too many that are none.
        failures: FailedAuthentications,
        /// What which tenant may use.
        quotas: QuotaManager,
        /// The deployment that this node is of.
        deployment: Option<DeploymentName>,
    },
    /// Single-tenant mode: everybody who reaches the server is this tenant's administrator.
    Keyless {
        /// Which.
        tenant: TenantId,
        /// Of everything.
        tenant_limits: Arc<TenantLimits>,
    },
}

/// What became of a request at the door.
#[derive(Debug)]
pub struct Admitted {
    /// Whether it is let in.
    pub outcome: Result<Admission, Denied>,
    /// How its tenant's limits stand now, if it has a tenant and that has limits.
    pub rate: Option<RateReport>,
}

/// The right to act for one tenant, as far as `L` goes. Only [`AccessCheck::admit`] makes one.
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

/// The right to ask for tools, one request long. It reaches no data: [`McpPass::permit`] makes of it what one
/// tool needs, by the same table as everywhere. Only [`AccessCheck::admit`] makes one.
#[derive(Debug)]
pub struct McpPass {
    tenant: TenantId,
    incarnation: Option<Incarnation>,
    tenant_limits: Arc<TenantLimits>,
    key_id: Option<KeyId>,
    reach: Level,
    asked: Asked,
}

/// The right to act for the operator of the whole node, on no tenant's data. Only [`AccessCheck::admit`]
/// makes one.
#[derive(Debug)]
pub struct ClusterPass {
    key_id: Option<KeyId>,
    asked: Asked,
}

/// Whose key it is that came, and what it may do. It reaches nothing.
#[derive(Clone, Debug)]
pub enum Holds {
    /// Nobody's: the server asks for none, and its one tenant is everybody's.
    Keyless(TenantId),
    /// This one.
    Key(Arc<KeyIdentity>),
}

impl Holds {
    /// The tenant whose key it is, if it is a tenant's.
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

/// A level as a type, so that a handler's signature says how far it reaches.
pub trait Reach {
    /// Whether it reaches to changing anything.
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

/// What an admitted caller gets: exactly what the operation needs, whatever else its key could do.
#[derive(Debug)]
pub enum Admission {
    /// The operation needs no tenant.
    Public,
    /// To read.
    Read(Pass<Read>),
    /// To write.
    Write(Pass<Write>),
    /// To administrate.
    Admin(Pass<Admin>),
    /// To operate the node.
    Cluster(ClusterPass),
    /// To know what one's own key is.
    Holder(Holds),
    /// To ask for tools.
    Mcp(McpPass),
}

impl AccessCheck {
    /// Single-tenant mode, with this tenant.
    pub fn keyless(tenant: TenantId) -> Self {
        Self::Keyless { tenant, tenant_limits: TenantLimits::unlimited() }
    }

    /// Admits a caller to one operation of one request and charges its tenant for it. `bearer` is what the
    /// `Authorization` header carries; nothing else about a request gives any right.
    ///
    /// IMPORTANT, the order: who it is, whether it comes too often, whether it may. A caller that may not
    /// is charged all the same, so that trying costs what asking costs.
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

    /// Whether a caller that was admitted would still be: for what goes on for long. Charges nothing.
    pub async fn still_admits(&self, operation: Operation, bearer: Option<&str>) -> Result<(), Denial> {
        if operation.requirement() == Requirement::Nothing {
            return Ok(());
        }
        let asked = Asked { operation, from: None, request_id: "".into() };
        let permitted = self.identify(bearer, None).await.and_then(|caller| caller.permit(&asked));
        permitted.map(drop).map_err(|denied| denied.denial)
    }

    /// How the limits of the tenant whose key this is stand, as far as that is known here. Asks nobody, charges
    /// nothing and gives no right.
    pub fn report(&self, bearer: Option<&str>) -> Option<RateReport> {
        let Self::Keys { keys, quotas, .. } = self else { return None };
        let identity = keys.known(&ApiKey::parse(bearer?).ok()?.sha256())?;
        match &identity.holder {
            Holder::Tenant(tenant) => quotas.report(&tenant.id),
            Holder::Cluster => None,
        }
    }

    /// Whether it asks for keys.
    pub const fn is_cluster(&self) -> bool {
        matches!(self, Self::Keys { .. })
    }

    /// Whether revocations and suspensions arrive, where there is a `HiveHub` that tells of them.
    pub fn hears_policies(&self) -> Option<bool> {
        match self {
            Self::Keyless { .. } => None,
            Self::Keys { keys, .. } => Some(keys.hears_policies()),
        }
    }

    /// What HiveHub says of a tenant now; `None` where there is none.
    pub async fn at_hivehub(&self, tenant: &TenantId) -> Option<Result<QuotaVerdict, HubError>> {
        match self {
            Self::Keyless { .. } => None,
            Self::Keys { keys, .. } => Some(keys.source().quota(tenant).await),
        }
    }

    /// The limits of a tenant that is woken for the server's own sake.
    pub async fn limits_of(&self, tenant: &TenantId) -> Result<Arc<TenantLimits>, LimitsUnavailable> {
        match self {
            Self::Keyless { tenant_limits, .. } => Ok(Arc::clone(tenant_limits)),
            Self::Keys { quotas, .. } => quotas.limits_of(tenant, None).await,
        }
    }

    /// What is known of a tenant's limits, without asking anyone.
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
                // IMPORTANT: before anything is asked or made for the tenant. A server without a name is of no
                // deployment.
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
            // Of a tenant that is no more, whatever was heard of that.
            Err(LimitsUnavailable::Outdated) => Denial::InvalidKey,
        };
        Err(Denied { denial, tenant: Some(tenant), key_id: Some(identity.key_id.clone()) })
    }
}

/// Who holds the key that was sent.
async fn holder(
    keys: &KeyCache<HiveHubClient>,
    failures: &FailedAuthentications,
    bearer: Option<&str>,
    from: Option<IpAddr>,
) -> Result<Arc<KeyIdentity>, Denied> {
    let key = ApiKey::parse(bearer.ok_or(Denial::NoKey)?).map_err(|_| Denial::MalformedKey)?;
    let hash = key.sha256();
    // Only what HiveHub has confirmed is a name; anybody can make up others, as many as they like.
    let stranger = |denial| Denied { denial, tenant: None, key_id: None };
    // IMPORTANT, the order: a key that is known to be valid waits for nobody and takes nobody's turn.
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
        // Genuine: nobody has guessed.
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

/// Whether what is refused is a key all the same: HiveHub has given it out once.
fn is_confirmed(reason: &Refusal) -> bool {
    match reason {
        Refusal::Revoked | Refusal::Expired | Refusal::TenantDeleted | Refusal::TenantSuspended(_) => true,
        Refusal::Unknown | Refusal::NotUnderstood => false,
    }
}

/// Somebody who is known.
enum Caller<'check> {
    /// Whoever reaches a server without keys: its one tenant's administrator, and its operator.
    Keyless { tenant: &'check TenantId, tenant_limits: &'check Arc<TenantLimits> },
    Tenant {
        tenant: TenantId,
        incarnation: Option<Incarnation>,
        identity: Arc<KeyIdentity>,
        tenant_limits: Arc<TenantLimits>,
        now: Duration,
    },
    /// It has no tenant and sees no tenant's data.
    Operator { identity: Arc<KeyIdentity> },
}

impl Caller<'_> {
    fn charge(&self) -> (Option<RateReport>, Result<(), RequestRefused>) {
        match self {
            Self::Tenant { tenant_limits, now, .. } => tenant_limits.charge(*now),
            Self::Keyless { .. } | Self::Operator { .. } => (None, Ok(())),
        }
    }

    /// Refused, and who it is.
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
    /// The tenant it is for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Which of those who have had the tenant's id; `None` where nobody tells them apart.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// What the tenant may use.
    pub fn tenant_limits(&self) -> &Arc<TenantLimits> {
        &self.tenant_limits
    }

    /// Who uses it.
    pub fn actor(&self) -> Actor {
        actor(self.key_id.as_ref(), self.via)
    }

    /// The public name of the key that is used, where there are keys.
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// What it was made for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Private, and that is what isolation rests on.
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
    /// Whose key it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What it was made for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Whether it lets `operation` be used as a tool.
    pub fn may(&self, operation: Operation) -> bool {
        reaches(self.reach, operation.requirement()).is_some()
    }

    /// The right to do what one tool does.
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
    /// The public name of the operator's key, where there are keys.
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// What it was made for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Private, so that nobody operates the node who was not let in for that.
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
