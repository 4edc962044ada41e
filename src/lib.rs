//! The server and the command line of Vectorizer.
//!
//! [`config`] reads the configuration, [`server`] wires the crates together as it says, and [`cli`] has the commands.

pub mod cli;
pub mod config;
pub mod server;
