//! `HiveHub`, seen from here: the service that knows who a caller is.
//!
//! `models` is what is said, and `client` says it over HTTP: bounded in time and size, repeated where
//! that has a chance, and not at all while `breaker` leaves a failing hub alone. `cache` remembers the
//! answers, so that `HiveHub` is neither asked for every request nor needed for every request, and `feed`
//! tells it what has changed.
//!
//! Whether to let a caller in is decided in one place, [`KeyCache::lookup`]: what it returns belongs to
//! a valid key of an active tenant, and everything else is an error.
//!
//! The crate knows the contract and HTTP as a client. It knows no configuration, no limits and no data of tenants, and
//! not the hub that one can run oneself: that is one of several that speak the contract.

mod answer;
mod breaker;
#[cfg(test)]
mod breaker_tests;
mod cache;
mod client;
#[cfg(test)]
mod client_tests;
mod clock;
mod error;
mod feed;
#[cfg(test)]
mod feed_http_tests;
#[cfg(test)]
mod feed_tests;
mod jitter;
mod models;
mod observer;
mod report;
#[cfg(test)]
mod report_tests;

pub use cache::{Judgement, KeyCache, KeySource, LookupError};
pub use client::{HiveHubClient, QuotaVerdict, SERVICE_KEY_HEADER};
#[cfg(any(test, feature = "testing"))]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use error::{Garbage, HubError, UnusableClient};
pub use feed::{PolicyFeed, PolicyNews, PolicySource, PolicySubscriber};
pub use observer::{Call, CallObserver, CallOutcome};
pub use report::UsageReceipts;

pub use jitter::with_jitter;
pub use models::moment;
pub use models::moment::optional as rfc3339;
pub use models::{
    CURSOR_LOST, Contradiction, Correction, DeploymentName, ErrorAnswer, Extensible, Holder,
    InvalidPolicyCursor, KeyFacts, KeyIdentity, POLICIES_PATH, POLICY_EVENTS_MAX, POLICY_WAIT_SECONDS_MAX,
    Permission, PoliciesAnswer, PoliciesQuery, PolicyChange, PolicyCursor, PolicyEvent, QUOTA_PATH,
    QuotaAnswer, Reason, Refusal, Scope, TenantFacts, TenantProfile, TenantStatus, UNKNOWN_TENANT,
    USAGE_CONTENT_TYPE, USAGE_EVENT_TYPE, USAGE_PATH, Unit, UsageContradiction, UsageData, UsageEvent,
    UsageEventId, UsageOutcome, UsageReceipt, UsageSource, VALIDATE_PATH, ValidateAnswer, ValidateRequest,
    Verdict, Window, quota_path,
};
pub use models::{integer, present};
