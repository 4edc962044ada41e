//! Which segments to merge.
//!
//! Sizes are in classes, each sixteen times the one before. Sixteen adjacent segments of a class, and smaller ones among
//! them, become one segment. So a history has few segments, and a record is rewritten a few times only.

use std::cmp::Ordering;
use std::ops::Range;

/// The smallest segment of the second class.
const SECOND_CLASS_BYTES: u64 = 16 << 20;
/// The ratio between two classes, and how many adjacent segments are merged.
const RATIO: usize = 16;
/// Segments of this class are not merged.
const LAST_CLASS: u32 = 3;
/// So many segments are merged regardless of their classes, before there are as many as a manifest may name.
const SEGMENTS_CROWDED: usize = 240;

/// The size of a segment that must not be merged. Others are merged on both sides of it.
pub(crate) const UNMERGEABLE: u64 = u64::MAX;

fn class(bytes: u64) -> u32 {
    let ratio = RATIO as u64;
    let mut class = 0;
    let mut rest = bytes / SECOND_CLASS_BYTES;
    while rest > 0 {
        class += 1;
        rest /= ratio;
    }
    class.min(LAST_CLASS)
}

/// The adjacent segments to merge next, by the sizes of their files; `None` if nothing is to be merged.
pub(crate) fn to_merge(sizes: &[u64]) -> Option<Range<usize>> {
    (0..LAST_CLASS).find_map(|merged| run_of_class(sizes, merged)).or_else(|| {
        let windows = (0..=sizes.len().saturating_sub(RATIO)).filter(|_| is_crowded(sizes.len()));
        let sum =
            |first: &usize| sizes[*first..][..RATIO].iter().fold(0_u64, |sum, it| sum.saturating_add(*it));
        let cheapest = windows.filter(|first| sum(first) < UNMERGEABLE).min_by_key(sum)?;
        Some(cheapest..cheapest + RATIO)
    })
}

/// Whether there are so many segments that some are merged regardless of their sizes.
pub(crate) fn is_crowded(segments: usize) -> bool {
    segments >= SEGMENTS_CROWDED
}

/// The range of sixteen segments of a class with nothing but smaller ones among them.
fn run_of_class(sizes: &[u64], merged: u32) -> Option<Range<usize>> {
    let mut of_class = Vec::new();
    for (at, bytes) in sizes.iter().enumerate() {
        match class(*bytes).cmp(&merged) {
            Ordering::Less => {}
            Ordering::Equal => of_class.push(at),
            Ordering::Greater => of_class.clear(),
        }
        if let (RATIO, Some(first)) = (of_class.len(), of_class.first()) {
            return Some(*first..at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::SEGMENTS_MAX;

    /// Appends segments of these sizes, and merges after each. Returns the most segments there were, and how often a
    /// byte was written on average.
    fn grow(sizes: impl IntoIterator<Item = u64>) -> (usize, f64) {
        let (mut segments, mut most) = (Vec::new(), 0);
        let (mut appended, mut written) = (0, 0);
        for bytes in sizes {
            segments.push(bytes);
            appended += bytes;
            written += bytes;
            while let Some(range) = to_merge(&segments) {
                let merged = segments[range.clone()].iter().sum();
                written += merged;
                segments.splice(range, [merged]);
            }
            most = most.max(segments.len());
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        (most, written as f64 / appended as f64)
    }

    #[test]
    fn full_tails_are_written_at_most_three_times() {
        for count in [10, 100, 1_000, 20_000] {
            let (most, amplification) = grow(std::iter::repeat_n(32 << 20, count));
            assert!(most <= 128 && amplification <= 3.0, "{count}: {most} segments, {amplification}");
        }
    }

    #[test]
    fn small_tails_of_a_tenant_that_sleeps_often_are_written_at_most_four_times() {
        let (most, amplification) = grow(std::iter::repeat_n(1 << 20, 30_000));
        assert!(most <= 96 && amplification <= 4.0, "{most} segments, {amplification}");
    }

    proptest! {
        #[test]
        fn a_manifest_names_few_segments_and_a_byte_is_written_four_times_at_most(
            sizes in proptest::collection::vec((1_u64 << 20)..(64 << 20), 1..3_000),
        ) {
            let (most, amplification) = grow(sizes);
            prop_assert!(most <= SEGMENTS_MAX, "{most} segments");
            prop_assert!(amplification <= 4.0, "{amplification}");
        }

        #[test]
        fn alternating_sizes_do_not_fill_a_manifest(
            sizes in proptest::collection::vec(prop_oneof![Just(1_u64 << 20), Just(32 << 20), Just(5 << 30)], 1..2_000),
        ) {
            prop_assert!(grow(sizes).0 <= SEGMENTS_MAX);
        }
    }
}
