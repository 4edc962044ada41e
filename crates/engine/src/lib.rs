//! Tenants: who is let in to which, and everything that happens to their data.
//!
//! - [`admission`]: the access check. A [`Pass`](admission::Pass) is the right to act for one tenant.
//! - [`audit`]: refused requests, for the tenants' logs and the node's file.
//! - [`tenancy`]: one writer per tenant; waking, sleeping and deleting. A [`Tenant`](tenancy::Tenant) is made from a
//!   pass.
//!
//! The crate knows logs, their fold, limits, bills and `HiveHub`'s client. It knows no HTTP, no JSON text and no
//! configuration.

pub mod admission;
pub mod audit;
pub mod tenancy;
