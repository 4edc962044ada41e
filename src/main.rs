//! The `vectorizer` command.

use std::process::ExitCode;

use clap::Parser as _;
use vectorizer::cli;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(cli::Arguments::parse()).await
}
