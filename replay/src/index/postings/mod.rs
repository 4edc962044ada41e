//! Which slots hold which values: what a filter is answered from without looking at payloads.
//!
//! - `posting`: the slots of one value, in little room if they are few.
//! - `field`: the postings of all values at one path.
//! - `candidates`: what a filter comes to; `selecting`: from a filter to its candidates.
//! - `allowance`: how much work that may be.
//!
//! **What is indexed.** Every path of every payload, in the sense of the filters' keys: a dot leads into
//! an object, an array stands for its elements, on the way and at the end. At each path: texts, integers,
//! fractions and booleans by value, and which slots have null there, content, or something that equals
//! nothing.
//!
//! **Limits.** A collection has at most [`PATHS_MAX`] paths, each of at most
//! [`Key::BYTES_MAX`] bytes; those beyond are not indexed, until a
//! compaction finds room for them. Texts of more than [`TEXT_BYTES_MAX`] bytes are kept as that: one of
//! them is there. Of one payload, no more than [`VALUES_MAX`] values are indexed; where there are more,
//! that is kept. So what one point costs has a bound, whatever it is made of.
//!
//! **Exactness.** [`Candidates`] are never too few. Whether they are exactly the matching ones is said
//! with them: where a limit or the allowance came in between, they are more, and payloads decide.
//!
//! All of it is derived from the slots: no digest covers it, and a compaction makes it anew.

mod allowance;
mod candidates;
mod field;
mod posting;
mod selecting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use vectorizer_log::Payload;

use super::filter::{Key, Place, each_place};
use super::graph::LinkingStopped;
use super::slots::Slots;
pub(super) use allowance::Allowance;
pub(super) use candidates::Candidates;
use field::{Field, Presence};

/// The most paths of a collection that are indexed: the first ones.
const PATHS_MAX: usize = 256;
/// The most values of one payload that are indexed: the first ones.
const VALUES_MAX: usize = 256;
/// The longest text that is indexed by value, in bytes.
const TEXT_BYTES_MAX: usize = 64;

/// For the points of one collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Postings {
    /// The slots that hold a point.
    points: RoaringBitmap,
    fields: BTreeMap<Box<str>, Field>,
    /// What is at an indexed path that no payload has.
    nothing: Field,
    /// A path was left out, so that none that is not among `fields` can be taken for missing, nor taken
    /// in: payloads that have it have gone by.
    left_out: bool,
}

impl Postings {
    /// Of all points in these slots. Asks `stop` between two payloads.
    pub(super) fn of(slots: &Slots, stop: &impl Fn() -> bool) -> Result<Self, LinkingStopped> {
        let mut postings = Self::default();
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
        // Counted whether the path is indexed or not: what is removed must come to the same as when it
        // was added, from the same payload.
        let mut values_left = VALUES_MAX;
        each_place(payload, &mut |path, place| {
            let values_max = values_left;
            values_left = values_left.saturating_sub(place.values().len());
            let Some(field) = self.field_mut(path, place, presence) else { return };
            field.post(slot, place, values_max, presence);
            if presence == Presence::Removed && field.is_empty() {
                self.fields.remove(path);
            }
        });
    }

    fn field_mut(&mut self, path: &str, place: &Place<'_>, presence: Presence) -> Option<&mut Field> {
        if presence == Presence::Added && !place.values().is_empty() && !self.fields.contains_key(path) {
            self.left_out |= self.fields.len() >= PATHS_MAX;
            if !self.left_out {
                self.fields.insert(path.into(), Field::default());
            }
        }
        self.fields.get_mut(path)
    }

    /// `None` if it is not indexed.
    fn field(&self, key: &Key) -> Option<&Field> {
        let path = key.path();
        if path.len() > Key::BYTES_MAX {
            return None;
        }
        self.fields.get(&*path).or((!self.left_out).then_some(&self.nothing))
    }
}
