//! The JSON of requests and answers that REST and MCP share.
//!
//! A request's JSON becomes the typed arguments of an operation of [`service`](vectorizer_service). The operation's
//! result becomes the JSON of an answer. The types derive their schemas for the OpenAPI document.
//!
//! - `read`: parsing, with errors that name the field; `values`: vectors, payloads and filters.
//! - `collections`, `indexes`, `vectors`, `search`, `usage`: requests and answers.
//! - `schema`: schemas that cannot be derived from Rust types.

pub mod collections;
pub mod indexes;
pub mod read;
pub mod schema;
pub mod search;
pub mod usage;
pub mod values;
pub mod vectors;
