//! Fields for paths that were left out, built from stored payloads.

use std::collections::BTreeMap;

use super::field::{Field, Presence};
use super::{FIELD_BYTES, Postings};
use crate::filter::each_member;
use crate::interrupted::Interrupted;
use crate::slots::{PointRef, Slots};

/// Paths that were left out get fields once this share of the room is free. Building fields reads all payloads, so it
/// is not done for each path that fits.
const FREE_SHARE: usize = 8;
/// How many paths get fields in one pass over all payloads, so that naming them and adding their fields takes some
/// milliseconds. Fewer in tests.
const PATHS_AT_ONCE: usize = if cfg!(test) { 16 } else { 2_048 };

/// The fields of some paths, for all points in some slots.
#[derive(Debug, Default)]
pub(in super::super) struct NewFields(BTreeMap<Box<str>, Field>);

impl NewFields {
    /// Adds the payloads of all points in these slots. Calls `stop` before each.
    pub(in super::super) fn gather(
        &mut self,
        slots: &Slots,
        stop: &impl Fn() -> bool,
    ) -> Result<(), Interrupted> {
        for (number, point) in (0..).zip(slots.blocks().iter().flat_map(|block| block.points())) {
            Interrupted::check(stop)?;
            self.update(number, point, Presence::Added);
        }
        Ok(())
    }

    /// Applies the changes between `then` and `now`.
    pub(in super::super) fn catch_up(&mut self, then: &Slots, now: &Slots) {
        now.changes_since(then, |number, before, after| {
            // Slot numbers fit into a `u32`.
            let slot = u32::try_from(number).unwrap_or(u32::MAX);
            self.update(slot, before, Presence::Removed);
            self.update(slot, after, Presence::Added);
        });
    }

    fn update(&mut self, slot: u32, point: Option<PointRef<'_>>, presence: Presence) {
        let Some(payload) = point.and_then(PointRef::payload) else { return };
        each_member(payload, &mut |path, place| {
            // An empty array has no values.
            if !place.values().is_empty()
                && let Some(field) = self.0.get_mut(path)
            {
                field.update(slot, place, presence);
            }
        });
    }
}

impl Postings {
    /// Whether there are paths to build fields for.
    pub(in super::super) fn needs_fields(&self) -> bool {
        self.building().next().is_some() || (!self.left_out.is_empty() && self.has_much_room())
    }

    /// An empty field for each path that is to get one next: all declared ones, and as many others as there is room
    /// for, up to a limit.
    pub(in super::super) fn new_fields(&self) -> NewFields {
        let mut fields: BTreeMap<Box<str>, Field> =
            self.building().map(|path| (path.as_str().into(), Field::default())).collect();
        if self.has_much_room() {
            let mut bytes = self.fields_bytes;
            let others = self.left_out.keys().filter(|path| !self.declared.contains(path));
            for path in others.take(PATHS_AT_ONCE) {
                bytes += FIELD_BYTES + path.len();
                if bytes > self.fields_bytes_max() {
                    break;
                }
                fields.insert(path.clone(), Field::default());
            }
        }
        NewFields(fields)
    }

    fn has_much_room(&self) -> bool {
        let max = self.fields_bytes_max();
        max.saturating_sub(self.fields_bytes) >= max / FREE_SHARE
    }

    /// Takes those fields whose paths still have none and for which there is room. `fields` must be up to date; the
    /// other fields stay in it.
    pub(in super::super) fn take_fields(&mut self, NewFields(fields): &mut NewFields) {
        let taken = fields.extract_if(.., |path, field| {
            let bytes = FIELD_BYTES + path.len();
            let Some(occurrences) = self.left_out.get(path) else { return false };
            debug_assert_eq!(*occurrences, field.occurrences(), "{path} is not gathered as it is");
            if self.declared.contains(path) {
                self.declared_bytes += bytes;
            } else if self.fields_bytes + bytes <= self.fields_bytes_max() {
                self.fields_bytes += bytes;
            } else {
                return false;
            }
            self.values_bytes += field.memory_bytes();
            self.left_out.remove(path);
            true
        });
        let taken: Vec<_> = taken.collect();
        self.fields.extend(taken);
    }
}
