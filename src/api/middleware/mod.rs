//! What every request passes, from outside in.

pub mod auth;
pub mod host;
pub mod request;
