//! `vectorizer hub …`: the operator's commands for a hub.
//!
//! Each command calls the hub's operator API: over HTTP if the hub is running, or in this process on the hub's folder.
//! Both give the same answers.

mod connection;
mod failure;
mod init;
mod keys;
mod limits;
mod plans;
mod service_key;
mod table;
mod tenants;
#[cfg(test)]
mod tests;
mod usage;

use clap::Subcommand;
use serde::Serialize;

pub(super) use self::failure::HubFailure;
use super::failure::Failure;
use super::interruption::Interruption;
use super::{Exit, Streams};

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum HubCommand {
    /// Create a hub with its first service key and its first operator's key, and print the keys
    ///
    /// Prints the keys once, as lines for an environment file; the hub stores only their SHA-256. Does not change a hub
    /// that has keys.
    Init(init::InitArgs),
    /// Tenants: list, create, show, set, suspend, resume, delete, undelete
    #[command(subcommand)]
    Tenants(tenants::TenantsCommand),
    /// Plans: list, show, set
    #[command(subcommand)]
    Plans(plans::PlansCommand),
    /// Keys: list, show, create, rotate, revoke
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// The keys of servers: list, rotate, revoke
    #[command(subcommand)]
    ServiceKey(service_key::ServiceKeyCommand),
    /// The usage that servers have reported: list, totals
    #[command(subcommand)]
    Usage(usage::UsageCommand),
}

/// Runs a command.
pub(super) async fn run(command: HubCommand, streams: Streams) -> Exit {
    let interruption = Interruption::on_ctrl_c();
    let work = async {
        let done = match command {
            HubCommand::Tenants(command) => tenants::run(command, &streams).await,
            HubCommand::Plans(command) => plans::run(command, &streams).await,
            HubCommand::Keys(command) => keys::run(command, &streams).await,
            HubCommand::Init(args) => init::run(args, &streams).await,
            HubCommand::ServiceKey(command) => service_key::run(command, &streams).await,
            HubCommand::Usage(command) => usage::run(command, &streams).await,
        };
        match done {
            Ok(()) => Ok(Exit::Success),
            // A missing or an existing object is a result, not a failure.
            Err(Failure::Hub(HubFailure::Rejected(answer))) => {
                streams.remark(answer.details);
                Ok(Exit::CheckFailed)
            }
            Err(failure) => Err(failure),
        }
    };
    let outcome = interruption.or(work).await;
    streams.end(outcome)
}

/// Writes a value as a line of JSON.
fn write_json(streams: &Streams, value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value).map_err(|error| Failure::Output(error.into()))?;
    line.push(b'\n');
    streams.write(&line)
}

/// A time as text, or `absent`.
fn moment(at: Option<vectorizer_log::Timestamp>, absent: &str) -> String {
    at.map_or_else(|| absent.to_owned(), |at| at.to_string())
}

/// The text of a value that serializes as a string.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
