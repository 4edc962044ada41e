//! Refused callers: why, and who they are as far as that is known.

use vectorizer_log::TenantId;

use super::access::Denial;
use super::key::KeyId;

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
