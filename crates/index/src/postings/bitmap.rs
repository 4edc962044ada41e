//! A bitmap of slots that knows about how much memory it takes.

use std::ops::Deref;

use roaring::RoaringBitmap;

use crate::memory::allocated;

/// After so many changes it is measured again, or after as many as a quarter of its slots when it was measured last.
const MEASURED_EVERY: u32 = 32;
/// What a slot takes until it is measured: two bytes, in a list that doubles.
const SLOT_BYTES: u32 = 3;
/// What a run of 65,536 slots takes beside the slots.
const CONTAINER_BYTES: usize = 32;
/// What its slots take as bits, where more than 4,096 of them are in it.
const BITS_BYTES: usize = 8 << 10;

/// Measuring one takes time in proportion to the highest slot by 65,536: this does it now and then.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap {
    slots: RoaringBitmap,
    bytes: u32,
    /// Changes until it is measured again.
    due: u32,
}

impl Bitmap {
    /// Whether the slot is new.
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        let is_new = self.slots.insert(slot);
        if is_new {
            self.bytes = self.bytes.saturating_add(SLOT_BYTES);
            self.changed();
        }
        is_new
    }

    /// Whether the slot was there.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let was_there = self.slots.remove(slot);
        if self.slots.is_empty() {
            (self.bytes, self.due) = (0, 0);
        } else if was_there {
            self.changed();
        }
        was_there
    }

    /// About how much of the heap it takes. Costs nothing to ask.
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
        // Reported as if slots in lists were of four bytes; they are of two.
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
