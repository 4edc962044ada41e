//! What the server promises, one file per promise: real processes, real HTTP, real files.
#![expect(clippy::unwrap_used, reason = "in a test an error is a failure")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers of a test are small, or were an f32 before"
)]

mod audit;
mod bad_input;
mod billing;
mod bounds;
mod cluster;
mod conditions;
mod contributing;
mod crash;
mod damage;
mod deployment;
mod documents;
mod embedding;
mod failing_disk;
mod filters;
mod foreign_files;
mod greed;
mod history;
mod hostile;
mod http;
mod hub;
mod ids;
mod incarnations;
mod indexes;
mod isolation;
mod kept;
mod limits;
mod linking;
mod loading;
mod many_tenants;
mod mcp;
mod mcp_clients;
mod memory;
mod messages;
mod metrics;
mod migration;
mod openapi;
mod openapi_tools;
mod outages;
mod permissions;
mod power_loss;
mod readme;
mod refusals;
mod single_tenant;
mod sleeping;
mod snapshots;
mod stopping;
mod support;
mod text;
mod tls;
mod undeletion;
mod want;
mod writes;
