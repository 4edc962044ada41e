//! What a search takes from the allocator.

use vectorizer_index::Hit;

/// How many allocations a search makes once there is room to work in: earlier ones make it, and a test that
/// searches at the same time may borrow it.
pub(crate) fn allocations_of(search: impl Fn() -> Vec<Hit>) -> u64 {
    let count = || allocation_counter::measure(|| drop(search())).count_total;
    (0..20).map(|_| count()).min().unwrap_or_default()
}
