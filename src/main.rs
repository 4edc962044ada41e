//! The command.

use std::process::ExitCode;

use clap::Parser;
use vectorizer::cli::{Command, Streams, run};

/// A vector database that many tenants share safely, each with an append-only log of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    run(Arguments::parse().command, Streams::standard()).await.into()
}
