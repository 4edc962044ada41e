//! The allocations of a search.

use vectorizer_index::Hit;

/// The fewest allocations of several searches: earlier ones fill the pools, and tests that search at the same time may
/// borrow from them.
pub(crate) fn allocations_of(search: impl Fn() -> Vec<Hit>) -> u64 {
    let count = || allocation_counter::measure(|| drop(search())).count_total;
    (0..20).map(|_| count()).min().unwrap_or_default()
}
