//! The server and the command line of Vectorizer.
//!
//! A request comes in through [`rest`], is let in by [`auth`] (which asks [`hivehub`]), gets a handle to
//! its tenant's data from [`tenancy`], and leaves with an answer; [`embedding`] makes vectors of its texts. [`hub`] is a small HiveHub to run
//! yourself; [`server`] puts the parts together; [`config`] says how; [`metrics`] counts; [`audit`] keeps
//! what was refused; [`mcp`] gives agents tools for the same operations; [`json`] reads what clients send; [`http_client`] makes requests to other services; [`scheduling`] says whose turn it is on a core.

pub mod auth;
pub mod cli;
pub mod config;
pub mod embedding;
pub mod mcp;
pub mod rest;
pub mod server;
pub mod service;
mod wire;

pub use vectorizer_billing as billing;
pub use vectorizer_engine::{audit, tenancy};
pub use vectorizer_hivehub as hivehub;
pub use vectorizer_http_client as http_client;
pub use vectorizer_hub as hub;
pub use vectorizer_json as json;
pub use vectorizer_limits as limits;
pub use vectorizer_metrics as metrics;
pub use vectorizer_node_store as node_store;
pub use vectorizer_scheduling as scheduling;
