//! What tests, benchmarks and fuzz targets share. No program depends on this crate.
#![expect(clippy::unwrap_used, reason = "in a test an error is a failure")]

pub mod events;
mod random;
mod server_process;
mod stopwatch;
mod variants;
mod waiting;

pub use random::Random;
pub use server_process::{ServerProcess, StartError, memory_kibibytes};
pub use stopwatch::Stopwatch;
pub use waiting::{PATIENCE, Wait, eventually};

/// Whether the long versions of tests are asked for, by `VECTORIZER_SLOW_TESTS=1`.
pub fn is_long_run() -> bool {
    std::env::var_os("VECTORIZER_SLOW_TESTS").is_some()
}
