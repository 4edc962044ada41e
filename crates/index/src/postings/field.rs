//! The postings of all values at one path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use roaring::RoaringBitmap;

use super::bitmap::Bitmap;
use super::numbers::Numbers;
use super::posting::{Posting, Removed};
use super::text_key::TextKey;
use crate::filter::{MemberValue, Value};
use crate::memory::tree;

/// Whether a value is added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Added,
    Removed,
}

/// The values of all payloads at one path.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Field {
    pub(super) texts: BTreeMap<TextKey, Posting>,
    pub(super) numbers: Numbers,
    pub(super) falses: Bitmap,
    pub(super) trues: Bitmap,
    pub(super) nulls: Bitmap,
    /// Slots with null in an array, which is not empty.
    inner_nulls: Bitmap,
    /// Slots with a value other than null that equals nothing and is in no range.
    pub(super) incomparable: Bitmap,
    /// Slots with a string, a number or a boolean.
    pub(super) valued: Bitmap,
    /// The slots among them with several different values, and how many each has.
    pub(super) multi_valued: Bitmap,
    counts: BTreeMap<u32, u32>,
    /// How many times the path occurs in payloads.
    occurrences: usize,
    /// The heap bytes of the postings of strings, without the entries of the map.
    pub(super) texts_bytes: usize,
}

impl Field {
    /// Adds or removes the values at one occurrence of the path.
    pub(super) fn update(&mut self, slot: u32, place: &MemberValue<'_>, presence: Presence) {
        match presence {
            Presence::Added => self.occurrences += 1,
            Presence::Removed => self.occurrences -= 1,
        }
        let is_array = matches!(place, MemberValue::Elements(_));
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
                    let is_change = self.update_text(TextKey::of(&text), slot, presence);
                    self.count(slot, is_change, presence);
                }
                Value::Number(number) => {
                    let is_change = match presence {
                        Presence::Added => self.numbers.insert(number, slot),
                        Presence::Removed => self.numbers.remove(&number, slot),
                    };
                    self.count(slot, is_change, presence);
                }
            }
        }
    }

    /// Whether no payload has a value at this path.
    pub(super) fn is_empty(&self) -> bool {
        self.occurrences == 0
    }

    /// How many times the path occurs in payloads.
    pub(super) fn occurrences(&self) -> usize {
        self.occurrences
    }

    /// Slots with a value other than null and empty arrays.
    pub(super) fn content(&self) -> RoaringBitmap {
        let mut content = RoaringBitmap::clone(&self.valued);
        content |= &*self.incomparable;
        content |= &*self.inner_nulls;
        content
    }

    /// How many different values the slot has, if it has any.
    pub(super) fn values_of(&self, slot: u32) -> u32 {
        self.counts.get(&slot).copied().unwrap_or(1)
    }

    /// The heap bytes without `Self`, estimated in constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        let Self {
            texts,
            numbers,
            falses,
            trues,
            nulls,
            inner_nulls,
            incomparable,
            valued,
            multi_valued,
            counts,
            occurrences: _,
            texts_bytes,
        } = self;
        let bitmaps = [falses, trues, nulls, inner_nulls, incomparable, valued, multi_valued];
        tree::<TextKey, Posting>(texts.len())
            + texts_bytes
            + numbers.memory_bytes()
            + bitmaps.into_iter().map(Bitmap::memory_bytes).sum::<usize>()
            + tree::<u32, u32>(counts.len())
    }

    fn update_text(&mut self, text: TextKey, slot: u32, presence: Presence) -> bool {
        let mut occupied = match (presence, self.texts.entry(text)) {
            (_, Entry::Occupied(occupied)) => occupied,
            (Presence::Added, Entry::Vacant(vacant)) => {
                vacant.insert(Posting::One(slot));
                return true;
            }
            (Presence::Removed, Entry::Vacant(_)) => return false,
        };
        let posting = occupied.get_mut();
        let before = posting.memory_bytes();
        let (is_change, is_last) = match presence {
            Presence::Added => (posting.insert(slot), false),
            Presence::Removed => match posting.remove(slot) {
                Removed::Nothing => (false, false),
                Removed::Slot => (true, false),
                Removed::Last => (true, true),
            },
        };
        self.texts_bytes = self.texts_bytes + posting.memory_bytes() - before;
        if is_last {
            occupied.remove();
        }
        is_change
    }

    /// Adds or removes a slot. Returns whether that is a change.
    fn mark(&mut self, slots: impl FnOnce(&mut Self) -> &mut Bitmap, slot: u32, presence: Presence) -> bool {
        let slots = slots(self);
        match presence {
            Presence::Added => slots.insert(slot),
            Presence::Removed => slots.remove(slot),
        }
    }

    /// Counts one value more or less for the slot.
    fn count(&mut self, slot: u32, is_change: bool, presence: Presence) {
        if !is_change {
            return;
        }
        match presence {
            Presence::Added if self.valued.insert(slot) => {}
            Presence::Added => {
                self.multi_valued.insert(slot);
                *self.counts.entry(slot).or_insert(1) += 1;
            }
            Presence::Removed => match self.counts.get_mut(&slot) {
                Some(count) if *count > 2 => *count -= 1,
                Some(_) => {
                    self.counts.remove(&slot);
                    self.multi_valued.remove(slot);
                }
                None => {
                    self.valued.remove(slot);
                }
            },
        }
    }
}
