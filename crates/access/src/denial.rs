//! Refused callers: why, and who they are as far as that is known.

use std::time::Duration;

use vectorizer_log::TenantId;

use super::key::KeyId;

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
    /// Another deployment serves the key's tenant.
    #[error("the tenant is of deployment {deployment:?}, which this server is not")]
    Elsewhere {
        /// Which.
        deployment: String,
    },
    /// The key does not reach this far.
    #[error("this needs a key of level {needed}")]
    Insufficient {
        /// The least level that would.
        needed: &'static str,
    },
    /// The tenant has asked too often.
    #[error("the tenant's keys together ask more often than its plan allows")]
    TooManyRequests {
        /// When a request would be let in.
        retry_after: Duration,
    },
    /// HiveHub cannot be asked for the tenant's limits, and none are known here.
    #[error("the tenant's limits cannot be asked for right now")]
    LimitsUnknown {
        /// When to try again, in seconds.
        retry_after_seconds: u64,
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

/// Why a request is refused, without its details. Each has the code of the problem that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenialReason {
    /// It has no key.
    NoKey,
    /// What it has is no key.
    MalformedKey,
    /// Its key is unknown, revoked or expired.
    InvalidKey,
    /// Too many keys from its address were refused.
    TooManyFailedAuthentications,
    /// Its tenant is suspended.
    TenantSuspended,
    /// Its key does not reach this far.
    InsufficientPermission,
    /// Its tenant has made too many requests.
    RateLimitExceeded,
    /// Its tenant has used up what its plan gives.
    QuotaExceeded,
    /// Another deployment serves its tenant.
    TenantElsewhere,
}

impl DenialReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NoKey,
        Self::MalformedKey,
        Self::InvalidKey,
        Self::TooManyFailedAuthentications,
        Self::TenantSuspended,
        Self::InsufficientPermission,
        Self::RateLimitExceeded,
        Self::QuotaExceeded,
        Self::TenantElsewhere,
    ];

    /// The code of the problem that is answered, as the audit trail and the metrics show it too.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoKey => "no-key",
            Self::MalformedKey => "malformed-key",
            Self::InvalidKey => "invalid-key",
            Self::TooManyFailedAuthentications => "too-many-failed-authentications",
            Self::TenantSuspended => "tenant-suspended",
            Self::InsufficientPermission => "insufficient-permission",
            Self::RateLimitExceeded => "rate-limit-exceeded",
            Self::QuotaExceeded => "quota-exceeded",
            Self::TenantElsewhere => "tenant-elsewhere",
        }
    }

    /// Whether it is the caller who is refused, rather than what the caller asks for too much of.
    pub const fn is_of_the_caller(self) -> bool {
        match self {
            Self::NoKey
            | Self::MalformedKey
            | Self::InvalidKey
            | Self::TooManyFailedAuthentications
            | Self::TenantSuspended
            | Self::TenantElsewhere
            | Self::InsufficientPermission => true,
            Self::RateLimitExceeded | Self::QuotaExceeded => false,
        }
    }
}

impl Denial {
    /// The reason; none if it is not known whether the caller may.
    pub const fn reason(&self) -> Option<DenialReason> {
        match self {
            Self::NoKey => Some(DenialReason::NoKey),
            Self::MalformedKey => Some(DenialReason::MalformedKey),
            Self::InvalidKey => Some(DenialReason::InvalidKey),
            Self::TooManyFailures { .. } => Some(DenialReason::TooManyFailedAuthentications),
            Self::Suspended => Some(DenialReason::TenantSuspended),
            Self::Elsewhere { .. } => Some(DenialReason::TenantElsewhere),
            Self::Insufficient { .. } => Some(DenialReason::InsufficientPermission),
            Self::TooManyRequests { .. } => Some(DenialReason::RateLimitExceeded),
            Self::Unavailable { .. } | Self::LimitsUnknown { .. } => None,
        }
    }
}

/// A refused caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub denial: Denial,
    /// The tenant whose key it showed, if HiveHub has said so.
    pub tenant: Option<TenantId>,
    /// The public name of the key it showed, if HiveHub knows that key.
    pub key_id: Option<KeyId>,
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, tenant: None, key_id: None }
    }
}
