//! Limits of tenants: what one may store, and how often it may call.
//!
//! - `limits`: the numbers, from `HiveHub`'s answer and the configured defaults.
//! - `manager`: the limits of each tenant; asks `HiveHub`, and remembers the answer beyond a restart.
//! - `rate_limiter`: requests per minute and hour, as one decision; `request_journal`: what was used of them, for the
//!   next run of the node.
//! - `storage_tracker`: bytes, vectors, collections and the log, decided within the writer.
//!
//! The crate knows `HiveHub`'s quotas and the node store. It knows no bills.

mod limits;
mod manager;
#[cfg(test)]
mod manager_tests;
mod rate_limiter;
#[cfg(test)]
mod rate_limiter_tests;
mod request_journal;
mod storage_tracker;

pub use self::limits::{DefaultLimits, HistoryLimits, Limits, OnFullLog, RequestLimits};
pub use self::manager::{LimitsUnavailable, QuotaManager, QuotaSource, TenantLimits};
pub use self::rate_limiter::{RateReport, RequestRefused, WindowReport};
pub use self::storage_tracker::{Admitted, QuotaExceeded, QuotaType, StorageTracker};
