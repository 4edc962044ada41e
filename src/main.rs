//! The `vectorizer` command.

use std::process::ExitCode;

use clap::Parser as _;
use vectorizer::cli::{Arguments, Streams, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Arguments::parse(), Streams::standard()).await.into()
}
