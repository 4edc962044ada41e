//! Where points lie in memory: numbered slots in append-only blocks.
//!
//! A point is written to the next free slot and stays there; replacing it takes a new slot and
//! empties the old one, deleting it empties its slot. Emptied slots keep their vector's bytes until
//! the whole is compacted, which happens when they outnumber the points.
//!
//! Everything is behind `Arc`s and changed with [`Arc::make_mut`]: cloning [`Slots`] is cheap, and
//! whoever holds a clone sees it unchanged for ever. A writer copies a block only while a reader
//! holds it: the list of its entries, and its vectors only if it is the block written to.

use std::sync::Arc;

use vectorizer_log::{Dimension, Metric, Payload, PointId};

use super::distance::inverse_norm;
use super::prefetch::prefetch;

/// The numbers in a block, about: 512 KiB of f32. Large enough for a scan to stream, small enough
/// to copy while a reader holds it.
const BLOCK_NUMBERS: usize = 128 * 1024;
/// No block has more slots than this, however small its vectors.
const BLOCK_SLOTS_MAX: usize = 1024;
/// Nor fewer than this, however large.
const BLOCK_SLOTS_MIN: usize = 16;
/// Fewer emptied slots than this are never worth a compaction.
const COMPACTION_EMPTIED_MIN: usize = 1024;

/// A place for one point. Valid until the next compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// What a slot holds beside its vector.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Arc<PointId>,
    pub(super) payload: Option<Payload>,
}

/// A run of slots with their vectors side by side.
#[derive(Clone, Debug)]
pub(super) struct Block {
    dimension: usize,
    /// Slot after slot. Shared apart from the rest, so that emptying a slot copies no vector.
    vectors: Arc<Vec<f32>>,
    /// One for each slot under cosine, none otherwise.
    inverse_norms: Vec<f32>,
    /// `None` for an emptied slot.
    entries: Vec<Option<Arc<Entry>>>,
}

/// All slots of a collection. A clone is a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    dimension: Dimension,
    metric: Metric,
    /// Slots in a full block.
    block_len: usize,
    /// All full but the last.
    blocks: Arc<Vec<Arc<Block>>>,
    live: usize,
    emptied: usize,
}

/// Where a compaction moved each slot.
#[derive(Debug)]
pub(super) struct Moved(Vec<Slot>);

impl Slot {
    #[expect(clippy::cast_possible_truncation, reason = "2^32 points and their vectors fit in no memory")]
    pub(super) fn number(self) -> u32 {
        self.0 as u32
    }
}

impl Moved {
    /// No point lay here, so nothing will ask for its new place.
    const NOWHERE: Slot = Slot(usize::MAX);

    /// The new place of a slot that held a point.
    pub(super) fn of(&self, slot: Slot) -> Slot {
        self.0[slot.0]
    }

    /// The new number of a slot, if it held a point.
    pub(super) fn number(&self, number: usize) -> Option<usize> {
        self.0.get(number).filter(|slot| **slot != Self::NOWHERE).map(|slot| slot.0)
    }
}

/// A point as a collection holds it: nothing is copied, and it stays as it is while the collection
/// goes on.
#[derive(Clone, Debug)]
pub struct StoredPoint {
    entry: Arc<Entry>,
    vectors: Arc<Vec<f32>>,
    start: usize,
    dimension: usize,
}

impl StoredPoint {
    /// Its id.
    pub fn id(&self) -> &PointId {
        &self.entry.id
    }

    /// Its vector, bit for bit as it was sent.
    pub fn vector(&self) -> &[f32] {
        &self.vectors[self.start..self.start + self.dimension]
    }

    /// Its payload.
    pub fn payload(&self) -> Option<&Payload> {
        self.entry.payload.as_ref()
    }
}

impl Block {
    fn new(dimension: usize) -> Self {
        Self { dimension, vectors: Arc::default(), inverse_norms: Vec::new(), entries: Vec::new() }
    }

    /// The entries of its slots, in order; `None` for an emptied one.
    pub(super) fn entries(&self) -> &[Option<Arc<Entry>>] {
        &self.entries
    }

    /// The vector of the slot at `offset`.
    pub(super) fn vector(&self, offset: usize) -> &[f32] {
        &self.vectors[offset * self.dimension..(offset + 1) * self.dimension]
    }

    /// Brings the vector of the slot at `offset` closer.
    #[inline]
    pub(super) fn prefetch(&self, offset: usize) {
        prefetch(self.vector(offset));
    }

    /// The slot's [`inverse_norm`]; only under cosine.
    pub(super) fn inverse_norm(&self, offset: usize) -> f32 {
        self.inverse_norms[offset]
    }

    /// The point at `offset`, unless that slot was emptied.
    pub(super) fn point(&self, offset: usize) -> Option<StoredPoint> {
        let entry = Arc::clone(self.entries.get(offset)?.as_ref()?);
        let start = offset * self.dimension;
        Some(StoredPoint { entry, vectors: Arc::clone(&self.vectors), start, dimension: self.dimension })
    }

    fn push(&mut self, vector: &[f32], inverse_norm: Option<f32>, entry: Arc<Entry>, slots_max: usize) {
        let vectors = Arc::make_mut(&mut self.vectors);
        // Doubles like any `Vec`, but never beyond what the block will hold.
        if vectors.capacity() - vectors.len() < vector.len() {
            let grown = (vectors.len() * 2).clamp(vector.len(), slots_max * self.dimension);
            vectors.reserve_exact(grown - vectors.len());
        }
        vectors.extend_from_slice(vector);
        self.inverse_norms.extend(inverse_norm);
        self.entries.push(Some(entry));
    }
}

impl Slots {
    pub(super) fn new(dimension: Dimension, metric: Metric) -> Self {
        let block_len = (BLOCK_NUMBERS / dimension.get()).clamp(BLOCK_SLOTS_MIN, BLOCK_SLOTS_MAX);
        Self { dimension, metric, block_len, blocks: Arc::default(), live: 0, emptied: 0 }
    }

    pub(super) fn dimension(&self) -> Dimension {
        self.dimension
    }

    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    /// How many slots hold a point.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn block_len(&self) -> usize {
        self.block_len
    }

    pub(super) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// How many slots there are, emptied ones too.
    pub(super) fn len(&self) -> usize {
        self.live + self.emptied
    }

    /// Whether any slot was emptied since the last compaction.
    pub(super) fn has_emptied(&self) -> bool {
        self.emptied > 0
    }

    /// The block that holds the slot of this number, and where in it.
    #[inline]
    pub(super) fn at(&self, number: usize) -> (&Block, usize) {
        (&self.blocks[number / self.block_len], number % self.block_len)
    }

    pub(super) fn entry(&self, slot: Slot) -> Option<&Arc<Entry>> {
        let (block, offset) = self.place(slot);
        self.blocks.get(block)?.entries.get(offset)?.as_ref()
    }

    pub(super) fn point(&self, slot: Slot) -> Option<StoredPoint> {
        let (block, offset) = self.place(slot);
        self.blocks.get(block)?.point(offset)
    }

    /// Puts a point of the collection's dimension into the next slot.
    pub(super) fn push(&mut self, vector: &[f32], id: Arc<PointId>, payload: Option<Payload>) -> Slot {
        let norm = match self.metric {
            Metric::Cosine => Some(inverse_norm(vector)),
            Metric::Dot | Metric::Euclidean => None,
        };
        self.push_entry(vector, norm, Arc::new(Entry { id, payload }))
    }

    fn push_entry(&mut self, vector: &[f32], inverse_norm: Option<f32>, entry: Arc<Entry>) -> Slot {
        let slot = Slot(self.live + self.emptied);
        let (block, _) = self.place(slot);
        let blocks = Arc::make_mut(&mut self.blocks);
        if block == blocks.len() {
            blocks.push(Arc::new(Block::new(self.dimension.get())));
        }
        Arc::make_mut(&mut blocks[block]).push(vector, inverse_norm, entry, self.block_len);
        self.live += 1;
        slot
    }

    /// Empties a slot that holds a point; says what it held.
    pub(super) fn bury(&mut self, slot: Slot) -> Option<Arc<Entry>> {
        let buried = self.entry_mut(slot).take()?;
        self.live -= 1;
        self.emptied += 1;
        Some(buried)
    }

    /// Gives the point in `slot`, whose id is `id`, another payload; says what it was.
    pub(super) fn set_payload(
        &mut self,
        slot: Slot,
        id: Arc<PointId>,
        payload: Payload,
    ) -> Option<Arc<Entry>> {
        self.entry_mut(slot).replace(Arc::new(Entry { id, payload: Some(payload) }))
    }

    /// Whether these are the same slots as of the same moment. Whoever holds a clone can be sure of it:
    /// no write changes in place what somebody else holds.
    pub(super) fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.blocks, &other.blocks)
    }

    /// Whether emptied slots outnumber points, and are many.
    pub(super) fn wants_compaction(&self) -> bool {
        self.emptied >= COMPACTION_EMPTIED_MIN && self.emptied > self.live
    }

    /// All points together, in their order. Takes time in proportion to them, which the writes that
    /// emptied as many slots have paid for.
    pub(super) fn compacted(&self) -> (Self, Moved) {
        let mut compacted = Self::new(self.dimension, self.metric);
        let mut moved = Vec::with_capacity(self.live + self.emptied);
        for block in self.blocks.iter() {
            for (offset, entry) in block.entries.iter().enumerate() {
                moved.push(match entry {
                    Some(entry) => {
                        let norm = block.inverse_norms.get(offset).copied();
                        compacted.push_entry(block.vector(offset), norm, Arc::clone(entry))
                    }
                    None => Moved::NOWHERE,
                });
            }
        }
        (compacted, Moved(moved))
    }

    /// Brings a compaction of what these slots were at an earlier time, `then`, up to what they are now.
    /// Tells `changed` of each slot in it what it held and what it holds.
    pub(super) fn catch_up(
        &self,
        then: &Self,
        compacted: &mut Self,
        moved: &mut Moved,
        mut changed: impl FnMut(Slot, Option<&Entry>, Option<&Entry>),
    ) {
        for (index, (now, then)) in self.blocks.iter().zip(then.blocks.iter()).enumerate() {
            if Arc::ptr_eq(now, then) {
                continue;
            }
            for (offset, (now, then)) in now.entries.iter().zip(&then.entries).enumerate() {
                let Some(then) = then else { continue };
                if now.as_ref().is_some_and(|now| Arc::ptr_eq(now, then)) {
                    continue;
                }
                let slot = moved.0[index * self.block_len + offset];
                match now {
                    Some(now) => *compacted.entry_mut(slot) = Some(Arc::clone(now)),
                    None => drop(compacted.bury(slot)),
                }
                changed(slot, Some(then), now.as_deref());
            }
        }
        for number in then.len()..self.len() {
            let (block, offset) = self.at(number);
            moved.0.push(match &block.entries[offset] {
                Some(entry) => {
                    let norm = block.inverse_norms.get(offset).copied();
                    let slot = compacted.push_entry(block.vector(offset), norm, Arc::clone(entry));
                    changed(slot, None, Some(entry));
                    slot
                }
                None => Moved::NOWHERE,
            });
        }
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Option<Arc<Entry>> {
        let (block, offset) = self.place(slot);
        let blocks = Arc::make_mut(&mut self.blocks);
        &mut Arc::make_mut(&mut blocks[block]).entries[offset]
    }

    fn place(&self, slot: Slot) -> (usize, usize) {
        (slot.0 / self.block_len, slot.0 % self.block_len)
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
