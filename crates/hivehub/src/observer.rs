//! Who watches the calls: metrics.

use std::time::Duration;

use super::error::HubError;

/// A call of `HiveHub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Who holds a key.
    Validate,
    /// What a tenant's plan allows.
    Quota,
    /// What has changed. Its latency is mostly waiting for something to change.
    Policies,
    /// What was used.
    Usage,
}

/// How a try of a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// With an answer of the contract, be it yes or no.
    Answered,
    /// Without any answer.
    Unreachable,
    /// With a status of 408, 429 or 5xx.
    Failing,
    /// `HiveHub` does not accept this server's own key.
    ServiceKeyRejected,
    /// With an answer outside the contract.
    Garbage,
    /// It was not made, because calls before it failed.
    NotMade,
}

/// Told of every try of every call. Called where requests wait: it must not block.
pub trait CallObserver: Send + Sync + 'static {
    /// `call` ended like this after so long. A call that is repeated is told of once for each try.
    fn called(&self, call: Call, outcome: CallOutcome, took: Duration);
}

/// Nobody watches.
impl CallObserver for () {
    fn called(&self, _: Call, _: CallOutcome, _: Duration) {}
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 4] = [Self::Validate, Self::Quota, Self::Policies, Self::Usage];

    /// Its name, for the label of a metric.
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

    /// Its name, for the label of a metric.
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
