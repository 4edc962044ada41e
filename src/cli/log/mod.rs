//! `vectorizer log`: a tenant's log as it is.

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
    /// Print the audit trail: who did what, when and in which request, as JSON lines or as a table
    Export(export::ExportArgs),
    /// Check every record, the chain that binds them and the head they must reach
    Verify(verify::VerifyArgs),
    /// Print the end of the audit trail, and go on as it grows
    Tail(tail::TailArgs),
}

/// How much of each record is printed.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "What is shown")]
struct DetailArgs {
    /// Show payloads
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value_t = true,
        default_missing_value = "true"
    )]
    with_payload: bool,

    /// Show vectors, as base64 of little-endian f32
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value_t = false,
        default_missing_value = "true"
    )]
    with_vector: bool,

    /// Show the stored bytes as base64: enough to verify the chain and to replay
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
