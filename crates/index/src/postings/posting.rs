//! The slots of one value.

use roaring::RoaringBitmap;

use super::bitmap::Bitmap;
use crate::memory::{allocated, list};

/// Up to this many slots are kept in a list, which takes less memory than a bitmap.
const FEW_MAX: usize = 64;
/// A bitmap with at most this many slots becomes a list again.
const FEW_AGAIN: u64 = 16;

/// The slots of one value: at least one. Most values of most payloads have few.
#[derive(Clone, Debug)]
pub(super) enum Posting {
    One(u32),
    /// In ascending order.
    Few(Vec<u32>),
    // Boxed, so that the other variants are not as large.
    Many(Box<Bitmap>),
}

/// The result of removing a slot from a posting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// It was not there.
    Nothing,
    /// Other slots remain.
    Slot,
    /// It was the only slot, and the posting is to be dropped.
    Last,
}

impl Posting {
    /// Adds a slot. Returns whether it is new.
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        match self {
            Self::One(only) if *only == slot => false,
            Self::One(only) => {
                *self = Self::Few(vec![slot.min(*only), slot.max(*only)]);
                true
            }
            Self::Few(slots) => {
                let Err(at) = slots.binary_search(&slot) else { return false };
                slots.insert(at, slot);
                if slots.len() > FEW_MAX {
                    *self = Self::Many(Box::new(slots.iter().copied().collect()));
                }
                true
            }
            Self::Many(slots) => slots.insert(slot),
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Removed {
        match self {
            Self::One(only) if *only == slot => Removed::Last,
            Self::One(_) => Removed::Nothing,
            Self::Few(slots) => {
                let Ok(at) = slots.binary_search(&slot) else { return Removed::Nothing };
                slots.remove(at);
                if let [only] = **slots {
                    *self = Self::One(only);
                }
                Removed::Slot
            }
            Self::Many(slots) => {
                if !slots.remove(slot) {
                    return Removed::Nothing;
                }
                if slots.len() <= FEW_AGAIN {
                    *self = Self::Few(slots.iter().collect());
                }
                Removed::Slot
            }
        }
    }

    /// The heap bytes without `Self`, in constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Few(slots) => list::<u32>(slots.capacity()),
            Self::Many(slots) => allocated(size_of::<Bitmap>()) + slots.memory_bytes(),
        }
    }

    /// Calls `visit` with each slot that is also in `slots`.
    pub(super) fn each_among(&self, slots: &RoaringBitmap, visit: &mut impl FnMut(u32)) {
        match self {
            Self::One(only) => std::iter::once(*only).filter(|slot| slots.contains(*slot)).for_each(visit),
            Self::Few(few) => few.iter().copied().filter(|slot| slots.contains(*slot)).for_each(visit),
            Self::Many(many) => (&***many & slots).into_iter().for_each(visit),
        }
    }
}
