//! The server and the command line of Vectorizer.
//!
//! [`rest`] and [`mcp`] are the faces; [`service`] has the operations. [`auth`] checks a key with [`hivehub`] and
//! admits the request to a handle of its tenant in [`tenancy`]. [`embedding`] makes vectors of texts. [`server`] wires
//! the parts together as [`config`] says. [`hub`] is a small HiveHub. [`audit`] records denied requests, [`metrics`]
//! counts, [`limits`] and [`billing`] limit and meter usage, [`node_store`] stores the node's notes, [`json`] parses
//! requests, [`http_client`] calls other services, and [`scheduling`] assigns work to threads.

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
