//! What the server promises, one file per promise: real processes, real HTTP, real files.
#![expect(clippy::unwrap_used, reason = "in a test an error is a failure")]

mod bad_input;
mod conditions;
mod crash;
mod isolation;
mod loading;
mod node;
mod openapi;
mod permissions;
mod single_tenant;
mod stopping;
mod writes;
