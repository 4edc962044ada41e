//! The `vectorizer` command.

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;
use vectorizer::cli::{Arguments, Exit, Streams, run};
use vectorizer_scheduling::runtime;

/// Each open sled log allocates zeroed tables of 6 MiB, of which it uses some KiB. If an allocator reuses memory for
/// them, it has to zero, and so to touch, all of it. The system's allocator does that once the first log is closed.
/// Jemalloc does, too, unless `.cargo/config.toml` makes it return blocks of 1 MiB to the system at once: then the
/// system zeroes only the pages in use. Smaller blocks are kept for 40 ms, because returning them at once adds a fifth
/// to the p99 of searches beside a writer (BENCHMARKS.md).
#[global_allocator]
static MEMORY: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match runtime() {
        Ok(runtime) => runtime.block_on(run(arguments, Streams::standard())).into(),
        Err(error) => {
            eprintln!("vectorizer: cannot start threads: {error}");
            Exit::Error.into()
        }
    }
}
