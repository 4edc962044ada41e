//! What the log promises, one file per promise.
#![expect(clippy::unwrap_used, reason = "in a test an error is a failure")]

mod backends;
mod behaviour;
mod closed;
mod damage;
mod envelope;
mod faults;
mod golden;
mod histories;
mod sled_files;
mod tier_edges;
mod tier_faults;
mod tier_stress;
mod tiers;
