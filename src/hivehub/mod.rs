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
pub use client::{Garbage, HiveHubClient, HubError, SERVICE_KEY_HEADER, UnusableClient, VALIDATE_PATH};

pub(crate) use models::rfc3339;
pub use models::{
    Contradiction, ErrorAnswer, Holder, KeyFacts, KeyIdentity, Open, Permission, Reason, Refusal, Scope,
    TenantFacts, TenantProfile, TenantStatus, ValidateAnswer, ValidateRequest, Verdict,
};
