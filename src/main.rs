//! The `vectorizer` command.

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;
use vectorizer::cli::{Arguments, Streams, run};

/// The system's allocator keeps what logs took up that are closed again: their buffers come out of the heaps of
/// whichever threads opened them, and the holes they leave are seldom given back. This one gives them back.
#[global_allocator]
static MEMORY: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run(Arguments::parse(), Streams::standard()).await.into()
}
