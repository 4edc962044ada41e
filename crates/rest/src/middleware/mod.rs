//! The middleware of every request.

pub mod address;
pub mod auth;
pub mod cross_origin;
pub mod host;
mod rate_headers;
pub mod request;
