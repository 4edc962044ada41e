//! The candidates of a filter or a condition.

use roaring::RoaringBitmap;

use super::posting::Posting;
use super::work_budget::WorkBudget;

/// Slots of points that may match: all matching ones are among them.
#[derive(Clone, Debug)]
pub(in super::super) struct Candidates {
    pub(in super::super) slots: RoaringBitmap,
    /// Whether all of them match.
    pub(in super::super) exact: bool,
}

impl Candidates {
    pub(super) fn exactly(slots: RoaringBitmap) -> Self {
        Self { slots, exact: true }
    }

    /// How many candidates there are.
    pub(in super::super) fn len(&self) -> usize {
        usize::try_from(self.slots.len()).unwrap_or(usize::MAX)
    }

    /// Begins a union of candidates.
    pub(super) fn union() -> Union {
        Union { few: Vec::new(), bits: Vec::new(), many: RoaringBitmap::new(), exact: true }
    }
}

pub(super) struct Union {
    /// Sorted once at the end: adding them one by one would search `many` for each.
    few: Vec<u32>,
    /// Used for too many slots to sort quickly: a bit for each slot up to the last.
    bits: Vec<u64>,
    many: RoaringBitmap,
    exact: bool,
}

impl Union {
    /// This many slots are sorted in a tenth of a millisecond.
    const FEW_MAX: usize = 4_096;

    pub(super) fn add_slot(&mut self, slot: u32) {
        self.few.push(slot);
    }

    fn slots(&mut self, slots: &[u32], budget: &mut WorkBudget) -> Option<()> {
        self.few.extend(slots);
        if self.few.len() < Self::FEW_MAX {
            return Some(());
        }
        let last = self.few.iter().max().map_or(0, |slot| *slot as usize / 64);
        if last >= self.bits.len() {
            // They are zeroed now, and read once.
            budget.spend_on_bits(u32::try_from(64 * (last - self.bits.len())).ok())?;
            self.bits.resize(last + 1, 0);
        }
        for slot in self.few.drain(..) {
            self.bits[slot as usize / 64] |= 1 << (slot % 64);
        }
        Some(())
    }

    pub(super) fn add_posting(&mut self, posting: &Posting, budget: &mut WorkBudget) -> Option<()> {
        match posting {
            Posting::One(slot) => {
                budget.spend(1)?;
                self.slots(std::slice::from_ref(slot), budget)?;
            }
            Posting::Few(slots) => {
                budget.spend_on_list(slots.len())?;
                self.slots(slots, budget)?;
            }
            Posting::Many(slots) => self.add_bitmap(slots, budget)?,
        }
        Some(())
    }

    /// Adds slots that match.
    pub(super) fn add_bitmap(&mut self, slots: &RoaringBitmap, budget: &mut WorkBudget) -> Option<()> {
        if !slots.is_empty() {
            budget.spend_on_bitmap(slots)?;
            self.many |= slots;
        }
        Some(())
    }

    /// Adds slots that may match.
    pub(super) fn add_inexact(&mut self, slots: &RoaringBitmap, budget: &mut WorkBudget) -> Option<()> {
        self.exact &= slots.is_empty();
        self.add_bitmap(slots, budget)
    }

    pub(super) fn add_candidates(&mut self, candidates: Candidates) {
        self.exact &= candidates.exact;
        self.many |= candidates.slots;
    }

    pub(super) fn finish(mut self) -> Candidates {
        self.few.sort_unstable();
        self.few.dedup();
        self.many |= self.few.into_iter().collect::<RoaringBitmap>();
        if !self.bits.is_empty() {
            let bytes: Vec<u8> = self.bits.into_iter().flat_map(u64::to_le_bytes).collect();
            self.many |= RoaringBitmap::from_lsb0_bytes(0, &bytes);
        }
        Candidates { slots: self.many, exact: self.exact }
    }
}
