//! Which slots hold which values: what a filter is answered from without looking at payloads.
//!
//! - `posting`: the slots of one value, in little room if they are few.
//! - `text_key`: what a text is found by; `numbers`: numbers in order, and stretches of them.
//! - `field`: the postings of all values at one path.
//! - `candidates`: what a filter comes to; `selecting`: from a filter to its candidates.
//! - `allowance`: how much work that may be; `paths`: what is said about the paths.
//! - `declared`: paths that are indexed in any case; `indexing`: fields for paths that have none yet.
//!
//! **What is indexed.** Every path of every payload, in the sense of the filters' keys: a dot leads into
//! an object, an array stands for its elements, on the way and at the end. At each path: texts, numbers
//! and booleans by value, whole, and which slots have null there, content, or something that equals
//! nothing.
//!
//! **Limits.** What one point costs is in proportion to its payload but for the paths that nothing else has: each
//! takes a field. All fields together take at most [`FIELDS_BYTES_MIN`], or the bytes of all payloads if that is
//! more. A path that comes when there is no room is left out, for as long as some payload has it: how often it occurs
//! is counted, so that it is never taken for missing. A compaction, which reads
//! all payloads, gives a field to each path that there is room for by then; so does whoever makes fields beside the
//! postings ([`NewFields`]), as soon as an eighth of the room is free.
//!
//! **Declared paths** have room of their own. One that was left out is `building` until its field is made and put in
//! place: it stays left out meanwhile, and payloads decide.
//!
//! **Exactness.** [`Candidates`] are never too few. Whether they are exactly the matching ones is said
//! with them: where a limit or the allowance came in between, they are more, and payloads decide.
//!
//! All of it is derived from the slots: no digest covers it, and a compaction makes it anew.

mod allowance;
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

use std::collections::BTreeMap;

use vectorizer_log::{Payload, PayloadPath};

use super::filter::{Key, Place, each_place};
use super::graph::LinkingStopped;
use super::slots::Slots;
use crate::memory::{allocated, tree};
pub(super) use allowance::Allowance;
use bitmap::Bitmap;
pub(super) use candidates::Candidates;
pub(super) use declared::Declared;
pub(super) use field::Field;
use field::Presence;
pub(super) use indexing::NewFields;
pub use paths::{IndexState, Indexes, PayloadIndex};

/// What a field takes of the room for all fields, beside the text of its path.
const FIELD_BYTES: usize = 1024;
/// All fields may take so much at least. Tests fill less of it.
const FIELDS_BYTES_MIN: usize = if cfg!(test) { 32 << 10 } else { 16 << 20 };

/// For the points of one collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Postings {
    /// The slots that hold a point.
    points: Bitmap,
    fields: BTreeMap<Box<str>, Field>,
    /// Paths whose fields have room of their own.
    declared: Declared,
    /// What the other fields take of the room for them.
    fields_bytes: usize,
    /// What the fields of declared paths take of theirs.
    declared_bytes: usize,
    /// How much of the heap the texts of all paths take, with a field and without.
    paths_bytes: usize,
    /// And all that fields hold.
    values_bytes: usize,
    /// What is at a path that no payload has.
    nothing: Field,
    /// Paths that have no field, and in how many places they occur. None of them is among `fields`.
    left_out: BTreeMap<Box<str>, usize>,
    /// Of all points.
    payload_bytes: usize,
}

impl Postings {
    /// Of all points in these slots, with fields for these declared paths. Asks `stop` between two payloads.
    pub(super) fn of(
        slots: &Slots,
        declared: &Declared,
        stop: &impl Fn() -> bool,
    ) -> Result<Self, LinkingStopped> {
        let mut postings = Self { declared: declared.clone(), ..Self::default() };
        for (number, entry) in (0..).zip(slots.blocks().iter().flat_map(|block| block.entries())) {
            LinkingStopped::if_asked(stop)?;
            if let Some(entry) = entry {
                postings.add(number, entry.payload());
            }
        }
        Ok(postings)
    }

    /// Takes in a point that now lies in `slot`.
    pub(super) fn add(&mut self, slot: u32, payload: Option<&Payload>) {
        self.points.insert(slot);
        self.post(slot, payload, Presence::Added);
    }

    /// Forgets a point that lay in `slot` with this payload.
    pub(super) fn remove(&mut self, slot: u32, payload: Option<&Payload>) {
        self.points.remove(slot);
        self.post(slot, payload, Presence::Removed);
    }

    fn post(&mut self, slot: u32, payload: Option<&Payload>, presence: Presence) {
        let Some(payload) = payload else { return };
        match presence {
            Presence::Added => self.payload_bytes += payload.as_str().len(),
            Presence::Removed => self.payload_bytes -= payload.as_str().len(),
        }
        each_place(payload, &mut |path, place| {
            // There is nothing in an empty array.
            if !place.values().is_empty() {
                self.post_place(slot, path, place, presence);
            }
        });
    }

    fn post_place(&mut self, slot: u32, path: &str, place: &Place<'_>, presence: Presence) {
        let Some(field) = self.field_mut(path, presence) else { return };
        let before = field.memory_bytes();
        field.post(slot, place, presence);
        let (after, is_empty) = (field.memory_bytes(), field.is_empty());
        self.values_bytes = self.values_bytes + after - before;
        if is_empty {
            // With it goes what its empty bitmaps may still be taken to have.
            self.values_bytes -= after;
            self.fields.remove(path);
            self.paths_bytes -= allocated(path.len());
            *self.bytes_of_kind(path) -= FIELD_BYTES + path.len();
        }
    }

    /// What all fields take of which this path's is one.
    fn bytes_of_kind(&mut self, path: &str) -> &mut usize {
        if self.declared.contains(path) { &mut self.declared_bytes } else { &mut self.fields_bytes }
    }

    /// How much the fields of all paths that are not declared may take.
    fn fields_bytes_max(&self) -> usize {
        FIELDS_BYTES_MIN.max(self.payload_bytes)
    }

    /// The field of a path, made if there is room; the place is counted if there is none.
    fn field_mut(&mut self, path: &str, presence: Presence) -> Option<&mut Field> {
        if self.fields.contains_key(path) {
            return self.fields.get_mut(path);
        }
        if let Some(places) = self.left_out.get_mut(path) {
            match presence {
                Presence::Added => *places += 1,
                Presence::Removed => *places -= 1,
            }
            if *places == 0 {
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

    /// Paths that have room of their own.
    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Gives a path room of its own from now on; whether it had none. If it was left out it is so until its field is
    /// made.
    pub(super) fn declare(&mut self, path: &PayloadPath) -> bool {
        let is_new = self.declared.insert(path);
        if is_new && self.fields.contains_key(path.as_str()) {
            let bytes = FIELD_BYTES + path.as_str().len();
            self.fields_bytes -= bytes;
            self.declared_bytes += bytes;
        }
        is_new
    }

    /// Makes a declared path one like all others. Gives back its field if there is no room for it among theirs.
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
        self.left_out.insert(path.into(), field.places());
        Some(field)
    }

    /// Gives these paths room of their own, and no others. Gives back the fields that there is no room for.
    pub(super) fn set_declared(&mut self, declared: &Declared) -> Vec<Field> {
        let gone: Vec<_> =
            self.declared.iter().filter(|path| !declared.contains(path.as_str())).cloned().collect();
        for path in declared.iter() {
            self.declare(path);
        }
        gone.iter().filter_map(|path| self.undeclare(path.as_str())).collect()
    }

    /// Declared paths that have no field yet and need one.
    fn building(&self) -> impl Iterator<Item = &PayloadPath> {
        self.declared.iter().filter(|path| self.left_out.contains_key(path.as_str()))
    }

    /// About how much of the heap it takes. Costs nothing to ask.
    pub(super) fn memory_bytes(&self) -> usize {
        let fields = tree::<Box<str>, Field>(self.fields.len());
        let left_out = tree::<Box<str>, usize>(self.left_out.len());
        fields + left_out + self.paths_bytes + self.values_bytes + self.points.memory_bytes()
    }

    /// `None` if it is not indexed.
    fn field(&self, key: &Key) -> Option<&Field> {
        let path = key.path();
        if path.len() > Key::BYTES_MAX || self.left_out.contains_key(&*path) {
            return None;
        }
        Some(self.fields.get(&*path).unwrap_or(&self.nothing))
    }
}
