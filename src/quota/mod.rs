//! What a tenant may use, and how often it may ask.
//!
//! - `limits`: the numbers, from `HiveHub`'s answer and the configured defaults.
//! - `manager`: who has which limits; asks `HiveHub`, remembers the answer beyond a restart.
//! - `rate_limiter`: requests per minute and hour, as one decision.
//! - `storage_tracker`: bytes, vectors, collections and the log, decided within the writer.

mod limits;
mod manager;
#[cfg(test)]
mod manager_tests;
mod rate_limiter;
#[cfg(test)]
mod rate_limiter_tests;
mod storage_tracker;

pub use self::limits::{DefaultLimits, Limits, RequestLimits};
pub use self::manager::{Allowance, LimitsUnknown, QuotaManager, QuotaSource};
pub use self::rate_limiter::{RateReport, RequestRefused, WindowReport};
pub(crate) use self::storage_tracker::StorageTracker;
pub use self::storage_tracker::{QuotaExceeded, QuotaType};
