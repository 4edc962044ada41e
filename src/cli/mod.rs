//! The command line.
//!
//! - `serving`: the commands that run a server.
//! - `log`, `replay`, `bill`: the commands that read a log. `hub`: the operator's commands for a hub.
//! - `correct`: corrects a bill. `migrate`: turns a single-tenant data folder into a tenant.
//! - `source`, `folder`, `server`: where a log is read from; `key_client`: HTTP clients with a key; `reading`: the
//!   result of reading a log.
//! - `lines`, `problem`: a server's answers. `fold`: the state of a log.
//! - `streams`, `progress`: output, remarks and progress.
//! - `exit`, `failure`, `interruption`: the ways a command ends.

mod bill;
mod correct;
mod exit;
mod failure;
mod fold;
mod folder;
mod hub;
mod interruption;
mod key_client;
mod lines;
mod log;
mod migrate;
mod problem;
mod progress;
mod reading;
mod replay;
#[cfg(test)]
mod replay_tests;
mod server;
mod serving;
mod source;
mod streams;
#[cfg(test)]
mod test_support;

use clap::{Parser, Subcommand};

pub use self::exit::Exit;
pub use self::streams::Streams;

/// A multi-tenant vector database.
///
/// Exit codes: 0 success, 1 check failed, 2 error.
#[derive(Debug, Parser)]
#[command(name = "vectorizer", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    ///
    /// Without cluster mode: one tenant, no keys, on loopback. Every key of config.yml is also a flag.
    Serve(serving::Serve),
    /// Run the server in cluster mode with its own HiveHub and two demo tenants
    ///
    /// For development. Prints the demo tenants' keys and writes them to dev-keys.json in the data folder; the next
    /// start uses the same keys. Without that file the keys stay valid, but cannot be shown.
    Dev(serving::Dev),
    /// Create, run or administrate a small HiveHub: tenants, plans, keys, usage
    ///
    /// Without a command it runs the hub that `hub init` has created. The commands connect to a running hub, or open
    /// its folder while it is not running.
    Hub(serving::Hub),
    /// Read a tenant's log: export, verify, tail
    Log(log::LogArgs),
    /// Rebuild a tenant's state from its log twice, and compare the results
    Replay(replay::ReplayArgs),
    /// Compute a tenant's bill from its log, and compare it with a HiveHub's ledger
    Bill(bill::BillArgs),
    /// Correct a closed window of a tenant's bill, while no server runs
    ///
    /// The window itself does not change: the correction is a separate record in the log, and a separate line at
    /// HiveHub that refers to the old one.
    Correct(correct::CorrectArgs),
    /// Turn a single-tenant data folder into a tenant of a cluster
    ///
    /// Copies the log's files, verifies the copy, and finally moves the source's folder aside. The tenant's bill
    /// begins with the migration.
    Migrate(migrate::MigrateArgs),
}

/// Runs a command that writes to `streams`.
pub async fn run(arguments: Arguments, streams: Streams) -> Exit {
    let served = match arguments.command {
        Command::Serve(serve) => serve.run(&streams).await,
        Command::Dev(dev) => dev.run(&streams).await,
        Command::Hub(serving::Hub { command: Some(command), .. }) => return hub::run(command, streams).await,
        Command::Hub(hub) => hub.run(&streams).await,
        Command::Log(args) => return log::run(args, streams).await,
        Command::Replay(args) => return replay::run(args, streams).await,
        Command::Bill(args) => return bill::run(args, streams).await,
        Command::Correct(args) => return correct::run(args, streams).await,
        Command::Migrate(args) => return migrate::run(args, streams).await,
    };
    match served {
        Ok(()) => Exit::Success,
        Err(failure) => {
            streams.remark(format_args!("vectorizer: {}", failure::with_causes(failure.as_ref())));
            Exit::Error
        }
    }
}
