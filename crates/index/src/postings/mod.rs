//! Inverted indexes of payloads: the slots of each value, from which filters are answered without reading payloads.
//!
//! - `posting`: the slots of one value, compact if there are few.
//! - `text_key`: the key of a string; `numbers`: numbers in order, and segments of them.
//! - `field`: the postings of all values at one path.
//! - `candidates`: slots that may match; `selecting`: from a filter to its candidates.
//! - `work_budget`: the work that selecting may cost; `paths`: statistics of the paths.
//! - `declared`: paths that are always indexed; `indexing`: fields for paths that have none yet.
//!
//! **Indexed paths.** Every path of every payload is indexed, as keys of filters name it: a dot leads into an object,
//! and an array counts as its elements, on the way and at the end. Each path has a field with the whole strings,
//! numbers and booleans by value, and the slots that have null, any content, or a value that equals nothing.
//!
//! **Limits.** A point costs memory in proportion to its payload, except for new paths, which take a field each. All
//! fields together take at most [`FIELDS_BYTES_MIN`], or the bytes of all payloads if that is more. A path that
//! occurs when there is no room is left out for as long as a payload has it; its occurrences are counted, so that it
//! is never taken for absent. A compaction, which reads all payloads, gives fields to the paths that there is room
//! for by then; [`NewFields`] does so as soon as an eighth of the room is free.
//!
//! **Declared paths** have room of their own. One that was left out is `building` until its field is built and added:
//! until then it stays left out, and filters on it read payloads.
//!
//! **Exactness.** [`Candidates`] contain every matching point. They say whether they contain others too: if a limit
//! or the work budget intervened, the filter is evaluated on their payloads.
//!
//! All of it is derived from the slots: no digest covers it, and a compaction rebuilds it.

mod bitmap;
mod candidates;
mod declared;
mod field;
mod indexing;
mod numbers;
mod paths;
mod posting;
mod selecting;
#[cfg(test)]
mod tests;
mod text_key;
mod work_budget;

use std::collections::BTreeMap;

use bitmap::Bitmap;
use vectorizer_log::{Payload, PayloadPath};

use super::filter::{Key, MemberValue, each_member};
use super::slots::Slots;
use crate::interrupted::Interrupted;
use crate::memory::{allocated, tree};
pub(super) use candidates::Candidates;
pub(super) use declared::Declared;
pub(super) use field::Field;
use field::Presence;
pub(super) use indexing::NewFields;
pub use paths::{IndexState, Indexes, PayloadIndex};
pub(super) use work_budget::WorkBudget;

/// What a field counts against the room of all fields, without the length of its path.
const FIELD_BYTES: usize = 1024;
/// The least room of all fields. Less in tests, which fill it.
const FIELDS_BYTES_MIN: usize = if cfg!(test) { 32 << 10 } else { 16 << 20 };

/// The payload indexes of one collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Postings {
    /// The slots that hold a point.
    points: Bitmap,
    fields: BTreeMap<Box<str>, Field>,
    /// Paths whose fields have room of their own.
    declared: Declared,
    /// What the fields of the other paths count.
    fields_bytes: usize,
    /// What the fields of declared paths count.
    declared_bytes: usize,
    /// The heap bytes of all paths' strings, with a field and without.
    paths_bytes: usize,
    /// The heap bytes of the values in all fields.
    values_bytes: usize,
    /// The field of a path that no payload has.
    absent: Field,
    /// Paths without a field, and how many times each occurs. Disjoint from `fields`.
    left_out: BTreeMap<Box<str>, usize>,
    /// The bytes of all payloads.
    payload_bytes: usize,
}

impl Postings {
    /// Indexes all points in these slots, with these declared paths. Calls `stop` before each.
    pub(super) fn of(
        slots: &Slots,
        declared: &Declared,
        stop: &impl Fn() -> bool,
    ) -> Result<Self, Interrupted> {
        let mut postings = Self { declared: declared.clone(), ..Self::default() };
        for (number, point) in (0..).zip(slots.blocks().iter().flat_map(|block| block.points())) {
            Interrupted::check(stop)?;
            if let Some(point) = point {
                postings.add(number, point.payload());
            }
        }
        Ok(postings)
    }

    /// Adds the point in `slot`.
    pub(super) fn add(&mut self, slot: u32, payload: Option<&Payload>) {
        self.points.insert(slot);
        self.update(slot, payload, Presence::Added);
    }

    /// Removes the point in `slot`, which had this payload.
    pub(super) fn remove(&mut self, slot: u32, payload: Option<&Payload>) {
        self.points.remove(slot);
        self.update(slot, payload, Presence::Removed);
    }

    fn update(&mut self, slot: u32, payload: Option<&Payload>, presence: Presence) {
        let Some(payload) = payload else { return };
        match presence {
            Presence::Added => self.payload_bytes += payload.as_str().len(),
            Presence::Removed => self.payload_bytes -= payload.as_str().len(),
        }
        each_member(payload, &mut |path, place| {
            // An empty array has no values.
            if !place.values().is_empty() {
                self.update_path(slot, path, place, presence);
            }
        });
    }

    fn update_path(&mut self, slot: u32, path: &str, place: &MemberValue<'_>, presence: Presence) {
        let Some(field) = self.field_mut(path, presence) else { return };
        let before = field.memory_bytes();
        field.update(slot, place, presence);
        let (after, is_empty) = (field.memory_bytes(), field.is_empty());
        self.values_bytes = self.values_bytes + after - before;
        if is_empty {
            // Together with what its empty bitmaps are still estimated at.
            self.values_bytes -= after;
            self.fields.remove(path);
            self.paths_bytes -= allocated(path.len());
            *self.bytes_of_kind(path) -= FIELD_BYTES + path.len();
        }
    }

    /// The counter that the field of this path counts in.
    fn bytes_of_kind(&mut self, path: &str) -> &mut usize {
        if self.declared.contains(path) { &mut self.declared_bytes } else { &mut self.fields_bytes }
    }

    /// The room of the fields of all paths that are not declared.
    fn fields_bytes_max(&self) -> usize {
        FIELDS_BYTES_MIN.max(self.payload_bytes)
    }

    /// The field of a path, created if there is room. Otherwise the occurrence is counted and `None` returned.
    fn field_mut(&mut self, path: &str, presence: Presence) -> Option<&mut Field> {
        if self.fields.contains_key(path) {
            return self.fields.get_mut(path);
        }
        if let Some(occurrences) = self.left_out.get_mut(path) {
            match presence {
                Presence::Added => *occurrences += 1,
                Presence::Removed => *occurrences -= 1,
            }
            if *occurrences == 0 {
                self.paths_bytes -= allocated(path.len());
                self.left_out.remove(path);
            }
            return None;
        }
        if presence == Presence::Removed {
            return None;
        }
        self.paths_bytes += allocated(path.len());
        let bytes = FIELD_BYTES + path.len();
        if !self.declared.contains(path) && self.fields_bytes + bytes > self.fields_bytes_max() {
            self.left_out.insert(path.into(), 1);
            return None;
        }
        *self.bytes_of_kind(path) += bytes;
        Some(self.fields.entry(path.into()).or_default())
    }

    /// The declared paths.
    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Declares a path. Returns whether it was not declared before. If it was left out, it remains so until its field
    /// is built.
    pub(super) fn declare(&mut self, path: &PayloadPath) -> bool {
        let is_new = self.declared.insert(path);
        if is_new && self.fields.contains_key(path.as_str()) {
            let bytes = FIELD_BYTES + path.as_str().len();
            self.fields_bytes -= bytes;
            self.declared_bytes += bytes;
        }
        is_new
    }

    /// Removes a declaration. Returns the field if there is no room for it among the other paths.
    pub(super) fn undeclare(&mut self, path: &str) -> Option<Field> {
        if !self.declared.remove(path) || !self.fields.contains_key(path) {
            return None;
        }
        let bytes = FIELD_BYTES + path.len();
        self.declared_bytes -= bytes;
        if self.fields_bytes + bytes <= self.fields_bytes_max() {
            self.fields_bytes += bytes;
            return None;
        }
        let field = self.fields.remove(path)?;
        self.values_bytes -= field.memory_bytes();
        self.left_out.insert(path.into(), field.occurrences());
        Some(field)
    }

    /// Replaces the declared paths. Returns the fields that there is no room for.
    pub(super) fn set_declared(&mut self, declared: &Declared) -> Vec<Field> {
        let gone: Vec<_> =
            self.declared.iter().filter(|path| !declared.contains(path.as_str())).cloned().collect();
        for path in declared.iter() {
            self.declare(path);
        }
        gone.iter().filter_map(|path| self.undeclare(path.as_str())).collect()
    }

    /// Declared paths whose field is yet to be built.
    fn building(&self) -> impl Iterator<Item = &PayloadPath> {
        self.declared.iter().filter(|path| self.left_out.contains_key(path.as_str()))
    }

    /// The heap bytes, estimated in constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        let fields = tree::<Box<str>, Field>(self.fields.len());
        let left_out = tree::<Box<str>, usize>(self.left_out.len());
        fields + left_out + self.paths_bytes + self.values_bytes + self.points.memory_bytes()
    }

    /// The field of a key, or `None` if its path is not indexed.
    fn field(&self, key: &Key) -> Option<&Field> {
        let path = key.path();
        if path.len() > Key::BYTES_MAX || self.left_out.contains_key(&*path) {
            return None;
        }
        Some(self.fields.get(&*path).unwrap_or(&self.absent))
    }
}
