//! Where points lie in memory: numbered slots in append-only blocks.
//!
//! A point is written to the next free slot and stays there; replacing it takes a new slot and
//! empties the old one, deleting it empties its slot. Emptied slots keep their vector's bytes until
//! the whole is compacted, which happens when they outnumber the points.
//!
//! Everything is behind `Arc`s and changed with [`Arc::make_mut`]: cloning [`Slots`] is cheap, and
//! whoever holds a clone sees it unchanged for ever. A writer copies a block only while a reader
//! holds it: which of its slots hold a point and with what payload, and its vectors and ids only if it is
//! the block written to.
//!
//! A point costs its numbers, its norm, the bytes of its id, four to say where they end and one to say that
//! it is there; whatever is kept apart for a single point would cost more than all that is kept of it.

mod stored;

use std::sync::Arc;

use vectorizer_log::{Metric, Payload, PointId, Text, VectorParameters};

use super::distance::inverse_norm;
use super::graph::LinkingStopped;
use super::prefetch::prefetch;
use crate::memory::{is_large, list, shared};

/// The numbers in a block, about: 512 KiB of f32. Large enough for a scan to stream, small enough
/// to copy while a reader holds it.
const BLOCK_NUMBERS: usize = 128 * 1024;
/// No block has more slots than this, however small its vectors.
const BLOCK_SLOTS_MAX: usize = 1024;
/// Nor fewer than this, however large.
const BLOCK_SLOTS_MIN: usize = 16;
/// Fewer emptied slots than this are never worth a compaction.
const COMPACTION_EMPTIED_MIN: usize = 1024;

/// This many times as many emptied slots as points wait no longer for whoever compacts behind the scenes.
const OVERDUE: usize = 8;

/// A place for one point. Valid until the next compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// The texts of ids, one behind the other.
#[derive(Clone, Debug, Default)]
struct Texts {
    all: String,
    /// Where each ends.
    ends: Vec<u32>,
}

/// A run of slots with their vectors side by side.
#[derive(Clone, Debug)]
pub(super) struct Block {
    dimension: usize,
    /// Slot after slot. Shared apart from the rest, so that emptying a slot copies no vector.
    vectors: Arc<Vec<f32>>,
    /// One for each slot under cosine, none otherwise.
    inverse_norms: Vec<f32>,
    /// Slot after slot, shared like the vectors.
    ids: Arc<Texts>,
    /// Whether each slot holds a point, rather than being emptied.
    live: Vec<bool>,
    /// As far as the last slot that has had one: points without payloads take no room here.
    payloads: Vec<Option<Payload>>,
    /// The same of texts.
    texts: Vec<Option<Text>>,
    /// What these payloads and texts take beside their places.
    held_bytes: usize,
}

/// A slot that holds a point, and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    block: &'a Block,
    offset: usize,
}

/// All slots of a collection. A clone is a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// Zero if points have no vectors.
    dimension: usize,
    metric: Metric,
    /// Slots in a full block.
    block_len: usize,
    /// All full but the last.
    blocks: Arc<Vec<Arc<Block>>>,
    live: usize,
    emptied: usize,
    /// What all blocks take.
    blocks_bytes: usize,
}

/// Where a compaction moved each slot.
#[derive(Debug)]
pub(super) struct Moved(Vec<Slot>);

impl Slot {
    #[expect(clippy::cast_possible_truncation, reason = "2^32 points and their vectors fit in no memory")]
    fn of(number: usize) -> Self {
        Self(number as u32)
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

impl Moved {
    /// No point lay here, so nothing will ask for its new place.
    const NOWHERE: Slot = Slot(u32::MAX);

    /// The new place of a slot that held a point.
    pub(super) fn of(&self, slot: Slot) -> Slot {
        self.0[slot.0 as usize]
    }

    /// The new number of a slot, if it held a point.
    pub(super) fn number(&self, number: u32) -> Option<u32> {
        self.0.get(number as usize).filter(|slot| **slot != Self::NOWHERE).map(|slot| slot.0)
    }
}

/// A point as a collection holds it: nothing is copied, and it stays as it is while the collection
/// goes on.
#[derive(Clone, Debug)]
pub struct StoredPoint {
    vectors: Arc<Vec<f32>>,
    ids: Arc<Texts>,
    payload: Option<Payload>,
    text: Option<Text>,
    offset: usize,
    dimension: usize,
}

impl StoredPoint {
    /// The text of its id.
    pub fn id(&self) -> &str {
        self.ids.get(self.offset)
    }

    /// Its vector, bit for bit as it was sent; empty in a collection without vectors.
    pub fn vector(&self) -> &[f32] {
        &self.vectors[self.offset * self.dimension..][..self.dimension]
    }

    /// Its payload.
    pub fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// Its text.
    pub fn text(&self) -> Option<&Text> {
        self.text.as_ref()
    }
}

impl Texts {
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

impl<'a> Entry<'a> {
    /// The text of the point's id.
    pub(super) fn id(self) -> &'a str {
        self.block.ids.get(self.offset)
    }

    pub(super) fn payload(self) -> Option<&'a Payload> {
        self.block.payload(self.offset)
    }

    pub(super) fn text(self) -> Option<&'a Text> {
        self.block.texts.get(self.offset)?.as_ref()
    }

    pub(super) fn point(self) -> StoredPoint {
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

    /// What its slots hold, in order; `None` for an emptied one.
    pub(super) fn entries(&self) -> impl Iterator<Item = Option<Entry<'_>>> {
        self.live.iter().enumerate().map(|(offset, live)| live.then_some(Entry { block: self, offset }))
    }

    /// What the slot at `offset` holds, unless it was emptied.
    #[inline]
    pub(super) fn entry(&self, offset: usize) -> Option<Entry<'_>> {
        self.live.get(offset)?.then_some(Entry { block: self, offset })
    }

    fn payload(&self, offset: usize) -> Option<&Payload> {
        self.payloads.get(offset)?.as_ref()
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

    fn push(
        &mut self,
        vector: &[f32],
        inverse_norm: Option<f32>,
        id: &str,
        (payload, text): (Option<Payload>, Option<Text>),
        slots_max: usize,
    ) {
        let vectors = Arc::make_mut(&mut self.vectors);
        // Doubles like any `Vec`, but never beyond what the block will hold.
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
        // Nothing follows in a full one.
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

    /// How much of the heap it takes.
    fn memory_bytes(&self) -> usize {
        let vectors = shared(size_of::<Vec<f32>>()) + list::<f32>(self.vectors.capacity());
        let ids = list::<u8>(self.ids.all.capacity()) + list::<u32>(self.ids.ends.capacity());
        let norms = list::<f32>(self.inverse_norms.capacity());
        let places = list::<Option<Payload>>(self.payloads.capacity())
            + list::<Option<Text>>(self.texts.capacity())
            + list::<bool>(self.live.capacity());
        shared(size_of::<Self>())
            + vectors
            + shared(size_of::<Texts>())
            + ids
            + norms
            + places
            + self.held_bytes
    }
}

/// What a payload takes beside its place.
fn payload_bytes(payload: &Payload) -> usize {
    shared(payload.as_str().len())
}

fn text_bytes(text: &Text) -> usize {
    shared(text.as_str().len())
}

/// Puts something, or nothing, at `offset` of what only reaches as far as there is something. Says what was there.
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
        Self { dimension, metric, block_len, blocks: Arc::default(), live: 0, emptied: 0, blocks_bytes: 0 }
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

    /// What the slot holds, unless it was emptied.
    pub(super) fn entry(&self, slot: Slot) -> Option<Entry<'_>> {
        let (block, offset) = self.place(slot);
        self.blocks.get(block)?.entry(offset)
    }

    /// The text of the id of the point that the slot holds, or held before it was emptied.
    #[inline]
    pub(super) fn id(&self, slot: Slot) -> &str {
        let (block, offset) = self.at(slot.0 as usize);
        block.ids.get(offset)
    }

    /// Puts a point of the collection's dimension into the next slot.
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

    fn push_entry(&mut self, entry: Entry<'_>) -> Slot {
        let Entry { block, offset } = entry;
        let norm = block.inverse_norms.get(offset).copied();
        self.push_with(
            block.vector(offset),
            norm,
            entry.id(),
            (entry.payload().cloned(), entry.text().cloned()),
        )
    }

    /// Empties a slot if it holds a point. Its id and its vector stay readable for whoever passes over it.
    pub(super) fn bury(&mut self, slot: Slot) {
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
            self.emptied += 1;
        }
    }

    /// Gives the point in `slot` another payload.
    pub(super) fn set_payload(&mut self, slot: Slot, payload: Option<Payload>) {
        let (block, offset) = self.place(slot);
        self.change(block, |block| block.set_payload(offset, payload));
    }

    /// Whether these are the same slots as of the same moment. Whoever holds a clone can be sure of it:
    /// no write changes in place what somebody else holds.
    pub(super) fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.blocks, &other.blocks)
    }

    /// The slot of this number, if it holds a point.
    pub(super) fn holds(&self, number: u32) -> Option<Slot> {
        let slot = Slot(number);
        self.entry(slot).map(|_| slot)
    }

    /// The numbers of the slots that hold a point, in the order of ids.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let entries = self.blocks.iter().flat_map(|block| block.entries());
        let mut order: Vec<(&str, u32)> =
            (0..).zip(entries).filter_map(|(number, entry)| Some((entry?.id(), number))).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, number)| number).collect()
    }

    /// Whether emptied slots outnumber points, and are many.
    pub(super) fn wants_compaction(&self) -> bool {
        self.emptied >= COMPACTION_EMPTIED_MIN && self.emptied > self.live
    }

    /// Whether nobody has compacted them for long.
    pub(super) fn is_overdue(&self) -> bool {
        self.emptied > OVERDUE * self.live.max(COMPACTION_EMPTIED_MIN)
    }

    /// All points together, in their order. Takes time in proportion to them, which the writes that
    /// emptied as many slots have paid for. Asks `stop` between two blocks.
    pub(super) fn compacted(&self, stop: &impl Fn() -> bool) -> Result<(Self, Moved), LinkingStopped> {
        let mut compacted = Self::new(self.dimension, self.metric);
        let mut moved = Vec::with_capacity(self.len());
        for block in self.blocks.iter() {
            LinkingStopped::if_asked(stop)?;
            for entry in block.entries() {
                moved.push(entry.map_or(Moved::NOWHERE, |entry| compacted.push_entry(entry)));
            }
        }
        Ok((compacted, Moved(moved)))
    }

    /// Tells `changed` of each slot that has changed since these were `then`, at an earlier time, what it held and what
    /// it holds; and of each that is new.
    pub(super) fn changes_since(
        &self,
        then: &Self,
        mut changed: impl FnMut(usize, Option<Entry<'_>>, Option<Entry<'_>>),
    ) {
        for (index, (now, then)) in self.blocks.iter().zip(then.blocks.iter()).enumerate() {
            if Arc::ptr_eq(now, then) {
                continue;
            }
            for (offset, then) in then.entries().enumerate() {
                let Some(then) = then else { continue };
                let now = now.entry(offset);
                // The same one is told by its place, without looking at it.
                if now.is_none_or(|now| now.payload() != then.payload()) {
                    changed(index * self.block_len + offset, Some(then), now);
                }
            }
        }
        for number in then.len()..self.len() {
            let (block, offset) = self.at(number);
            changed(number, None, block.entry(offset));
        }
    }

    /// Brings a compaction of what these slots were at an earlier time, `then`, up to what they are now.
    /// Tells `changed` of each slot in it what it held and what it holds.
    pub(super) fn catch_up(
        &self,
        then: &Self,
        compacted: &mut Self,
        moved: &mut Moved,
        mut changed: impl FnMut(Slot, Option<Entry<'_>>, Option<Entry<'_>>),
    ) {
        self.changes_since(then, |number, before, after| match (before, after) {
            (Some(_), after) => {
                let slot = moved.0[number];
                match after {
                    Some(after) => compacted.set_payload(slot, after.payload().cloned()),
                    None => compacted.bury(slot),
                }
                changed(slot, before, after);
            }
            (None, Some(after)) => {
                let slot = compacted.push_entry(after);
                changed(slot, None, Some(after));
                moved.0.push(slot);
            }
            (None, None) => moved.0.push(Moved::NOWHERE),
        });
    }

    /// Changes the block, a copy of it if somebody holds it.
    fn change<T>(&mut self, block: usize, change: impl FnOnce(&mut Block) -> T) -> T {
        let block = &mut Arc::make_mut(&mut self.blocks)[block];
        // A copy may have less room than what it is of.
        let before = block.memory_bytes();
        let block = Arc::make_mut(block);
        let changed = change(block);
        self.blocks_bytes = self.blocks_bytes + block.memory_bytes() - before;
        changed
    }

    /// What the vectors of full blocks take, if each block has pages of its own.
    pub(super) fn large_bytes(&self) -> usize {
        let vectors = list::<f32>(self.block_len * self.dimension);
        if is_large(vectors) { self.blocks.len().saturating_sub(1) * vectors } else { 0 }
    }

    /// How much of the heap they take, with all that is not shared with a snapshot any more. Costs nothing to ask.
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
