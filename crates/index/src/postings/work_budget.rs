//! The work that selecting candidates may cost.

use roaring::RoaringBitmap;

/// A budget of work. Selection holds up the writer, so it stops when the budget is used up; the rest of the filter is
/// then evaluated on payloads, without a lock.
#[derive(Debug)]
pub(in super::super) struct WorkBudget {
    /// In units of 40 to 80 ns.
    left: usize,
}

/// The cost of looking up a value, and an id.
pub(super) const LOOK_UP: usize = 3;
pub(super) const LOOK_UP_ID: usize = 6;
/// The cost of an operation on the bits of 65,536 slots.
const BITS: usize = 24;
/// How many slots of a list or a bitmap are added to another bitmap in one unit.
const SLOTS_EACH: usize = 8;

impl Default for WorkBudget {
    /// At most about ten milliseconds.
    fn default() -> Self {
        Self { left: 1 << 17 }
    }
}

impl WorkBudget {
    #[cfg(test)]
    pub(in super::super) fn of(units: usize) -> Self {
        Self { left: units }
    }

    /// Spends `units`, or returns `None` if fewer are left.
    pub(super) fn spend(&mut self, units: usize) -> Option<()> {
        self.left = self.left.checked_sub(units)?;
        Some(())
    }

    /// Spends the cost of adding a list of this many slots to a bitmap.
    pub(super) fn spend_on_list(&mut self, slots: usize) -> Option<()> {
        self.spend(1 + slots / SLOTS_EACH)
    }

    /// Spends the cost of adding a bitmap to another: by slot if it is sparse, otherwise by bits.
    pub(super) fn spend_on_bitmap(&mut self, slots: &RoaringBitmap) -> Option<()> {
        let Some(last) = slots.max() else { return Some(()) };
        let all = BITS * (1 + (last >> 16) as usize);
        let some = usize::try_from(slots.len()).unwrap_or(usize::MAX) / SLOTS_EACH;
        self.spend(all.min(1 + (last >> 16) as usize + some))
    }

    /// Spends the cost of an operation on a bitmap of slots up to `slot`.
    pub(super) fn spend_on_bits(&mut self, slot: Option<u32>) -> Option<()> {
        self.spend(BITS * slot.map_or(1, |slot| 1 + (slot >> 16) as usize))
    }

    /// Runs `work` with half of the budget. The units that it leaves are returned to the budget.
    pub(super) fn with_half<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let mut half = Self { left: self.left / 2 };
        self.left -= half.left;
        let result = work(&mut half);
        self.left += half.left;
        result
    }
}
