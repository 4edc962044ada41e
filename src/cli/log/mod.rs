//! `vectorizer log`: a tenant's log.

mod export;
mod tail;
#[cfg(test)]
mod tests;
mod verify;

use clap::{ArgAction, Args, Subcommand};
use vectorizer_log::ExportDetail;

use super::{Exit, Streams};

/// The arguments of `log`.
#[derive(Clone, Debug, Args)]
pub(super) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum LogCommand {
    /// Print the audit log: which key did what, when, in which request; as JSON lines or CSV
    Export(export::ExportArgs),
    /// Verify every record, the hash chain and the head
    Verify(verify::VerifyArgs),
    /// Print the end of the audit log, and follow it
    Tail(tail::TailArgs),
}

/// Which parts of each record to print.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
struct DetailArgs {
    /// Include payloads
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value_t = true,
        default_missing_value = "true"
    )]
    with_payload: bool,

    /// Include vectors, as base64 of little-endian f32
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value_t = false,
        default_missing_value = "true"
    )]
    with_vector: bool,

    /// Include the stored bytes as base64, which verify the chain and can be replayed
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value_t = false,
        default_missing_value = "true"
    )]
    with_stored: bool,
}

impl From<DetailArgs> for ExportDetail {
    fn from(args: DetailArgs) -> Self {
        Self { payload: args.with_payload, vector: args.with_vector, stored: args.with_stored }
    }
}

/// Runs `log`.
pub(super) async fn run(args: LogArgs, streams: Streams) -> Exit {
    match args.command {
        LogCommand::Export(args) => export::run(args, streams).await,
        LogCommand::Verify(args) => verify::run(args, streams).await,
        LogCommand::Tail(args) => tail::run(args, streams).await,
    }
}
