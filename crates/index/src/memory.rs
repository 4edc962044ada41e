//! How much of the heap structures take.
//!
//! What is counted is what the allocator gives (jemalloc, in size classes), not what is stored. Each structure keeps
//! its own sum as it changes, so that asking for it costs no walk. The room inside of the standard library's trees
//! cannot be asked for: [`tree`] goes by how full their nodes are on average.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// From here on an allocation has pages of its own.
const LARGE: usize = 16 << 10;
const PAGE: usize = 4 << 10;

/// How much of the heap an allocation of so many bytes takes. What a large one has beyond its last page is never
/// touched, and so takes nothing.
pub(crate) const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        129..LARGE => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
        LARGE.. => bytes.next_multiple_of(PAGE),
    }
}

/// The same for what is behind an [`Arc`], which has two counters beside it.
pub const fn shared(bytes: usize) -> usize {
    allocated(2 * size_of::<usize>() + bytes)
}

/// What a list with room for so many takes.
pub const fn list<T>(capacity: usize) -> usize {
    allocated(capacity * size_of::<T>())
}

/// What a `HashMap` takes that has room for so many entries: an eighth of its places stays free, and each has a byte
/// beside it.
pub const fn table<K, V>(capacity: usize) -> usize {
    let places = match capacity {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        _ => (capacity * 8 / 7).next_power_of_two(),
    };
    allocated(places * (size_of::<(K, V)>() + 1) + 16)
}

/// About how much a `BTreeMap` with so many entries takes.
pub(crate) const fn tree<K, V>(len: usize) -> usize {
    /// As many entries fit in a node.
    const ENTRIES: usize = 11;
    /// Entries for each leaf, with its share of those in the nodes above it, in quarters: 7 where they came in order,
    /// 8.6 where they came in any.
    const QUARTERS_FOR_LEAF: usize = 31;
    /// Leaves for each node above them.
    const LEAVES: usize = 7;
    let leaf = ENTRIES * (size_of::<K>() + size_of::<V>()) + 2 * size_of::<usize>();
    let inner = leaf + (ENTRIES + 1) * size_of::<usize>();
    match len {
        0 => 0,
        1..=ENTRIES => allocated(leaf),
        _ => {
            let each = allocated(leaf) + allocated(inner) / LEAVES;
            let bytes = len * 4 * each / QUARTERS_FOR_LEAF;
            // There are two leaves and a root at least.
            let least = 2 * allocated(leaf) + allocated(inner);
            if bytes < least { least } else { bytes }
        }
    }
}

/// Whether an allocation of so many bytes has pages of its own.
pub(crate) const fn is_large(bytes: usize) -> bool {
    bytes >= LARGE
}

/// What structures take of the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeapBytes {
    pub(crate) all: usize,
    /// Of it in large allocations, between which there are no gaps.
    pub(crate) large: usize,
}

impl HeapBytes {
    /// The sum in which `after` takes the place of `before`.
    pub(crate) fn replace(&mut self, before: Self, after: Self) {
        self.all = self.all + after.all - before.all;
        self.large = self.large + after.large - before.large;
    }
}

/// A sum that several keep together, each for what is its own. The clones are one.
#[derive(Clone, Debug, Default)]
pub struct HeldBytes(Arc<AtomicUsize>);

impl HeldBytes {
    /// The sum as of now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `after` bytes in place of `before`.
    pub(crate) fn replace(&self, before: usize, after: usize) {
        self.0.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted_in_the_classes_of_the_allocator() {
        let classes = [8, 16, 32, 48, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 5120, 14_336];
        for class in classes {
            assert_eq!(allocated(class), class);
            assert!(allocated(class + 1) > class);
        }
        assert_eq!(allocated(0), 0);
        assert_eq!(allocated(513), 640);
        assert_eq!(allocated(14_337), 16_384);
        assert_eq!(allocated(100_000), 102_400);
    }

    #[test]
    fn a_sum_that_is_kept_together_goes_up_and_down() {
        let sum = HeldBytes::default();
        let same = sum.clone();
        sum.replace(0, 100);
        same.replace(0, 50);
        sum.replace(100, 70);
        assert_eq!(sum.get(), 120);
        same.replace(50, 0);
        assert_eq!(sum.get(), 70);
    }
}
