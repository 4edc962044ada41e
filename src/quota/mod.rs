//! What a tenant may use, how often it may ask, and what it is billed for.
//!
//! - `limits`: the numbers, from `HiveHub`'s answer and the configured defaults.
//! - `manager`: who has which limits; asks `HiveHub`, remembers the answer beyond a restart.
//! - `rate_limiter`: requests per minute and hour, as one decision; `request_journal`: what was used of them, for the
//!   next life of the node.
//! - `storage_tracker`: bytes, vectors, collections and the log, decided within the writer.
//! - `meter`: what a tenant's requests come to until they are in its log; `counts`: the numbers; `metering`:
//!   all meters; `journal`: where they are written down until then.
//! - `account`: what of a tenant's bill is closed and delivered;
//!   `reporter`: delivers it.

mod account;
mod counts;
mod journal;
mod limits;
mod manager;
#[cfg(test)]
mod manager_tests;
mod meter;
#[cfg(test)]
mod meter_tests;
mod metering;
mod rate_limiter;
#[cfg(test)]
mod rate_limiter_tests;
mod reporter;
mod request_journal;
mod storage_tracker;

pub use self::account::{Accounts, Backlog, TenantAccount};
pub use self::limits::{DefaultLimits, Limits, RequestLimits};
pub use self::manager::{Allowance, NoAllowance, QuotaManager, QuotaSource};
pub use self::meter::{TakenUsage, TenantMeter};
pub use self::metering::Metering;
pub use self::rate_limiter::{RateReport, RequestRefused, WindowReport};
pub use self::reporter::Reporter;
pub(crate) use self::storage_tracker::StorageTracker;
pub use self::storage_tracker::{QuotaExceeded, QuotaType};
