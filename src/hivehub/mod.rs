//! `HiveHub`, seen from here: the service that knows who a caller is.
//!
//! `models` is what is said, `client` says it over HTTP, and `cache` remembers the answers, so that
//! `HiveHub` is neither asked for every request nor needed for every request.
//!
//! Whether to let a caller in is decided in one place, [`KeyCache::lookup`]: what it returns belongs to
//! a valid key of an active tenant, and everything else is an error.

mod cache;
#[cfg(test)]
mod cache_tests;
mod client;
#[cfg(test)]
mod client_tests;
mod models;
#[cfg(test)]
mod outage_tests;

pub use cache::{Clock, KeyCache, KeySource, LookupError, SystemClock};
pub use client::{Garbage, HiveHubClient, HubError, SERVICE_KEY_HEADER, UnusableClient};

pub(crate) use models::moment::optional as rfc3339;
pub use models::{
    CURSOR_LOST, Contradiction, ErrorAnswer, Holder, InvalidPolicyCursor, KeyFacts, KeyIdentity, Meter, Open,
    POLICIES_PATH, POLICY_EVENTS_MAX, POLICY_WAIT_SECONDS_MAX, Permission, PoliciesAnswer, PoliciesQuery,
    PolicyChange, PolicyCursor, PolicyEvent, QUOTA_PATH, QuotaAnswer, Reason, Refusal, Scope, TenantFacts,
    TenantProfile, TenantStatus, UNKNOWN_TENANT, USAGE_CONTENT_TYPE, USAGE_EVENT_TYPE, USAGE_PATH, Unit,
    UsageContradiction, UsageData, UsageEvent, UsageEventId, UsageOutcome, UsageReceipt, UsageSource,
    VALIDATE_PATH, ValidateAnswer, ValidateRequest, Verdict, Window, quota_path,
};
