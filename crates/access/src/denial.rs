//! Refused callers, and why.

use std::time::Duration;

use vectorizer_log::TenantId;

use super::key::KeyId;

/// Why a caller is refused, with details for the answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denial {
    /// No `Authorization: Bearer` header.
    #[error("this needs an API key: Authorization: Bearer <key>")]
    NoKey,
    /// The token is not an API key.
    #[error("what was sent is not an API key")]
    MalformedKey,
    /// The key is unknown, revoked or expired. The answer does not say which: the key's owner can look it up.
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
    /// The key's level is too low.
    #[error("this needs a key of level {needed}")]
    Insufficient {
        /// The lowest sufficient level.
        needed: &'static str,
    },
    /// The tenant's rate limit is exceeded.
    #[error("the tenant's keys together ask more often than its plan allows")]
    TooManyRequests {
        /// When a request would be admitted.
        retry_after: Duration,
    },
    /// The tenant's limits are unknown, and HiveHub cannot be asked.
    #[error("the tenant's limits cannot be asked for right now")]
    LimitsUnknown {
        /// When to try again, in seconds.
        retry_after_seconds: u64,
    },
    /// Too many keys from the caller's address were refused, and this one is unknown.
    #[error("too many keys from this address were refused")]
    TooManyFailures {
        /// When to try again, in seconds.
        retry_after_seconds: u64,
    },
    /// The key is unknown, and HiveHub cannot be asked.
    #[error("the key cannot be checked right now")]
    Unavailable {
        /// When to try again, in seconds.
        retry_after_seconds: u64,
    },
}

/// Why a request is refused, without details. Each reason has the code of the problem in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenialReason {
    /// It has no key.
    NoKey,
    /// Its token is not a key.
    MalformedKey,
    /// Its key is unknown, revoked or expired.
    InvalidKey,
    /// Too many keys from its address were refused.
    TooManyFailedAuthentications,
    /// Its tenant is suspended.
    TenantSuspended,
    /// Its key's level is too low.
    InsufficientPermission,
    /// Its tenant's rate limit is exceeded.
    RateLimitExceeded,
    /// Its tenant's quota is exceeded.
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

    /// The code of the problem in the answer, also used by the audit log and the metrics.
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

    /// Whether the caller is refused, rather than the amount of what it asks for.
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
    /// The reason; `None` if the access check had no answer.
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
    /// The tenant of its key, if HiveHub has confirmed it.
    pub tenant: Option<TenantId>,
    /// The public name of its key, if HiveHub knows the key.
    pub key_id: Option<KeyId>,
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, tenant: None, key_id: None }
    }
}
