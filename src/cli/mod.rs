//! The command line: what an operator or a tenant asks a log from the outside.
//!
//! - `log`, `replay`: the commands.
//! - `source`, `folder`, `server`: where the log is read from; `reading`: what reading it has shown.
//! - `lines`, `problem`: a server's answers. `fold`: the state the records add up to.
//! - `streams`, `progress`: what is written, and what is shown meanwhile.
//! - `exit`, `failure`, `interruption`: how a command ends.

mod exit;
mod failure;
mod fold;
mod folder;
mod interruption;
mod lines;
pub mod log;
mod problem;
mod progress;
mod reading;
pub mod replay;
#[cfg(test)]
mod replay_tests;
mod server;
mod source;
#[cfg(test)]
mod stage;
mod streams;

pub use self::exit::Exit;
pub use self::streams::Streams;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Read a tenant's log: export it, verify it, watch it
    Log(log::LogArgs),
    /// Rebuild a tenant's state from its log, twice, and compare
    Replay(replay::ReplayArgs),
}

/// Runs a command, which writes to `streams`.
pub async fn run(command: Command, streams: Streams) -> Exit {
    match command {
        Command::Log(args) => log::run(args, streams).await,
        Command::Replay(args) => replay::run(args, streams).await,
    }
}
