//! The JSON of requests and answers that REST and MCP share.
//!
//! A request's JSON becomes the typed arguments of an operation of [`service`](crate::service), and its result becomes
//! the JSON of an answer. The types derive their schemas for the OpenAPI document.
//!
//! - `read`: parsing, with errors that name the field; `values`: vectors, payloads and filters.
//! - `collections`, `indexes`, `vectors`, `search`, `usage`: requests and answers.
//! - `schema`: schemas that cannot be derived from Rust types.

pub(crate) mod collections;
pub(crate) mod indexes;
pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod usage;
pub(crate) mod values;
pub(crate) mod vectors;
