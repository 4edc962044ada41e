//! The postings of all numbers at one path, in order, with precomputed unions of long segments: a range over many
//! numbers takes a few unions, however many distinct numbers are in it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use roaring::RoaringBitmap;

use super::bitmap::Bitmap;
use super::candidates::Union;
use super::posting::{Posting, Removed};
use super::work_budget::WorkBudget;
use crate::filter::{Number, Range};
use crate::memory::{list, tree};

/// With at most this many distinct numbers there are no segments.
const UNDIVIDED_MAX: usize = 1024;
/// A segment holds at most this many numbers, or this share of all numbers if that is more.
const SEGMENT_NUMBERS_MIN: usize = 512;
const SEGMENTS: usize = 128;

#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    postings: BTreeMap<Number, Posting>,
    /// Empty, or a partition of all numbers, in order.
    segments: Vec<Segment>,
    /// The heap bytes of numbers, postings and the segments' slots, without the entries of the two containers.
    pub(super) held_bytes: usize,
}

/// A run of consecutive numbers.
#[derive(Clone, Debug)]
struct Segment {
    /// No number of the segment is less, unless it is the first segment.
    first: Number,
    /// How many numbers it has.
    numbers: usize,
    /// The slots of all its numbers.
    slots: Bitmap,
}

impl Numbers {
    /// How many distinct numbers there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.postings.len()
    }

    /// The heap bytes, estimated in constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        let segments = list::<Segment>(self.segments.capacity());
        tree::<Number, Posting>(self.postings.len()) + segments + self.held_bytes
    }

    pub(super) fn get(&self, number: &Number) -> Option<&Posting> {
        self.postings.get(number)
    }

    /// Adds a number of a slot. Returns whether the slot did not have it before.
    pub(super) fn insert(&mut self, number: Number, slot: u32) -> bool {
        let segment = self.segment_of(&number);
        let (is_new, added) = match self.postings.entry(number) {
            Entry::Occupied(mut occupied) => {
                let posting = occupied.get_mut();
                let before = posting.memory_bytes();
                let is_new = posting.insert(slot);
                self.held_bytes = self.held_bytes + posting.memory_bytes() - before;
                (is_new, 0)
            }
            Entry::Vacant(vacant) => {
                self.held_bytes += vacant.key().heap_bytes();
                vacant.insert(Posting::One(slot));
                (true, 1)
            }
        };
        if let Some(segment) = self.segments.get_mut(segment) {
            let before = segment.slots.memory_bytes();
            segment.slots.insert(slot);
            self.held_bytes = self.held_bytes + segment.slots.memory_bytes() - before;
            segment.numbers += added;
        }
        if added > 0 {
            self.split(segment);
        }
        is_new
    }

    /// Removes a number of a slot. Returns whether the slot had it. All numbers of a slot are removed before the next
    /// lookup.
    pub(super) fn remove(&mut self, number: &Number, slot: u32) -> bool {
        let Some(posting) = self.postings.get_mut(number) else { return false };
        let before = posting.memory_bytes();
        let removed = posting.remove(slot);
        self.held_bytes = self.held_bytes + posting.memory_bytes() - before;
        if removed == Removed::Last {
            self.held_bytes -= number.heap_bytes();
            self.postings.remove(number);
        }
        let at = self.segment_of(number);
        if let Some(segment) = self.segments.get_mut(at) {
            // The slot leaves the segment with its first number: the others are removed before the next lookup.
            let before = segment.slots.memory_bytes();
            segment.slots.remove(slot);
            self.held_bytes = self.held_bytes + segment.slots.memory_bytes() - before;
            if removed == Removed::Last {
                segment.numbers -= 1;
                if segment.numbers == 0 {
                    self.held_bytes -= segment.slots.memory_bytes();
                    self.segments.remove(at);
                }
            }
        }
        removed != Removed::Nothing
    }

    /// Adds the slots that have a number in the range to `union`.
    pub(super) fn within(&self, range: &Range, union: &mut Union, budget: &mut WorkBudget) -> Option<()> {
        let (lower, upper) = (range.lower(), range.upper());
        if is_empty_range(lower, upper) {
            return Some(());
        }
        let last = self.segments.len().saturating_sub(1);
        let segment_at = |bound: Bound<&Number>, unbounded: usize| match bound {
            Bound::Included(number) | Bound::Excluded(number) => self.segment_of(number),
            Bound::Unbounded => unbounded,
        };
        let (begin, end) = (segment_at(lower, 0), segment_at(upper, last));
        for (at, segment) in self.segments.iter().enumerate().take(end + 1).skip(begin) {
            let next = self.segments.get(at + 1).map(|next| &next.first);
            let least = if at == 0 {
                self.postings.first_key_value().map(|(least, _)| least)
            } else {
                Some(&segment.first)
            };
            let from_start = at > begin || least.is_some_and(|least| range.is_above_lower(least));
            let to_end = at < end
                || match next {
                    Some(_) => false,
                    None => {
                        self.postings.last_key_value().is_some_and(|(most, _)| range.is_below_upper(most))
                    }
                };
            if from_start && to_end {
                union.add_bitmap(&segment.slots, budget)?;
                continue;
            }
            let from = if at == begin { lower } else { Bound::Included(&segment.first) };
            let to = if at == end { upper } else { next.map_or(Bound::Unbounded, Bound::Excluded) };
            self.each(from, to, union, budget)?;
        }
        if self.segments.is_empty() {
            self.each(lower, upper, union, budget)?;
        }
        Some(())
    }

    /// The bytes of `held_bytes`, computed again.
    #[cfg(test)]
    pub(super) fn counted_bytes(&self) -> usize {
        let postings =
            self.postings.iter().map(|(number, posting)| number.heap_bytes() + posting.memory_bytes());
        let segments = self.segments.iter().map(|segment| segment.slots.memory_bytes());
        postings.sum::<usize>() + segments.sum::<usize>()
    }

    fn each(
        &self,
        from: Bound<&Number>,
        to: Bound<&Number>,
        union: &mut Union,
        budget: &mut WorkBudget,
    ) -> Option<()> {
        for (_, posting) in self.postings.range::<Number, _>((from, to)) {
            union.add_posting(posting, budget)?;
        }
        Some(())
    }

    /// The position of the segment of this number, if there are segments.
    fn segment_of(&self, number: &Number) -> usize {
        self.segments.partition_point(|segment| segment.first <= *number).saturating_sub(1)
    }

    /// Splits the segment in two halves if it has too many numbers.
    fn split(&mut self, at: usize) {
        let total = self.postings.len();
        if self.segments.is_empty() && total > UNDIVIDED_MAX {
            let Some((first, _)) = self.postings.first_key_value() else { return };
            let slots = Bitmap::default();
            self.segments.push(Segment { first: first.clone(), numbers: total, slots });
        }
        let Some(segment) = self.segments.get(at) else { return };
        let numbers = segment.numbers;
        if numbers <= SEGMENT_NUMBERS_MIN.max(total / SEGMENTS) {
            return;
        }
        // The first segment also has numbers less than its `first`.
        let from = if at == 0 { Bound::Unbounded } else { Bound::Included(&segment.first) };
        let mut postings = self.postings.range::<Number, _>((from, Bound::Unbounded)).take(numbers);
        let half = numbers / 2;
        let lower = slots_of(postings.by_ref().take(half).map(|(_, posting)| posting));
        let mut postings = postings.peekable();
        let Some(first) = postings.peek().map(|(number, _)| (*number).clone()) else { return };
        let slots = slots_of(postings.map(|(_, posting)| posting));
        self.held_bytes += lower.memory_bytes() + slots.memory_bytes();
        let upper = Segment { first, numbers: numbers - half, slots };
        if let Some(segment) = self.segments.get_mut(at) {
            self.held_bytes -= segment.slots.memory_bytes();
            segment.numbers = half;
            segment.slots = lower;
        }
        self.segments.insert(at + 1, upper);
    }
}

fn slots_of<'a>(postings: impl Iterator<Item = &'a Posting>) -> Bitmap {
    let mut few = Vec::new();
    let mut slots = RoaringBitmap::new();
    for posting in postings {
        match posting {
            Posting::One(slot) => few.push(*slot),
            Posting::Few(slots) => few.extend(slots),
            Posting::Many(many) => slots |= &***many,
        }
    }
    few.sort_unstable();
    few.dedup();
    slots |= few.into_iter().collect::<RoaringBitmap>();
    slots.into()
}

/// Whether the range is empty.
fn is_empty_range(lower: Bound<&Number>, upper: Bound<&Number>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::filter::{Condition, Filter};

    fn number(number: u32) -> Number {
        Number::from_json(&number.to_string()).unwrap()
    }

    fn range(json: &str) -> Range {
        let filter = Filter::parse(&format!(r#"{{"must":{{"key":"a","range":{json}}}}}"#), 9).unwrap();
        match filter.must.into_iter().next() {
            Some(Condition::Range(_, range)) => range,
            other => panic!("{other:?}"),
        }
    }

    fn found(numbers: &Numbers, json: &str) -> Vec<u32> {
        let mut union = crate::postings::Candidates::union();
        numbers.within(&range(json), &mut union, &mut WorkBudget::of(usize::MAX)).unwrap();
        union.finish().slots.into_iter().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        /// Each slot has two numbers, so that segments share slots.
        #[test]
        fn a_range_finds_the_same_slots_as_a_scan_of_all_numbers(
            shuffle in 1..1000_u32,
            count in 900..6000_u32,
            gone in proptest::collection::vec(0..6000_u32, 0..3000),
            bounds in proptest::collection::vec((0..14_000_u32, 0..14_000_u32), 12),
        ) {
            let numbers_of = |slot: u32| [slot * shuffle % 12_007, slot * 7 % 9_001];
            let mut numbers = Numbers::default();
            let mut slots: BTreeSet<u32> = (0..count).collect();
            for slot in 0..count {
                for value in numbers_of(slot) {
                    numbers.insert(number(value), slot);
                }
            }
            for slot in gone {
                if slots.remove(&slot) {
                    for value in numbers_of(slot) {
                        numbers.remove(&number(value), slot);
                    }
                }
            }
            let least = numbers.segments.iter().map(|segment| segment.numbers).sum::<usize>();
            prop_assert!(numbers.segments.is_empty() || least == numbers.len());
            for (from, to) in bounds {
                for (json, has) in [
                    (format!(r#"{{"gte":{from},"lt":{to}}}"#), from..to),
                    (format!(r#"{{"gt":{from}}}"#), (from + 1..u32::MAX)),
                    (format!(r#"{{"lte":{to}}}"#), (0..to + 1)),
                ] {
                    let has: std::ops::Range<u32> = has;
                    let expected: Vec<u32> =
                        slots.iter().copied().filter(|slot| numbers_of(*slot).iter().any(|value| has.contains(value))).collect();
                    prop_assert_eq!(found(&numbers, &json), expected, "{}", json);
                }
            }
        }
    }

    #[test]
    fn a_range_of_most_numbers_takes_few_unions() {
        let mut numbers = Numbers::default();
        for slot in 0..200_000 {
            numbers.insert(number(slot), slot);
        }
        let mut union = crate::postings::Candidates::union();
        let mut budget = WorkBudget::default();
        numbers.within(&range(r#"{"gte":1000,"lt":190000}"#), &mut union, &mut budget).unwrap();
        assert_eq!(union.finish().len(), 189_000);
        while numbers.len() > 0 {
            let (first, slot) = match numbers.postings.first_key_value() {
                Some((first, Posting::One(slot))) => (first.clone(), *slot),
                other => panic!("{other:?}"),
            };
            numbers.remove(&first, slot);
        }
        assert!(numbers.segments.is_empty());
    }
}
