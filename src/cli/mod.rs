//! The command line.
//!
//! - `serving`: the commands that run until they are asked to stop.
//! - `log`, `replay`, `bill`: the commands that read a log. `hub`: those that ask a hub and tell it.
//! - `correct`: a late correction of a bill. `migrate`: a single-tenant data folder becomes a tenant.
//! - `source`, `folder`, `server`: where the log is read from; `asking`: how keys are shown; `reading`: what reading it has shown.
//! - `lines`, `problem`: a server's answers. `fold`: the state the records add up to.
//! - `streams`, `progress`: what is written, and what is shown meanwhile.
//! - `exit`, `failure`, `interruption`: how a command ends.

mod asking;
mod bill;
mod correct;
mod exit;
mod failure;
mod fold;
mod folder;
mod hub;
mod interruption;
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
#[cfg(test)]
mod stage;
mod streams;

use clap::{Parser, Subcommand};

pub use self::exit::Exit;
pub use self::streams::Streams;

/// A vector database that many tenants share safely.
///
/// Exit codes: 0 it holds, 1 it does not hold, 2 it could not be asked.
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
    /// Run the server in cluster mode with a HiveHub of its own and two demo tenants
    ///
    /// For trying things out. Prints the demo tenants' keys and writes them to dev-keys.json in the data
    /// folder; the next start uses the same ones. Without that file the keys go on working and cannot be shown.
    Dev(serving::Dev),
    /// Begin a small HiveHub, run it, or look after it: tenants, plans, keys, usage
    ///
    /// Without a command it runs the hub, which `hub init` has begun. The commands ask a hub that runs, or its folder
    /// while none does.
    Hub(serving::Hub),
    /// Read a tenant's log: export it, verify it, watch it
    Log(log::LogArgs),
    /// Rebuild a tenant's state from its log, twice, and compare
    Replay(replay::ReplayArgs),
    /// Compute a tenant's bill from its log, and hold it against a HiveHub's ledger
    Bill(bill::BillArgs),
    /// Correct a closed window of a tenant's bill, while no server runs
    ///
    /// The window stays as it is: the correction is a record of its own, and a line of its own at HiveHub that
    /// names the old one.
    Correct(correct::CorrectArgs),
    /// Make an existing single-tenant data folder a tenant of a cluster
    ///
    /// Copies the log's files, verifies them, and moves the source's folder aside at the end. Its bill
    /// begins with the migration.
    Migrate(migrate::MigrateArgs),
}

/// Runs a command, which writes to `streams`.
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
        Ok(()) => Exit::Holds,
        Err(failure) => {
            streams.remark(format_args!("vectorizer: {}", failure::with_causes(failure.as_ref())));
            Exit::CouldNotAsk
        }
    }
}
