//! Requests and answers as JSON, in the forms that REST and MCP have in common.
//!
//! Every form of a request becomes the typed arguments of an operation of [`service`](crate::service), and every result
//! of one becomes the form of an answer. The forms describe themselves for the OpenAPI document.
//!
//! - `read`: JSON with errors that name the field; `values`: vectors, payloads and filters.
//! - `collections`, `indexes`, `vectors`, `search`, `usage`: forms, by what they are about.
//! - `schema`: the schemas of values that Rust's types do not describe.

pub(crate) mod collections;
pub(crate) mod indexes;
pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod usage;
pub(crate) mod values;
pub(crate) mod vectors;
