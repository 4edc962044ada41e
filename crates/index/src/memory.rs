//! Accounting of heap memory.
//!
//! Sizes are those of the allocator's size classes (jemalloc), not of the stored data. Each structure updates its sum
//! as it changes, so that reading it takes constant time. The standard library does not expose the memory of its
//! trees: the `tree` function estimates it from the average fill of their nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// From this size on, an allocation has pages of its own.
const LARGE: usize = 16 << 10;
const PAGE: usize = 4 << 10;

/// The memory of an allocation of this many bytes. A large one takes whole pages: its size class may have more, but
/// these are never touched.
pub(crate) const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        129..LARGE => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
        LARGE.. => bytes.next_multiple_of(PAGE),
    }
}

/// The memory of a value of this many bytes in an [`Arc`], with its two counters.
pub const fn shared(bytes: usize) -> usize {
    allocated(2 * size_of::<usize>() + bytes)
}

/// The memory of a `Vec` of this capacity.
pub const fn list<T>(capacity: usize) -> usize {
    allocated(capacity * size_of::<T>())
}

/// The memory of a `HashMap` of this capacity: an eighth of its entries stays free, and each has one byte of metadata.
pub const fn table<K, V>(capacity: usize) -> usize {
    let places = match capacity {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        _ => (capacity * 8 / 7).next_power_of_two(),
    };
    allocated(places * (size_of::<(K, V)>() + 1) + 16)
}

/// About the memory of a `BTreeMap` with this many entries.
pub(crate) const fn tree<K, V>(len: usize) -> usize {
    /// The capacity of a node.
    const ENTRIES: usize = 11;
    /// Four times the entries for each leaf, with its share of the nodes above it: 7 entries if they were inserted in
    /// order, 8.6 if in random order.
    const QUARTERS_FOR_LEAF: usize = 31;
    /// How many leaves an inner node has.
    const LEAVES: usize = 7;
    let leaf = ENTRIES * (size_of::<K>() + size_of::<V>()) + 2 * size_of::<usize>();
    let inner = leaf + (ENTRIES + 1) * size_of::<usize>();
    match len {
        0 => 0,
        1..=ENTRIES => allocated(leaf),
        _ => {
            let each = allocated(leaf) + allocated(inner) / LEAVES;
            let bytes = len * 4 * each / QUARTERS_FOR_LEAF;
            // At least two leaves and a root.
            let least = 2 * allocated(leaf) + allocated(inner);
            if bytes < least { least } else { bytes }
        }
    }
}

/// Whether an allocation of this many bytes has pages of its own.
pub(crate) const fn is_large(bytes: usize) -> bool {
    bytes >= LARGE
}

/// The heap memory of structures, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeapBytes {
    pub(crate) all: usize,
    /// The part in large allocations, which fragment no memory.
    pub(crate) large: usize,
}

impl HeapBytes {
    /// Replaces one of the summands.
    pub(crate) fn replace(&mut self, before: Self, after: Self) {
        self.all = self.all + after.all - before.all;
        self.large = self.large + after.large - before.large;
    }
}

/// A sum of bytes with several contributors. Clones share the sum.
#[derive(Clone, Debug, Default)]
pub struct HeldBytes(Arc<AtomicUsize>);

impl HeldBytes {
    /// The current sum.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces one of the summands, `before`, by `after`.
    pub(crate) fn replace(&self, before: usize, after: usize) {
        self.0.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted_in_size_classes() {
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
    fn clones_share_one_sum() {
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
