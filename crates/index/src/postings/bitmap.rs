//! A bitmap of slots with a running estimate of its memory.

use std::ops::Deref;

use roaring::RoaringBitmap;

use crate::memory::allocated;

/// A bitmap is measured again after at least this many changes, or after a quarter of its size.
const MEASURED_EVERY: u32 = 32;
/// The estimate for a slot until the next measurement: two bytes, in a list that doubles.
const SLOT_BYTES: u32 = 3;
/// The memory of a container of 65,536 slots, without the slots.
const CONTAINER_BYTES: usize = 32;
/// The memory of a container's slots as bits, used for more than 4,096 slots.
const BITS_BYTES: usize = 8 << 10;

/// Measuring takes time proportional to the number of containers, so it is done now and then.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap {
    slots: RoaringBitmap,
    bytes: u32,
    /// How many changes until the next measurement.
    due: u32,
}

impl Bitmap {
    /// Adds a slot. Returns whether it is new.
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        let is_new = self.slots.insert(slot);
        if is_new {
            self.bytes = self.bytes.saturating_add(SLOT_BYTES);
            self.changed();
        }
        is_new
    }

    /// Removes a slot. Returns whether it was there.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let was_there = self.slots.remove(slot);
        if self.slots.is_empty() {
            (self.bytes, self.due) = (0, 0);
        } else if was_there {
            self.changed();
        }
        was_there
    }

    /// The heap bytes, estimated in constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes as usize
    }

    fn changed(&mut self) {
        match self.due.checked_sub(1) {
            Some(due) => self.due = due,
            None => self.measure(),
        }
    }

    fn measure(&mut self) {
        let statistics = self.slots.statistics();
        let containers = (statistics.n_containers as usize).next_power_of_two().max(4) * CONTAINER_BYTES;
        // Reported with four bytes for each slot of a list, but lists hold two.
        let lists = usize::try_from(statistics.n_bytes_array_containers / 2).unwrap_or(usize::MAX);
        let bits = statistics.n_bitset_containers as usize * BITS_BYTES;
        let runs = usize::try_from(statistics.n_bytes_run_containers).unwrap_or(usize::MAX);
        let bytes = allocated(containers).saturating_add(lists).saturating_add(bits).saturating_add(runs);
        self.bytes = if statistics.n_containers == 0 { 0 } else { u32::try_from(bytes).unwrap_or(u32::MAX) };
        let quarter = u32::try_from(statistics.cardinality / 4).unwrap_or(u32::MAX);
        self.due = if statistics.n_containers == 0 { 0 } else { quarter.max(MEASURED_EVERY) };
    }
}

impl Deref for Bitmap {
    type Target = RoaringBitmap;

    fn deref(&self) -> &RoaringBitmap {
        &self.slots
    }
}

impl From<RoaringBitmap> for Bitmap {
    fn from(slots: RoaringBitmap) -> Self {
        let mut bitmap = Self { slots, bytes: 0, due: 0 };
        bitmap.measure();
        bitmap
    }
}

impl FromIterator<u32> for Bitmap {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        slots.into_iter().collect::<RoaringBitmap>().into()
    }
}
