//! What tenants are billed for: metering of requests, the state of each bill, and its delivery.
//!
//! - `meter`: the counts of a tenant's requests until they are in its log; `counts`: the numbers; `metering`: all
//!   meters; `journal`: the file that stores the counts until then.
//! - `account`: how far a tenant's bill is closed and delivered; `accounts`: the accounts of all tenants.
//! - `lines`: the lines of a bill, from its log; `outbox`: those of deleted tenants.
//! - `reporter`: delivers the lines; `backoff`: the pauses between reports.
//!
//! Windows are closed by the writer of a tenant, and computed by the fold of its log (`vectorizer-replay`). The crate
//! knows logs, the node store and `HiveHub`. It knows no limits, no tenants in memory and no HTTP server.

mod account;
mod accounts;
mod backoff;
mod counts;
mod journal;
mod lines;
#[cfg(test)]
mod lines_tests;
mod meter;
#[cfg(test)]
mod meter_tests;
mod metering;
mod outbox;
mod reporter;

pub use self::account::TenantAccount;
pub use self::accounts::{Accounts, Backlog};
pub use self::meter::{TakenUsage, TenantMeter};
pub use self::metering::Metering;
pub use self::reporter::Reporter;
