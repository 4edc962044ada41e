//! The observer of calls, for metrics.

use std::time::Duration;

use super::error::HubError;

/// A call of `HiveHub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Validates a key.
    Validate,
    /// Asks for a tenant's quota.
    Quota,
    /// Asks for policy events. Most of its latency is waiting for one.
    Policies,
    /// Reports usage.
    Usage,
}

/// How an attempt of a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// With an answer of the contract, positive or negative.
    Answered,
    /// Without any answer.
    Unreachable,
    /// With a status of 408, 429 or 5xx.
    Failing,
    /// `HiveHub` does not accept this server's own key.
    ServiceKeyRejected,
    /// With an answer outside the contract.
    Garbage,
    /// It was not made, because the breaker is open.
    NotMade,
}

/// Is told of every attempt of every call. Requests wait for it, so it must not block.
pub trait CallObserver: Send + Sync + 'static {
    /// An attempt of `call` took this long and ended like this.
    fn called(&self, call: Call, outcome: CallOutcome, took: Duration);
}

/// An observer that does nothing.
impl CallObserver for () {
    fn called(&self, _: Call, _: CallOutcome, _: Duration) {}
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 4] = [Self::Validate, Self::Quota, Self::Policies, Self::Usage];

    /// The value of the metrics' label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Quota => "quota",
            Self::Policies => "policies",
            Self::Usage => "usage",
        }
    }
}

impl CallOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Answered,
        Self::Unreachable,
        Self::Failing,
        Self::ServiceKeyRejected,
        Self::Garbage,
        Self::NotMade,
    ];

    /// The value of the metrics' label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
            Self::ServiceKeyRejected => "service_key_rejected",
            Self::Garbage => "garbage",
            Self::NotMade => "not_made",
        }
    }

    pub(super) fn of<T>(outcome: &Result<T, HubError>) -> Self {
        match outcome {
            Ok(_) => Self::Answered,
            Err(HubError::Unreachable(_)) => Self::Unreachable,
            Err(HubError::Failing { .. }) => Self::Failing,
            Err(HubError::LeftAlone { .. }) => Self::NotMade,
            Err(HubError::ServiceKeyRejected { .. }) => Self::ServiceKeyRejected,
            Err(HubError::Garbage(_)) => Self::Garbage,
        }
    }
}
