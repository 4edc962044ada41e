//! The messages between this server and `HiveHub`, and what they mean.
//!
//! The types of the contract (`docs/hivehub.openapi.yaml`) tolerate additions of a later `HiveHub`: unknown fields
//! are ignored, an unknown word of an enumeration becomes [`Extensible::Unknown`], and an unknown kind of policy
//! event [`PolicyChange::NotUnderstood`]. Required fields must be there. [`ValidateAnswer::verdict`] tolerates
//! nothing: a caller is a [`KeyIdentity`] or refused.

mod deployment;
mod error;
mod extensible;
pub mod integer;
mod keys;
pub mod moment;
mod policies;
mod quota;
mod usage;

use serde::{Deserialize, Deserializer};

pub use deployment::DeploymentName;
pub use error::{CURSOR_LOST, ErrorAnswer, UNKNOWN_TENANT};
pub use extensible::Extensible;
pub use keys::{
    Contradiction, Holder, KeyFacts, KeyIdentity, Reason, Refusal, Scope, TenantFacts, TenantProfile,
    TenantStatus, VALIDATE_PATH, ValidateAnswer, ValidateRequest, Verdict,
};
pub use policies::{
    InvalidPolicyCursor, POLICIES_PATH, POLICY_EVENTS_MAX, POLICY_WAIT_SECONDS_MAX, PoliciesAnswer,
    PoliciesQuery, PolicyChange, PolicyCursor, PolicyEvent,
};
pub use quota::{QUOTA_PATH, QuotaAnswer, QuotaNumbers, quota_path};
pub use usage::{
    Correction, USAGE_CONTENT_TYPE, USAGE_EVENT_TYPE, USAGE_PATH, Unit, UsageContradiction, UsageData,
    UsageEvent, UsageEventId, UsageOutcome, UsageReceipt, UsageSource, Window,
};
pub use vectorizer_access::Permission;

/// Reads a required field that may be null. Without it, serde reads a missing field of type `Option` as `None`.
pub fn present<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer)
}

#[cfg(test)]
mod required_tests;
