//! `vectorizer hub …`: what its operator asks of a hub and tells it.
//!
//! Every command is a call of the hub's operator API, made over HTTP to one that runs or, while none
//! does, in this process on its folder: one answer, wherever it comes from.

mod failure;
mod init;
mod keys;
mod limits;
mod place;
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

/// What can be asked of a hub.
#[derive(Debug, Subcommand)]
pub(super) enum HubCommand {
    /// Begin a hub: make its first service key and its first operator's key, and print them
    ///
    /// The keys are printed once, as lines for an environment file; of each only its SHA-256 is kept. A hub that has
    /// keys is left as it is.
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
    /// The keys by which servers are known: list, rotate, revoke
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
            Ok(()) => Ok(Exit::Holds),
            // That there is no such thing, or that there is one already, is an answer.
            Err(Failure::Hub(HubFailure::No(answer))) => {
                streams.remark(answer.details);
                Ok(Exit::DoesNotHold)
            }
            Err(failure) => Err(failure),
        }
    };
    let outcome = interruption.or(work).await;
    streams.end(outcome)
}

/// A line of JSON.
fn write_json(streams: &Streams, value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value).map_err(|error| Failure::Output(error.into()))?;
    line.push(b'\n');
    streams.write(&line)
}

/// A moment, or what its absence means.
fn moment(at: Option<vectorizer_log::Timestamp>, absent: &str) -> String {
    at.map_or_else(|| absent.to_owned(), |at| at.to_string())
}

/// The word of a value that is written as a word.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
