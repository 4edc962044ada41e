//! The `vectorizer` command.

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;
use vectorizer::cli::{Arguments, Exit, Streams, run};
use vectorizer::scheduling::runtime;

/// Each open log of sled's takes tables of six mebibytes, zeroed, of which it uses some kilobytes. Where an allocator
/// gives it memory that was used before, it has to write all of them, and each log takes up as much. The system's
/// allocator does that from the moment the first log is closed, in as many heaps as there are threads; so does
/// this one, unless `.cargo/config.toml` has it give blocks of a mebibyte back to the system at once. Then the system
/// zeroes what is used, and only that. What is smaller is kept for 40 ms: to have all of it taken away and cleared
/// anew costs searches beside a writer a fifth of their p99 (BENCHMARKS.md).
#[global_allocator]
static MEMORY: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match runtime() {
        Ok(runtime) => runtime.block_on(run(arguments, Streams::standard())).into(),
        Err(error) => {
            eprintln!("vectorizer: threads cannot be started: {error}");
            Exit::CouldNotAsk.into()
        }
    }
}
