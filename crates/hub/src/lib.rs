//! A small `HiveHub` to run yourself: durable, and speaking the contract of
//! `docs/hivehub.openapi.yaml`.
//!
//! - `store`: the hub, and the one way to change what it knows. `state` is what it knows, `change` what
//!   it can be told, `limits` what a tenant may use, `feed` what servers have to hear of.
//! - `service_keys`: by which keys servers are known here.
//! - `ledger`: the usage that was reported, each event once.
//! - `files`: small files beside the journals that all of it lies in (`vectorizer-journal`).
//! - `server`: the hub over HTTP. `demo`: something to try.
//!
//! The crate knows the contract (`vectorizer-hivehub`) and files. It knows no vectors, and nothing of a Vectorizer server.

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
