//! What the side-by-side measurements share.

mod samples;
mod table;
pub(crate) mod workload;

pub(crate) use samples::in_turn;
pub(crate) use table::print_table;

/// A measurement ends at the first thing that fails.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}
