//! The access check: the one place that turns a request into the right to touch a tenant's data.

use std::marker::PhantomData;

use vectorizer_log::{Actor, TenantId, Via};

use super::key::ApiKey;
use super::permission::{Level, Operation, Requirement, rest_level};
use crate::hivehub::{HiveHubClient, Holder, KeyCache, KeyIdentity, LookupError, Refusal};

/// Who may enter.
#[derive(Clone)]
pub enum AccessCheck {
    /// Cluster mode: HiveHub says whose a key is.
    Keys(KeyCache<HiveHubClient>),
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
    /// HiveHub cannot be asked, and the key is not known here.
    #[error("the key cannot be checked right now")]
    Unavailable {
        /// When to try again, in seconds.
        retry_after_seconds: u64,
    },
}

impl AccessCheck {
    /// Admits a caller to one operation of one request. `bearer` is what the `Authorization` header
    /// carries; nothing else about a request gives any right.
    pub async fn admit(
        &self,
        operation: Operation,
        bearer: Option<&str>,
        request_id: &str,
    ) -> Result<Admission, Denial> {
        let needed = match operation.requirement() {
            Requirement::Nothing => return Ok(Admission::Public),
            Requirement::Tenant(level) => level,
        };
        let (tenant, key_id) = match self {
            Self::Keyless(tenant) => (tenant.clone(), None),
            Self::Keys(cache) => {
                let key = ApiKey::parse(bearer.ok_or(Denial::NoKey)?).map_err(|_| Denial::MalformedKey)?;
                let identity = cache.lookup(&key.sha256()).await.map_err(|error| match error {
                    LookupError::Refused { reason: Refusal::TenantSuspended(_) } => Denial::Suspended,
                    LookupError::Refused { .. } => Denial::InvalidKey,
                    LookupError::Unavailable { retry_after } => {
                        Denial::Unavailable { retry_after_seconds: retry_after.as_secs().max(1) }
                    }
                })?;
                (tenant_of(&identity, needed)?, Some(identity.key_id.to_string()))
            }
        };
        let actor = Actor { key_id, via: Via::Rest };
        Ok(match needed {
            Level::Read => Admission::Read(Pass::mint(tenant, actor, request_id)),
            Level::Write => Admission::Write(Pass::mint(tenant, actor, request_id)),
            Level::Admin => Admission::Admin(Pass::mint(tenant, actor, request_id)),
        })
    }
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

fn tenant_of(identity: &KeyIdentity, needed: Level) -> Result<TenantId, Denial> {
    match &identity.holder {
        Holder::Tenant(tenant) if rest_level(identity.permission).is_some_and(|reach| reach >= needed) => {
            Ok(tenant.id.clone())
        }
        // A key of cluster scope is the operator's: it has no tenant and sees no tenant's data.
        Holder::Tenant(_) | Holder::Cluster => Err(Denial::Insufficient { needed: name(needed) }),
    }
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::Read => "READ_ONLY",
        Level::Write => "READ_WRITE",
        Level::Admin => "ADMIN",
    }
}
