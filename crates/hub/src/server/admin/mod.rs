//! What the operator asks and tells.

pub(super) mod keys;
pub mod models;
pub(super) mod plans;
pub(super) mod service_keys;
pub(super) mod tenants;
