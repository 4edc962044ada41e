//! What reads bytes that nobody has looked at, and what is asked of it: no panic, no memory without bound, and
//! whatever stands beside each target.
//!
//! `cargo fuzz` runs these for as long as one likes; `tests/fuzzing.rs` runs them on what was found so far and on
//! some hundred changes of each seed.

mod body;
mod checkpoint;
mod closed;
mod filter;
mod key;
mod log;
mod mcp;
mod pieces;
mod record;
mod server;
mod story;

/// Something that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Takes any bytes; panics where something is not as it should be.
    pub run: fn(&[u8]),
    /// Where to begin: what the real encoders write.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How much memory it may take for inputs of up to 64 KiB.
    pub memory_bytes_max: usize,
}

const MEBIBYTE: usize = 1 << 20;

/// All of them.
pub const ALL: [Target; 8] = [
    Target { name: "record", run: record::run, seeds: record::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target { name: "log", run: log::run, seeds: log::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target { name: "closed", run: closed::run, seeds: closed::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target {
        name: "checkpoint",
        run: checkpoint::run,
        seeds: checkpoint::seeds,
        memory_bytes_max: 64 * MEBIBYTE,
    },
    Target { name: "key", run: key::run, seeds: key::seeds, memory_bytes_max: MEBIBYTE },
    Target { name: "filter", run: filter::run, seeds: filter::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target { name: "body", run: body::run, seeds: body::seeds, memory_bytes_max: 256 * MEBIBYTE },
    Target { name: "mcp", run: mcp::run, seeds: mcp::seeds, memory_bytes_max: 256 * MEBIBYTE },
];
