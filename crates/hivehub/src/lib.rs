//! `HiveHub` as a server sees it: the service that issues keys and plans, and is told what was used.
//!
//! `models` has the messages of the contract. `client` sends them over HTTP, bounded in time and size, with retries,
//! and not while the circuit `breaker` is open. `cache` stores the answers, so that most requests need no call, and
//! `feed` invalidates them.
//!
//! One function decides whether a key is accepted, [`KeyCache::lookup`]: it returns the identity of a valid key of an
//! active tenant, or an error.
//!
//! The crate knows the contract and HTTP as a client. It knows no configuration, no limits, no data of tenants, and
//! not `vectorizer-hub`, which is one of several servers of the contract.

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

pub use jitter::{growing_pause, with_jitter};
pub use models::moment;
pub use models::moment::optional as rfc3339;
pub use models::{
    CURSOR_LOST, Contradiction, Correction, DeploymentName, ErrorAnswer, Extensible, Holder,
    InvalidPolicyCursor, KeyFacts, KeyIdentity, POLICIES_PATH, POLICY_EVENTS_MAX, POLICY_WAIT_SECONDS_MAX,
    Permission, PoliciesAnswer, PoliciesQuery, PolicyChange, PolicyCursor, PolicyEvent, QUOTA_PATH,
    QuotaAnswer, QuotaNumbers, Reason, Refusal, Scope, TenantFacts, TenantProfile, TenantStatus,
    UNKNOWN_TENANT, USAGE_CONTENT_TYPE, USAGE_EVENT_TYPE, USAGE_PATH, Unit, UsageContradiction, UsageData,
    UsageEvent, UsageEventId, UsageOutcome, UsageReceipt, UsageSource, VALIDATE_PATH, ValidateAnswer,
    ValidateRequest, Verdict, Window, quota_path,
};
pub use models::{integer, present};
