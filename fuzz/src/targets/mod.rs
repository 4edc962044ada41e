//! The parsers of untrusted bytes. None panics, none takes unbounded memory, and each target asserts what its comment
//! says.
//!
//! `cargo fuzz` runs the targets without end. `tests/fuzzing.rs` runs them on the inputs found so far and on some
//! hundred mutations of each seed.

mod body;
mod checkpoint;
mod closed;
mod envelope;
mod filter;
mod key;
mod log;
mod mcp;
mod pieces;
mod record;
mod server;
mod story;
mod tiers;

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
pub const ALL: [Target; 10] = [
    Target { name: "record", run: record::run, seeds: record::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target { name: "envelope", run: envelope::run, seeds: envelope::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target { name: "log", run: log::run, seeds: log::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target { name: "closed", run: closed::run, seeds: closed::seeds, memory_bytes_max: 64 * MEBIBYTE },
    Target { name: "tiers", run: tiers::run, seeds: tiers::seeds, memory_bytes_max: 256 * MEBIBYTE },
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
