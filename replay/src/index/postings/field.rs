//! The postings of all values at one path.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::TEXT_BYTES_MAX;
use super::posting::Posting;
use crate::index::filter::{Number, Place, Range, Value};

/// Whether what is posted is there from now on, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Added,
    Removed,
}

/// What the payloads have at one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    pub(super) texts: BTreeMap<Box<str>, Posting>,
    /// Apart from fractions: one equals only integers, a range holds both.
    pub(super) integers: BTreeMap<i128, Posting>,
    pub(super) fractions: BTreeMap<Fraction, Posting>,
    pub(super) falses: RoaringBitmap,
    pub(super) trues: RoaringBitmap,
    pub(super) nulls: RoaringBitmap,
    /// Slots with anything but null and empty arrays.
    pub(super) content: RoaringBitmap,
    /// Slots with a value that is not null, and yet equals nothing and is in no range.
    pub(super) incomparable: RoaringBitmap,
    /// Slots with a text longer than is indexed.
    pub(super) long_texts: RoaringBitmap,
    /// Slots with more values than are indexed.
    pub(super) unread: RoaringBitmap,
}

/// A number that is no integer as JSON has it. Not NaN; its zeros are one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fraction(pub(super) f64);

impl Field {
    /// Takes in what is at one place, or forgets it: the first `values_max` values.
    pub(super) fn post(&mut self, slot: u32, place: &Place<'_>, values_max: usize, presence: Presence) {
        if place.has_content() {
            mark(&mut self.content, slot, presence);
        }
        if place.values().len() > values_max {
            mark(&mut self.unread, slot, presence);
        }
        for value in place.values().iter().take(values_max) {
            match Value::read(value) {
                Value::Null => mark(&mut self.nulls, slot, presence),
                Value::Boolean(false) => mark(&mut self.falses, slot, presence),
                Value::Boolean(true) => mark(&mut self.trues, slot, presence),
                Value::Text(text) if text.len() > TEXT_BYTES_MAX => {
                    mark(&mut self.long_texts, slot, presence);
                }
                Value::Text(text) => enter(&mut self.texts, &*text, slot, presence, |text| text.into()),
                Value::Number(Number::Integer(integer)) => {
                    enter(&mut self.integers, &integer, slot, presence, |integer| *integer);
                }
                Value::Number(Number::Fraction(fraction)) => {
                    enter(&mut self.fractions, &Fraction(fraction), slot, presence, |fraction| *fraction);
                }
                Value::Composite | Value::Unreadable => mark(&mut self.incomparable, slot, presence),
            }
        }
    }

    /// Whether no payload has anything here.
    pub(super) fn is_empty(&self) -> bool {
        // Whatever has a value but null has content.
        self.content.is_empty() && self.nulls.is_empty() && self.unread.is_empty()
    }

    /// The postings of the numbers in a range.
    pub(super) fn within<'a>(&'a self, range: &'a Range) -> impl Iterator<Item = &'a Posting> {
        let lower = range.lower();
        let contained = |number: Number, posting| range.is_above_lower(number).then_some(posting);
        let integers = self
            .integers
            .range(lower.map_or(i128::MIN, integer_at_most)..)
            .map(|(integer, posting)| (Number::Integer(*integer), posting));
        let fractions = self
            .fractions
            .range(Fraction(lower.map_or(f64::NEG_INFINITY, nearest_fraction))..)
            .map(|(fraction, posting)| (Number::Fraction(fraction.0), posting));
        let integers = integers.take_while(|(number, _)| range.is_below_upper(*number));
        let fractions = fractions.take_while(|(number, _)| range.is_below_upper(*number));
        integers.chain(fractions).filter_map(move |(number, posting)| contained(number, posting))
    }
}

/// No integer above the bound is below it.
fn integer_at_most(bound: Number) -> i128 {
    match bound {
        Number::Integer(integer) => integer,
        #[expect(clippy::cast_possible_truncation, reason = "beyond all integers it is the last of them")]
        Number::Fraction(fraction) => fraction.floor() as i128,
    }
}

/// No fraction above the bound is below it: none lies between an integer and the fraction nearest to it.
fn nearest_fraction(bound: Number) -> f64 {
    match bound {
        #[expect(clippy::cast_precision_loss, reason = "the nearest is good enough, see above")]
        Number::Integer(integer) => integer as f64,
        Number::Fraction(fraction) => fraction,
    }
}

fn mark(slots: &mut RoaringBitmap, slot: u32, presence: Presence) {
    match presence {
        Presence::Added => slots.insert(slot),
        Presence::Removed => slots.remove(slot),
    };
}

fn enter<K: Ord + Borrow<Q>, Q: Ord + ?Sized>(
    postings: &mut BTreeMap<K, Posting>,
    value: &Q,
    slot: u32,
    presence: Presence,
    owned: impl FnOnce(&Q) -> K,
) {
    match (presence, postings.get_mut(value)) {
        (Presence::Added, Some(posting)) => posting.insert(slot),
        (Presence::Added, None) => {
            postings.insert(owned(value), Posting::One(slot));
        }
        (Presence::Removed, Some(posting)) => {
            if posting.remove(slot) {
                postings.remove(value);
            }
        }
        (Presence::Removed, None) => {}
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        Number::Fraction(self.0).compare(Number::Fraction(other.0))
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Fraction {}
