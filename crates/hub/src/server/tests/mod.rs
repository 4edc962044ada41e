//! What the hub promises over real HTTP. Every answer that any of these tests gets is held against
//! `docs/hivehub.openapi.yaml`.

mod admin;
mod client;
mod contract;
mod doors;
mod outages;
mod policies;
mod required;
mod stage;
mod usage;
