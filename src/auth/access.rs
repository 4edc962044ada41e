//! The access check: the one place that turns a request into the right to touch a tenant's data.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use vectorizer_log::{Actor, TenantId, Via};

use super::denial::Denied;
use super::failures::FailedAuthentications;
use super::key::{ApiKey, KeyId};
use super::permission::{Level, Operation, Requirement, rest_level};
use crate::hivehub::{HiveHubClient, Holder, KeyCache, KeyIdentity, LookupError, Permission, Refusal};

/// Who may enter.
#[derive(Clone)]
pub enum AccessCheck {
    /// Cluster mode: HiveHub says whose a key is.
    Keys(KeyCache<HiveHubClient>, FailedAuthentications),
    /// Single-tenant mode: everybody who reaches the server is this tenant's administrator.
    Keyless(TenantId),
}

/// The right to act for one tenant, as far as `L` goes. Only [`AccessCheck::admit`] makes one.
#[derive(Debug)]
pub struct Pass<L> {
    tenant: TenantId,
    actor: Actor,
    request_id: String,
    level: PhantomData<L>,
}

/// The right to act for the operator of the whole node, on no tenant's data. Only [`AccessCheck::admit`]
/// makes one.
#[derive(Debug)]
pub struct ClusterPass {
    actor: Actor,
    request_id: String,
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
}

/// Why a caller is not admitted.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denial {
    /// No `Authorization: Bearer` header.
    #[error("this needs an API key: Authorization: Bearer <key>")]
    NoKey,
    /// What was sent as a key is none.
    #[error("what was sent is not an API key")]
    MalformedKey,
    /// HiveHub does not know the key, or it is revoked or expired. Which one is nobody's business but
    /// its owner's, who can look it up.
    #[error("the API key is not valid")]
    InvalidKey,
    /// The key's tenant is suspended.
    #[error("the tenant is suspended")]
    Suspended,
    /// The key does not reach this far.
    #[error("this needs a key of level {needed}")]
    Insufficient {
        /// The least level that would.
        needed: &'static str,
    },
    /// Too many keys from the caller's address were refused, and this one is not known here.
    #[error("too many keys from this address were refused")]
    TooManyFailures {
        /// When to try again, in seconds.
        retry_after_seconds: u64,
    },
    /// HiveHub cannot be asked, and the key is not known here.
    #[error("the key cannot be checked right now")]
    Unavailable {
        /// When to try again, in seconds.
        retry_after_seconds: u64,
    },
}

impl AccessCheck {
    /// Admits a caller to one operation of one request. `bearer` is what the `Authorization` header
    /// carries; nothing else about a request gives any right. `from` is the client's address, if its
    /// failures are to count.
    pub async fn admit(
        &self,
        operation: Operation,
        bearer: Option<&str>,
        from: Option<IpAddr>,
        request_id: &str,
    ) -> Result<Admission, Denied> {
        match operation.requirement() {
            Requirement::Nothing => Ok(Admission::Public),
            Requirement::Tenant(needed) => {
                let (tenant, actor) = match self {
                    Self::Keyless(tenant) => (tenant.clone(), actor(None)),
                    Self::Keys(cache, failures) => {
                        let identity = identify(cache, failures, bearer, from).await?;
                        (tenant_of(&identity, needed)?, actor(Some(&identity.key_id)))
                    }
                };
                Ok(match needed {
                    Level::Read => Admission::Read(Pass::mint(tenant, actor, request_id)),
                    Level::Write => Admission::Write(Pass::mint(tenant, actor, request_id)),
                    Level::Admin => Admission::Admin(Pass::mint(tenant, actor, request_id)),
                })
            }
            Requirement::Cluster => {
                let actor = match self {
                    // Who reaches a server without keys operates it.
                    Self::Keyless(_) => actor(None),
                    Self::Keys(cache, failures) => {
                        let identity = identify(cache, failures, bearer, from).await?;
                        operates(&identity)?;
                        actor(Some(&identity.key_id))
                    }
                };
                Ok(Admission::Cluster(ClusterPass::mint(actor, request_id)))
            }
        }
    }
}

/// Who holds the key that was sent.
async fn identify(
    cache: &KeyCache<HiveHubClient>,
    failures: &FailedAuthentications,
    bearer: Option<&str>,
    from: Option<IpAddr>,
) -> Result<Arc<KeyIdentity>, Denied> {
    let key = ApiKey::parse(bearer.ok_or(Denial::NoKey)?).map_err(|_| Denial::MalformedKey)?;
    let hash = key.sha256();
    let denied = |denial, tenant| Denied { denial, tenant, key_id: Some(key.id()) };
    if let Some(from) = from
        && let Err(wait) = failures.question(from, &hash)
        && !cache.holds(&hash)
    {
        let retry_after_seconds = wait.as_secs().max(1);
        return Err(denied(Denial::TooManyFailures { retry_after_seconds }, None));
    }
    match cache.lookup(&hash).await {
        Ok(identity) => {
            failures.proved(&hash);
            Ok(identity)
        }
        // Genuine: nobody has guessed.
        Err(LookupError::Refused { reason: Refusal::TenantSuspended(tenant) }) => {
            Err(denied(Denial::Suspended, Some(tenant)))
        }
        Err(LookupError::Refused { .. }) => {
            if let Some(from) = from {
                failures.failed(from);
            }
            Err(denied(Denial::InvalidKey, None))
        }
        Err(LookupError::Unavailable { retry_after }) => {
            let retry_after_seconds = retry_after.as_secs().max(1);
            Err(denied(Denial::Unavailable { retry_after_seconds }, None))
        }
    }
}

fn actor(key_id: Option<&KeyId>) -> Actor {
    Actor { key_id: key_id.map(ToString::to_string), via: Via::Rest }
}

impl<L> Pass<L> {
    /// The tenant it is for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Who uses it.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The request it was made for.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Private, and that is what isolation rests on.
    fn mint(tenant: TenantId, actor: Actor, request_id: &str) -> Self {
        Self { tenant, actor, request_id: request_id.to_owned(), level: PhantomData }
    }
}

impl ClusterPass {
    /// Who uses it.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The request it was made for.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Private, so that nobody operates the node who was not let in for that.
    fn mint(actor: Actor, request_id: &str) -> Self {
        Self { actor, request_id: request_id.to_owned() }
    }
}

fn tenant_of(identity: &KeyIdentity, needed: Level) -> Result<TenantId, Denied> {
    match &identity.holder {
        Holder::Tenant(tenant) if rest_level(identity.permission).is_some_and(|reach| reach >= needed) => {
            Ok(tenant.id.clone())
        }
        // A key of cluster scope is the operator's: it has no tenant and sees no tenant's data.
        Holder::Tenant(_) | Holder::Cluster => Err(insufficient(identity, name(needed))),
    }
}

/// Whether the key is the operator's.
fn operates(identity: &KeyIdentity) -> Result<(), Denied> {
    match (&identity.holder, identity.permission) {
        (Holder::Cluster, Permission::Admin) => Ok(()),
        (Holder::Cluster, Permission::ReadWrite | Permission::ReadOnly | Permission::Mcp)
        | (Holder::Tenant(_), _) => Err(insufficient(identity, "ADMIN of cluster scope")),
    }
}

fn insufficient(identity: &KeyIdentity, needed: &'static str) -> Denied {
    let tenant = match &identity.holder {
        Holder::Tenant(tenant) => Some(tenant.id.clone()),
        Holder::Cluster => None,
    };
    Denied { denial: Denial::Insufficient { needed }, tenant, key_id: Some(identity.key_id.clone()) }
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::Read => "READ_ONLY",
        Level::Write => "READ_WRITE",
        Level::Admin => "ADMIN",
    }
}
