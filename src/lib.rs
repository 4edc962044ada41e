//! The server.

pub mod api;
pub mod auth;
pub mod config;
pub mod hivehub;
pub mod hub;
pub mod tenancy;
