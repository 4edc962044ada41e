//! The slots of one value.

use roaring::RoaringBitmap;

/// As many are kept in a plain list, which takes less room than a bitmap.
const FEW_MAX: usize = 64;
/// A bitmap with no more than this becomes a list again.
const FEW_AGAIN: u64 = 16;

/// At least one slot. Most values of most payloads are in few.
#[derive(Clone, Debug)]
pub(super) enum Posting {
    One(u32),
    /// In order.
    Few(Vec<u32>),
    // Boxed, so that the others are not as large.
    Many(Box<RoaringBitmap>),
}

impl Posting {
    pub(super) fn insert(&mut self, slot: u32) {
        match self {
            Self::One(only) if *only == slot => {}
            Self::One(only) => *self = Self::Few(vec![slot.min(*only), slot.max(*only)]),
            Self::Few(slots) => {
                let Err(at) = slots.binary_search(&slot) else { return };
                slots.insert(at, slot);
                if slots.len() > FEW_MAX {
                    *self = Self::Many(Box::new(slots.iter().copied().collect()));
                }
            }
            Self::Many(slots) => {
                slots.insert(slot);
            }
        }
    }

    /// Whether none is left, and the posting is to be dropped.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::One(only) => return *only == slot,
            Self::Few(slots) => {
                if let Ok(at) = slots.binary_search(&slot) {
                    slots.remove(at);
                }
                if let [only] = **slots {
                    *self = Self::One(only);
                }
            }
            Self::Many(slots) => {
                slots.remove(slot);
                if slots.len() <= FEW_AGAIN {
                    *self = Self::Few(slots.iter().collect());
                }
            }
        }
        false
    }
}
