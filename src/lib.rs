//! The server.

pub mod auth;
pub mod cli;
pub mod config;
pub mod hivehub;
pub mod hub;
pub mod tenancy;
