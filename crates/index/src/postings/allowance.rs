//! How much work selecting may be.

use roaring::RoaringBitmap;

/// A writer waits while a filter is answered, and so does whoever asks. What exceeds the allowance is
/// left to whoever looks at payloads, without a lock.
#[derive(Debug)]
pub(in super::super) struct Allowance {
    /// In units of 40 to 80 ns.
    left: usize,
}

/// Looking up one value, and one id.
pub(super) const LOOK_UP: usize = 3;
pub(super) const LOOK_UP_ID: usize = 6;
/// Going through the bits of 65,536 slots.
const BITS: usize = 24;
/// So many slots of a list or a bitmap are taken into another bitmap in one unit.
const SLOTS_EACH: usize = 8;

impl Default for Allowance {
    /// Ten milliseconds at most.
    fn default() -> Self {
        Self { left: 1 << 17 }
    }
}

impl Allowance {
    #[cfg(test)]
    pub(in super::super) fn of(units: usize) -> Self {
        Self { left: units }
    }

    /// `None` if not so much is left.
    pub(super) fn spend(&mut self, units: usize) -> Option<()> {
        self.left = self.left.checked_sub(units)?;
        Some(())
    }

    /// Spends what taking in a list of so many slots takes.
    pub(super) fn spend_on_few(&mut self, slots: usize) -> Option<()> {
        self.spend(1 + slots / SLOTS_EACH)
    }

    /// Spends what taking in a bitmap takes: fewer slots are gone through one by one.
    pub(super) fn spend_on_slots(&mut self, slots: &RoaringBitmap) -> Option<()> {
        let Some(last) = slots.max() else { return Some(()) };
        let all = BITS * (1 + (last >> 16) as usize);
        let some = usize::try_from(slots.len()).unwrap_or(usize::MAX) / SLOTS_EACH;
        self.spend(all.min(1 + (last >> 16) as usize + some))
    }

    /// Spends what an operation on a bitmap of slots up to `slot` takes.
    pub(super) fn spend_on_bits(&mut self, slot: Option<u32>) -> Option<()> {
        self.spend(BITS * slot.map_or(1, |slot| 1 + (slot >> 16) as usize))
    }

    /// Half of it goes to `work`, which may use that up; what it leaves comes back.
    pub(super) fn halved<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let mut half = Self { left: self.left / 2 };
        self.left -= half.left;
        let result = work(&mut half);
        self.left += half.left;
        result
    }
}
