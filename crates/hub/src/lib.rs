//! A small `HiveHub` to run yourself: a durable server of the contract in `docs/hivehub.openapi.yaml`.
//!
//! - `store`: the hub, and the only way to change its state. `state`: the state; `change`: its changes; `limits`:
//!   plans and quotas; `feed`: the policy feed.
//! - `service_keys`: the keys of servers; `service_key`: one of them.
//! - `ledger`: reported usage, each event once.
//! - `files`: small files; all else is in journals (`vectorizer-journal`).
//! - `server`: the hub over HTTP; `demo`: a hub with tenants and keys for trying it out.
//!
//! The crate knows the contract (`vectorizer-hivehub`) and files. It knows no vectors, and nothing of a Vectorizer
//! server.

mod change;
pub mod demo;
mod error;
mod feed;
mod files;
mod ledger;
mod limits;
mod server;
mod service_key;
mod service_keys;
mod state;
mod store;

pub use change::{KeyEntry, OVERLAP_SECONDS_MAX, Rotated};
pub use error::HubStoreError;
pub use ledger::{Totals, UsageFilter, UsagePage};
pub use limits::{DisplayName, InvalidDisplayName, InvalidLimit, InvalidPlanName, Limit, Limits, PlanName};
pub use server::{Call, Caller, models, router, unguarded_admin};
pub use service_key::{SERVICE_KEYS_MAX, ServiceKeyEntry};
pub use service_keys::FirstKeys;
pub use state::{Deletion, TenantEntry};
pub use store::{DELETE_GRACE_SECONDS, Hub, NewKey, NewTenant, Reported};
