//! A small `HiveHub` to run yourself: durable, and speaking the contract of
//! `docs/hivehub.openapi.yaml`.
//!
//! `store` keeps tenants and keys in one file, `server` answers for them over HTTP, and `demo` fills
//! an empty folder with something to try.

pub mod demo;
mod server;
#[cfg(test)]
mod server_tests;
mod store;

pub use server::router;
pub use store::{Hub, HubStoreError, NewKey, TenantEntry};
