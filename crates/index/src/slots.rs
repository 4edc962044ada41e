//! The points of a collection in memory: numbered slots in append-only blocks.
//!
//! A point is written to the next free slot and stays there. Replacing a point takes a new slot and deletes the old
//! one. A deleted slot keeps the bytes of its vector and its id until the next compaction. A compaction is due when
//! there are more deleted slots than points.
//!
//! All data is behind `Arc`s and changed with [`Arc::make_mut`]: cloning [`Slots`] is cheap, and a clone never changes.
//! A writer copies a block only while a reader holds it. The copy has its own flags, payloads and texts. The vectors
//! and ids are copied only if the write appends to that block.
//!
//! A point costs the numbers of its vector, its norm, the bytes of its id, four bytes for the end of the id, and one
//! flag. A separate allocation for each point would cost more than all of these.

mod stored;

use std::sync::Arc;

use vectorizer_log::{Document, InvalidPoint, Metric, Payload, PointId, Text, Vector, VectorParameters};

use super::distance::inverse_norm;
use super::prefetch::prefetch;
use crate::interrupted::Interrupted;
use crate::memory::{is_large, list, shared};

/// About how many numbers a block holds: 512 KiB of `f32`. Large enough for a scan to stream, small enough to copy
/// while a reader holds it.
const BLOCK_NUMBERS: usize = 128 * 1024;
/// A block has at most this many slots, however short its vectors are.
const BLOCK_SLOTS_MAX: usize = 1024;
/// A block has at least this many slots, however long its vectors are.
const BLOCK_SLOTS_MIN: usize = 16;
/// With fewer deleted slots than this, a compaction costs more than it saves.
const COMPACTION_DELETED_MIN: usize = 1024;

/// With more than this many deleted slots for each point, the write itself compacts instead of a background task.
const OVERDUE_FACTOR: usize = 8;

/// The number of a slot. Valid until the next compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// Concatenated strings.
#[derive(Clone, Debug, Default)]
struct PackedStrings {
    all: String,
    /// The end of each string in `all`.
    ends: Vec<u32>,
}

/// A run of slots, with their vectors in one allocation.
#[derive(Clone, Debug)]
pub(super) struct Block {
    dimension: usize,
    /// In the order of slots. Behind a separate `Arc`, so that deleting a slot copies no vector.
    vectors: Arc<Vec<f32>>,
    /// One for each slot if the metric is cosine, otherwise empty.
    inverse_norms: Vec<f32>,
    /// In the order of slots. Behind a separate `Arc`, like the vectors.
    ids: Arc<PackedStrings>,
    /// Whether each slot holds a point; `false` if it was deleted.
    live: Vec<bool>,
    /// Ends at the last slot that ever had a payload, so a block without payloads takes no memory here.
    payloads: Vec<Option<Payload>>,
    /// Ends at the last slot that ever had a text.
    texts: Vec<Option<Text>>,
    /// The heap bytes of the payloads and texts, without the entries of the two lists.
    held_bytes: usize,
}

/// A slot that holds a point.
#[derive(Clone, Copy, Debug)]
pub(super) struct PointRef<'a> {
    block: &'a Block,
    offset: usize,
}

/// All slots of a collection. A clone is a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// Zero if points have no vectors.
    dimension: usize,
    metric: Metric,
    /// How many slots a full block has.
    block_len: usize,
    /// All blocks but the last are full.
    blocks: Arc<Vec<Arc<Block>>>,
    live: usize,
    deleted: usize,
    /// The heap bytes of all blocks.
    blocks_bytes: usize,
}

/// The new slot of each point after a compaction.
#[derive(Debug)]
pub(super) struct SlotMap(Vec<Slot>);

impl Slot {
    #[expect(clippy::cast_possible_truncation, reason = "2^32 points and their vectors fit in no memory")]
    fn of(number: usize) -> Self {
        Self(number as u32)
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

impl SlotMap {
    /// The entry of a deleted slot, which has no new slot.
    const NOWHERE: Slot = Slot(u32::MAX);

    /// The new slot of a point that was in `slot`.
    pub(super) fn of(&self, slot: Slot) -> Slot {
        self.0[slot.0 as usize]
    }

    /// The new number of a slot, or `None` if it was deleted.
    pub(super) fn number(&self, number: u32) -> Option<u32> {
        self.0.get(number as usize).filter(|slot| **slot != Self::NOWHERE).map(|slot| slot.0)
    }
}

/// A point of a collection. It shares the collection's memory and never changes.
#[derive(Clone, Debug)]
pub struct StoredPoint {
    vectors: Arc<Vec<f32>>,
    ids: Arc<PackedStrings>,
    payload: Option<Payload>,
    text: Option<Text>,
    offset: usize,
    dimension: usize,
}

impl StoredPoint {
    /// Its id.
    #[inline]
    pub fn id(&self) -> &str {
        self.ids.get(self.offset)
    }

    /// Its vector, bit for bit as it was written; empty in a collection without vectors.
    #[inline]
    pub fn vector(&self) -> &[f32] {
        &self.vectors[self.offset * self.dimension..][..self.dimension]
    }

    /// Its payload.
    #[inline]
    pub fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// Its text.
    #[inline]
    pub fn text(&self) -> Option<&Text> {
        self.text.as_ref()
    }

    /// The point as it is written to a base.
    ///
    /// # Errors
    ///
    /// None for a point that was written: its parts were valid then.
    pub(super) fn document(&self, has_vector: bool) -> Result<Document, InvalidPoint> {
        let vector = has_vector.then(|| Vector::dense(self.vector())).transpose()?;
        let (payload, text) = (self.payload.clone(), self.text.clone());
        Ok(Document { id: PointId::text(self.id())?, vector, payload, text })
    }
}

impl PackedStrings {
    fn get(&self, offset: usize) -> &str {
        let start = offset.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start as usize..self.ends[offset] as usize]
    }

    #[expect(clippy::cast_possible_truncation, reason = "a thousand ids of a few hundred bytes")]
    fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len() as u32);
    }
}

impl<'a> PointRef<'a> {
    /// The point's id.
    pub(super) fn id(self) -> &'a str {
        self.block.ids.get(self.offset)
    }

    pub(super) fn payload(self) -> Option<&'a Payload> {
        self.block.payload(self.offset)
    }

    pub(super) fn text(self) -> Option<&'a Text> {
        self.block.texts.get(self.offset)?.as_ref()
    }

    pub(super) fn stored(self) -> StoredPoint {
        let Self { block, offset } = self;
        let (vectors, ids) = (Arc::clone(&block.vectors), Arc::clone(&block.ids));
        let (payload, text) = (self.payload().cloned(), self.text().cloned());
        StoredPoint { vectors, ids, payload, text, offset, dimension: block.dimension }
    }
}

impl Block {
    fn new(dimension: usize) -> Self {
        Self {
            dimension,
            vectors: Arc::default(),
            inverse_norms: Vec::new(),
            ids: Arc::default(),
            live: Vec::new(),
            payloads: Vec::new(),
            texts: Vec::new(),
            held_bytes: 0,
        }
    }

    /// The points in its slots, in order; `None` for a deleted slot.
    pub(super) fn points(&self) -> impl Iterator<Item = Option<PointRef<'_>>> {
        self.live.iter().enumerate().map(|(offset, live)| live.then_some(PointRef { block: self, offset }))
    }

    /// The point in the slot at `offset`, unless it was deleted.
    #[inline]
    pub(super) fn point(&self, offset: usize) -> Option<PointRef<'_>> {
        self.live.get(offset)?.then_some(PointRef { block: self, offset })
    }

    fn payload(&self, offset: usize) -> Option<&Payload> {
        self.payloads.get(offset)?.as_ref()
    }

    /// The vector of the slot at `offset`, deleted or not.
    pub(super) fn vector(&self, offset: usize) -> &[f32] {
        &self.vectors[offset * self.dimension..(offset + 1) * self.dimension]
    }

    /// Prefetches the vector of the slot at `offset`.
    #[inline]
    pub(super) fn prefetch(&self, offset: usize) {
        prefetch(self.vector(offset));
    }

    /// The [`inverse_norm`] of the vector of the slot at `offset`. Must only be called if the metric is cosine.
    pub(super) fn inverse_norm(&self, offset: usize) -> f32 {
        self.inverse_norms[offset]
    }

    fn push(
        &mut self,
        vector: &[f32],
        inverse_norm: Option<f32>,
        id: &str,
        (payload, text): (Option<Payload>, Option<Text>),
        slots_max: usize,
    ) {
        let vectors = Arc::make_mut(&mut self.vectors);
        // The capacity doubles, as in any `Vec`, but never exceeds the length of a full block.
        if vectors.capacity() - vectors.len() < vector.len() {
            let grown = (vectors.len() * 2).clamp(vector.len(), slots_max * self.dimension);
            vectors.reserve_exact(grown - vectors.len());
        }
        vectors.extend_from_slice(vector);
        self.inverse_norms.extend(inverse_norm);
        self.set_payload(self.live.len(), payload);
        self.set_text(self.live.len(), text);
        self.live.push(true);
        let ids = Arc::make_mut(&mut self.ids);
        ids.push(id);
        // Nothing is appended to a full block.
        if self.live.len() == slots_max {
            ids.all.shrink_to_fit();
            ids.ends.shrink_to_fit();
            self.live.shrink_to_fit();
            self.inverse_norms.shrink_to_fit();
        }
    }

    fn set_payload(&mut self, offset: usize, payload: Option<Payload>) {
        self.held_bytes += payload.as_ref().map_or(0, payload_bytes);
        let replaced = set(&mut self.payloads, offset, payload);
        self.held_bytes -= replaced.as_ref().map_or(0, payload_bytes);
    }

    fn set_text(&mut self, offset: usize, text: Option<Text>) {
        self.held_bytes += text.as_ref().map_or(0, text_bytes);
        let replaced = set(&mut self.texts, offset, text);
        self.held_bytes -= replaced.as_ref().map_or(0, text_bytes);
    }

    /// The heap bytes.
    fn memory_bytes(&self) -> usize {
        let vectors = shared(size_of::<Vec<f32>>()) + list::<f32>(self.vectors.capacity());
        let ids = list::<u8>(self.ids.all.capacity()) + list::<u32>(self.ids.ends.capacity());
        let norms = list::<f32>(self.inverse_norms.capacity());
        let places = list::<Option<Payload>>(self.payloads.capacity())
            + list::<Option<Text>>(self.texts.capacity())
            + list::<bool>(self.live.capacity());
        shared(size_of::<Self>())
            + vectors
            + shared(size_of::<PackedStrings>())
            + ids
            + norms
            + places
            + self.held_bytes
    }
}

/// The heap bytes of a payload.
fn payload_bytes(payload: &Payload) -> usize {
    shared(payload.as_str().len())
}

fn text_bytes(text: &Text) -> usize {
    shared(text.as_str().len())
}

/// Sets the value at `offset` of a list that is only as long as its last value requires. Returns the previous value.
fn set<T: Clone>(all: &mut Vec<Option<T>>, offset: usize, value: Option<T>) -> Option<T> {
    if value.is_some() && all.len() <= offset {
        all.resize(offset + 1, None);
    }
    all.get_mut(offset).and_then(|place| std::mem::replace(place, value))
}

impl Slots {
    pub(super) fn of(vectors: Option<VectorParameters>) -> Self {
        vectors
            .map_or(Self::new(0, Metric::Dot), |vectors| Self::new(vectors.dimension.get(), vectors.metric))
    }

    pub(super) fn new(dimension: usize, metric: Metric) -> Self {
        let block_len = (BLOCK_NUMBERS / dimension.max(1)).clamp(BLOCK_SLOTS_MIN, BLOCK_SLOTS_MAX);
        Self { dimension, metric, block_len, blocks: Arc::default(), live: 0, deleted: 0, blocks_bytes: 0 }
    }

    /// Zero if points have no vectors.
    pub(super) fn dimension(&self) -> usize {
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

    /// How many slots there are, deleted ones included.
    pub(super) fn len(&self) -> usize {
        self.live + self.deleted
    }

    /// Whether any slot was deleted since the last compaction.
    pub(super) fn has_deleted(&self) -> bool {
        self.deleted > 0
    }

    /// The block that holds the slot of this number, and the offset of the slot in the block.
    #[inline]
    pub(super) fn at(&self, number: usize) -> (&Block, usize) {
        (&self.blocks[number / self.block_len], number % self.block_len)
    }

    /// The point in the slot, unless it was deleted.
    pub(super) fn point(&self, slot: Slot) -> Option<PointRef<'_>> {
        let (block, offset) = self.place(slot);
        self.blocks.get(block)?.point(offset)
    }

    /// The id of the point in the slot, or of the point that was deleted from it.
    #[inline]
    pub(super) fn id(&self, slot: Slot) -> &str {
        let (block, offset) = self.at(slot.0 as usize);
        block.ids.get(offset)
    }

    /// Appends a point. Its vector must have the collection's dimension.
    pub(super) fn push(
        &mut self,
        vector: &[f32],
        id: &PointId,
        payload: Option<Payload>,
        text: Option<Text>,
    ) -> Slot {
        let norm = match self.metric {
            Metric::Cosine => Some(inverse_norm(vector)),
            Metric::Dot | Metric::Euclidean => None,
        };
        self.push_with(vector, norm, id.as_str(), (payload, text))
    }

    fn push_with(
        &mut self,
        vector: &[f32],
        inverse_norm: Option<f32>,
        id: &str,
        payload_and_text: (Option<Payload>, Option<Text>),
    ) -> Slot {
        let slot = Slot::of(self.len());
        let (block, _) = self.place(slot);
        let blocks = Arc::make_mut(&mut self.blocks);
        if block == blocks.len() {
            let block = Block::new(self.dimension);
            self.blocks_bytes += block.memory_bytes();
            blocks.push(Arc::new(block));
        }
        let slots_max = self.block_len;
        self.change(block, |block| block.push(vector, inverse_norm, id, payload_and_text, slots_max));
        self.live += 1;
        slot
    }

    fn push_point(&mut self, point: PointRef<'_>) -> Slot {
        let PointRef { block, offset } = point;
        let norm = block.inverse_norms.get(offset).copied();
        self.push_with(
            block.vector(offset),
            norm,
            point.id(),
            (point.payload().cloned(), point.text().cloned()),
        )
    }

    /// Deletes the point in a slot, if it holds one. Its id and its vector stay readable for walks that pass over it.
    pub(super) fn delete(&mut self, slot: Slot) {
        let (block, offset) = self.place(slot);
        let was_live = self.change(block, |block| {
            let was_live = std::mem::take(&mut block.live[offset]);
            if was_live {
                block.set_payload(offset, None);
                block.set_text(offset, None);
            }
            was_live
        });
        if was_live {
            self.live -= 1;
            self.deleted += 1;
        }
    }

    /// Replaces the payload of the point in `slot`.
    pub(super) fn set_payload(&mut self, slot: Slot, payload: Option<Payload>) {
        let (block, offset) = self.place(slot);
        self.change(block, |block| block.set_payload(offset, payload));
    }

    /// Whether both are the same slots as of the same moment. Comparing pointers is enough: a write never changes data
    /// in place that a clone shares.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.blocks, &other.blocks)
    }

    /// The slot of this number, if it holds a point.
    pub(super) fn occupied(&self, number: u32) -> Option<Slot> {
        let slot = Slot(number);
        self.point(slot).map(|_| slot)
    }

    /// The numbers of the slots that hold a point, in the order of ids.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let entries = self.blocks.iter().flat_map(|block| block.points());
        let mut order: Vec<(&str, u32)> =
            (0..).zip(entries).filter_map(|(number, point)| Some((point?.id(), number))).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, number)| number).collect()
    }

    /// Whether there are many deleted slots, and more of them than points.
    pub(super) fn needs_compaction(&self) -> bool {
        self.deleted >= COMPACTION_DELETED_MIN && self.deleted > self.live
    }

    /// Whether a compaction is long overdue.
    pub(super) fn is_overdue(&self) -> bool {
        self.deleted > OVERDUE_FACTOR * self.live.max(COMPACTION_DELETED_MIN)
    }

    /// Copies all points to new slots without gaps, in the same order. Takes time proportional to the number of slots.
    /// At least half of them were deleted by writes since the last compaction, so the average time for each write is
    /// constant. Calls `stop` before each block.
    pub(super) fn compacted(&self, stop: &impl Fn() -> bool) -> Result<(Self, SlotMap), Interrupted> {
        let mut compacted = Self::new(self.dimension, self.metric);
        let mut slot_map = Vec::with_capacity(self.len());
        for block in self.blocks.iter() {
            Interrupted::check(stop)?;
            for point in block.points() {
                slot_map.push(point.map_or(SlotMap::NOWHERE, |point| compacted.push_point(point)));
            }
        }
        Ok((compacted, SlotMap(slot_map)))
    }

    /// Calls `changed` with the number, the earlier point and the current point of each slot that has changed since
    /// `then`, an earlier state of these slots, and of each slot that was appended.
    pub(super) fn changes_since(
        &self,
        then: &Self,
        mut changed: impl FnMut(usize, Option<PointRef<'_>>, Option<PointRef<'_>>),
    ) {
        for (index, (now, then)) in self.blocks.iter().zip(then.blocks.iter()).enumerate() {
            if Arc::ptr_eq(now, then) {
                continue;
            }
            for (offset, then) in then.points().enumerate() {
                let Some(then) = then else { continue };
                let now = now.point(offset);
                // An unchanged payload is the same allocation, so this compares pointers first.
                if now.is_none_or(|now| now.payload() != then.payload()) {
                    changed(index * self.block_len + offset, Some(then), now);
                }
            }
        }
        for number in then.len()..self.len() {
            let (block, offset) = self.at(number);
            changed(number, None, block.point(offset));
        }
    }

    /// Applies all changes since the earlier state `then` to `compacted`, a compaction of `then`. Calls `changed` with
    /// each slot of `compacted` that changes, its earlier point and its current point.
    pub(super) fn catch_up(
        &self,
        then: &Self,
        compacted: &mut Self,
        slot_map: &mut SlotMap,
        mut changed: impl FnMut(Slot, Option<PointRef<'_>>, Option<PointRef<'_>>),
    ) {
        self.changes_since(then, |number, before, after| match (before, after) {
            (Some(_), after) => {
                let slot = slot_map.0[number];
                match after {
                    Some(after) => compacted.set_payload(slot, after.payload().cloned()),
                    None => compacted.delete(slot),
                }
                changed(slot, before, after);
            }
            (None, Some(after)) => {
                let slot = compacted.push_point(after);
                changed(slot, None, Some(after));
                slot_map.0.push(slot);
            }
            (None, None) => slot_map.0.push(SlotMap::NOWHERE),
        });
    }

    /// Changes a block. If a reader holds the block, changes a copy and replaces the block by the copy.
    fn change<T>(&mut self, block: usize, change: impl FnOnce(&mut Block) -> T) -> T {
        let block = &mut Arc::make_mut(&mut self.blocks)[block];
        // A copy may have less spare capacity than its original.
        let before = block.memory_bytes();
        let block = Arc::make_mut(block);
        let changed = change(block);
        self.blocks_bytes = self.blocks_bytes + block.memory_bytes() - before;
        changed
    }

    /// The heap bytes of the vectors of full blocks, if these are large allocations.
    pub(super) fn large_bytes(&self) -> usize {
        let vectors = list::<f32>(self.block_len * self.dimension);
        if is_large(vectors) { self.blocks.len().saturating_sub(1) * vectors } else { 0 }
    }

    /// The heap bytes, without memory that only snapshots hold. Takes constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        list::<Arc<Block>>(self.blocks.capacity()) + self.blocks_bytes
    }

    fn place(&self, slot: Slot) -> (usize, usize) {
        let number = slot.0 as usize;
        (number / self.block_len, number % self.block_len)
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
