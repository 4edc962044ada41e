//! The behaviour of projections, compared with a plain model over random histories.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::float_cmp, reason = "these scores are exact, or the same number twice")]

mod allocations;
mod bases;
mod billing;
mod checkpoints;
mod erasure;
mod errors;
mod filters;
mod folding;
mod graph;
mod history;
mod memory;
mod model;
mod recovery;
mod searching;
mod snapshots;
mod texts;
mod vectors;
