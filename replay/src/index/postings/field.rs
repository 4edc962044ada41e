//! The postings of all values at one path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use roaring::RoaringBitmap;

use super::numbers::Numbers;
use super::posting::{Posting, Removed};
use super::text_key::TextKey;
use crate::index::filter::{Place, Value};

/// About how many bytes a value takes, with its share of the tree that it is in.
const VALUE_BYTES: usize = 64;
/// About how many bytes it takes that one slot has one value.
const ENTRY_BYTES: usize = 10;
/// About how many bytes it takes that a slot has several values.
const SEVERAL_BYTES: usize = 20;

/// Whether what is posted is there from now on, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Added,
    Removed,
}

/// What the payloads have at one path.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Field {
    pub(super) texts: BTreeMap<TextKey, Posting>,
    pub(super) numbers: Numbers,
    pub(super) falses: RoaringBitmap,
    pub(super) trues: RoaringBitmap,
    pub(super) nulls: RoaringBitmap,
    /// Slots with null in an array, which is content.
    inner_nulls: RoaringBitmap,
    /// Slots with a value that is not null, and yet equals nothing and is in no range.
    pub(super) incomparable: RoaringBitmap,
    /// Slots with a text, a number or a boolean.
    pub(super) valued: RoaringBitmap,
    /// Those of them that have several different ones, and how many.
    pub(super) several: RoaringBitmap,
    counts: BTreeMap<u32, u32>,
    /// How often any slot has any of all this.
    entries: usize,
    /// In how many places of payloads the path occurs.
    places: usize,
}

impl Field {
    /// Takes in what is at one place, or forgets it.
    pub(super) fn post(&mut self, slot: u32, place: &Place<'_>, presence: Presence) {
        match presence {
            Presence::Added => self.places += 1,
            Presence::Removed => self.places -= 1,
        }
        let is_array = matches!(place, Place::Elements(_));
        for value in place.values() {
            match Value::read(value) {
                Value::Null => {
                    self.mark(|field| &mut field.nulls, slot, presence);
                    if is_array {
                        self.mark(|field| &mut field.inner_nulls, slot, presence);
                    }
                }
                Value::Composite | Value::Unreadable => {
                    self.mark(|field| &mut field.incomparable, slot, presence);
                }
                Value::Boolean(false) => {
                    let is_change = self.mark(|field| &mut field.falses, slot, presence);
                    self.count(slot, is_change, presence);
                }
                Value::Boolean(true) => {
                    let is_change = self.mark(|field| &mut field.trues, slot, presence);
                    self.count(slot, is_change, presence);
                }
                Value::Text(text) => {
                    let is_change = self.post_text(TextKey::of(&text), slot, presence);
                    self.count_entry(is_change, presence);
                    self.count(slot, is_change, presence);
                }
                Value::Number(number) => {
                    let is_change = match presence {
                        Presence::Added => self.numbers.insert(number, slot),
                        Presence::Removed => self.numbers.remove(&number, slot),
                    };
                    self.count_entry(is_change, presence);
                    self.count(slot, is_change, presence);
                }
            }
        }
    }

    /// Whether no payload has anything here.
    pub(super) fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// In how many places of payloads the path occurs.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Slots with anything but null and empty arrays.
    pub(super) fn content(&self) -> RoaringBitmap {
        let mut content = self.valued.clone();
        content |= &self.incomparable;
        content |= &self.inner_nulls;
        content
    }

    /// How many different values the slot has, if it has one.
    pub(super) fn values_of(&self, slot: u32) -> u32 {
        self.counts.get(&slot).copied().unwrap_or(1)
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        (self.texts.len() + self.numbers.len()) * VALUE_BYTES
            + self.numbers.heap_bytes()
            + self.entries * ENTRY_BYTES
            + self.counts.len() * SEVERAL_BYTES
    }

    fn post_text(&mut self, text: TextKey, slot: u32, presence: Presence) -> bool {
        match (presence, self.texts.entry(text)) {
            (Presence::Added, Entry::Occupied(mut posting)) => posting.get_mut().insert(slot),
            (Presence::Added, Entry::Vacant(vacant)) => {
                vacant.insert(Posting::One(slot));
                true
            }
            (Presence::Removed, Entry::Occupied(mut posting)) => match posting.get_mut().remove(slot) {
                Removed::Nothing => false,
                Removed::Slot => true,
                Removed::Last => {
                    posting.remove();
                    true
                }
            },
            (Presence::Removed, Entry::Vacant(_)) => false,
        }
    }

    /// Whether that is a change.
    fn mark(
        &mut self,
        slots: impl FnOnce(&mut Self) -> &mut RoaringBitmap,
        slot: u32,
        presence: Presence,
    ) -> bool {
        let slots = slots(self);
        let is_change = match presence {
            Presence::Added => slots.insert(slot),
            Presence::Removed => slots.remove(slot),
        };
        self.count_entry(is_change, presence);
        is_change
    }

    fn count_entry(&mut self, is_change: bool, presence: Presence) {
        match presence {
            Presence::Added => self.entries += usize::from(is_change),
            Presence::Removed => self.entries -= usize::from(is_change),
        }
    }

    /// Notes that the slot has one value more, or one less.
    fn count(&mut self, slot: u32, is_change: bool, presence: Presence) {
        if !is_change {
            return;
        }
        match presence {
            Presence::Added if self.valued.insert(slot) => {}
            Presence::Added => {
                self.several.insert(slot);
                *self.counts.entry(slot).or_insert(1) += 1;
            }
            Presence::Removed => match self.counts.get_mut(&slot) {
                Some(count) if *count > 2 => *count -= 1,
                Some(_) => {
                    self.counts.remove(&slot);
                    self.several.remove(slot);
                }
                None => {
                    self.valued.remove(slot);
                }
            },
        }
    }
}
