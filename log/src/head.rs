//! The head file: the last acknowledged record.
//!
//! sled may lose records silently (see [`crate::storage::SledStorage`]), so it cannot tell whether records are missing.
//! Therefore the head is written to a separate file after every sync. Writes alternate between two slots, so that a
//! torn write leaves the other slot valid. If recovery finds fewer records than the head states, the log is damaged.

use crate::damage::{Damage, DamageKind};
use crate::position::{ChainHash, Head, Seq};

/// The size of the head file: two slots, each in a block of its own, so that no write touches both.
pub(crate) const HEAD_FILE_BYTES: usize = 2 * SLOT_STRIDE;
/// The distance between the slots.
pub(crate) const SLOT_STRIDE: usize = 4096;
/// The size of a slot.
pub const SLOT_BYTES: usize = CHECKSUM_AT + 4;

const MAGIC: [u8; 4] = *b"VLH1";
const SEQ_AT: usize = MAGIC.len();
const CHAIN_AT: usize = SEQ_AT + 8;
const CHECKSUM_AT: usize = CHAIN_AT + 32;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// At the start of the file.
    First,
    /// One stride later.
    Second,
}

impl Slot {
    /// The offset of the slot in the file.
    pub const fn offset(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => SLOT_STRIDE,
        }
    }

    /// The slot to write after this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The bytes of a slot that holds `head`.
pub(crate) fn encode(head: &Head) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..SEQ_AT].copy_from_slice(&MAGIC);
    slot[SEQ_AT..CHAIN_AT].copy_from_slice(&head.seq.get().to_le_bytes());
    slot[CHAIN_AT..CHECKSUM_AT].copy_from_slice(head.chain.as_bytes());
    let checksum = crc32fast::hash(&slot[..CHECKSUM_AT]);
    slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    slot
}

/// The newest head in a head file, and the slot that holds it. `None` if neither slot is valid.
pub(crate) fn decode(file: &[u8]) -> Option<(Head, Slot)> {
    [Slot::First, Slot::Second]
        .into_iter()
        .filter_map(|slot| decode_slot(file.get(slot.offset()..)?).map(|head| (head, slot)))
        .max_by_key(|(head, _)| head.seq)
}

/// Like [`decode`], with damage if neither slot is valid.
pub(crate) fn acknowledged(file: &[u8]) -> Result<(Head, Slot), Damage> {
    decode(file).ok_or(Damage { seq: Seq::OLDEST, kind: DamageKind::Head })
}

/// The invalid slots. A slot of zeros is empty, and not invalid.
pub(crate) fn unreadable_slots(file: &[u8]) -> Vec<Slot> {
    [Slot::First, Slot::Second]
        .into_iter()
        .filter(|slot| {
            file.get(slot.offset()..)
                .and_then(|rest| rest.get(..SLOT_BYTES))
                .is_none_or(|bytes| decode_slot(bytes).is_none() && bytes.iter().any(|byte| *byte != 0))
        })
        .collect()
}

fn decode_slot(bytes: &[u8]) -> Option<Head> {
    let slot = bytes.get(..SLOT_BYTES)?;
    let number = |at: usize| slot[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    if slot[..SEQ_AT] != MAGIC || slot[CHECKSUM_AT..] != crc32fast::hash(&slot[..CHECKSUM_AT]).to_le_bytes() {
        return None;
    }
    let chain = slot[CHAIN_AT..CHECKSUM_AT].try_into().ok()?;
    Some(Head { seq: Seq::new(number(SEQ_AT)?), chain: ChainHash::from_bytes(chain) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64) -> Head {
        Head { seq: Seq::new(seq), chain: ChainHash::from_bytes([u8::try_from(seq).unwrap(); 32]) }
    }

    fn file(first: Option<Head>, second: Option<Head>) -> Vec<u8> {
        let mut file = vec![0; HEAD_FILE_BYTES];
        for (slot, head) in [(Slot::First, first), (Slot::Second, second)] {
            if let Some(head) = head {
                file[slot.offset()..][..SLOT_BYTES].copy_from_slice(&encode(&head));
            }
        }
        file
    }

    #[test]
    fn the_newer_slot_is_the_head() {
        assert_eq!(decode(&file(Some(head(4)), Some(head(5)))), Some((head(5), Slot::Second)));
        assert_eq!(decode(&file(Some(head(6)), Some(head(5)))), Some((head(6), Slot::First)));
        assert_eq!(decode(&file(None, None)), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn a_torn_slot_leaves_the_other_one() {
        let whole = file(Some(head(4)), Some(head(5)));
        for at in 0..SLOT_BYTES {
            let mut torn = whole.clone();
            torn[SLOT_STRIDE + at] ^= 1;
            assert_eq!(decode(&torn), Some((head(4), Slot::First)), "byte {at}");
            assert_eq!(unreadable_slots(&torn), [Slot::Second]);
        }
        assert!(unreadable_slots(&whole).is_empty());
        assert!(unreadable_slots(&file(Some(head(0)), None)).is_empty());
    }
}
