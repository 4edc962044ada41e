//! One collection: its definition, and the indexes of its points.

mod stored;

use std::sync::Arc;

use vectorizer_log::{
    CollectionId, CollectionName, Dimension, IndexParameters, Metric, Payload, PayloadPath, PointId, Seq,
    TextParameters, Timestamp, Vector, VectorParameters, WrittenPoint, WrittenPoints, vector_logical_bytes,
};

use super::change::{Change, InvalidEvent};
use super::compaction::Compaction;
use super::filter::Filter;
use super::graph_cell::{CollectionGraph, UNLINKED_NUMBERS_MAX, UNSEARCHED_NUMBERS_MAX, vectors_of};
use super::ids::Ids;
use super::indexing::Indexing;
use super::matches::TextMatches;
use super::postings::{Indexes, PayloadIndex, Postings, WorkBudget};
use super::removed::Removed;
use super::selection::Selection;
use super::slots::{PointRef, Slot, SlotMap, Slots, StoredPoint};
use super::snapshot::Snapshot;
use super::texts;
use crate::memory::{HeapBytes, HeldBytes, allocated};
use crate::text::{TextIndex, TextIndexSize, TextQuery};
pub(super) use stored::{FrozenCollection, StoredCollection};

/// A write compacts at most this many logical bytes itself, which takes some milliseconds.
const INLINE_COMPACTION_BYTES_MAX: u64 = 1 << 20;

/// Named points with vectors of one dimension and metric, or with texts, or both.
#[derive(Clone, Debug)]
pub struct Collection {
    id: CollectionId,
    name: CollectionName,
    /// `None` if points have texts and no vectors.
    vectors: Option<VectorParameters>,
    created_at: Timestamp,
    last_change: Seq,
    logical_bytes: u64,
    /// Ordered by id. Pages and digests have the same order.
    ids: Ids,
    slots: Slots,
    /// Not part of snapshots: a writer would have to copy the postings for each snapshot.
    postings: Postings,
    /// `Some` if points may have texts. Not part of snapshots either: a text search copies the postings it reads.
    texts: Option<TextIndex>,
    /// The graph of the points in `slots`. Built once there are enough points.
    graph: CollectionGraph,
}

impl Collection {
    pub(super) fn new(
        id: CollectionId,
        name: CollectionName,
        vectors: Option<VectorParameters>,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            name,
            vectors,
            created_at,
            last_change: id.seq(),
            logical_bytes: 0,
            ids: Ids::default(),
            slots: Slots::of(vectors),
            postings: Postings::default(),
            texts: None,
            graph: CollectionGraph::default(),
        }
    }

    /// Makes the collection count the memory of its graph in `held`.
    pub(super) fn with_counter(self, held: &HeldBytes) -> Self {
        Self { graph: CollectionGraph::with_counter(held.clone()), ..self }
    }

    /// Makes the collection one with a full-text index: its points may have texts.
    pub(super) fn with_texts(self, texts: TextParameters) -> Self {
        Self { texts: Some(TextIndex::new(texts.language)), ..self }
    }

    /// Its identity.
    pub fn id(&self) -> CollectionId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    /// The parameters of its vectors; `None` if points have texts and no vectors.
    pub fn vectors(&self) -> Option<VectorParameters> {
        self.vectors
    }

    /// The dimension of its vectors, if it has any.
    pub fn dimension(&self) -> Option<Dimension> {
        self.vectors.map(|vectors| vectors.dimension)
    }

    /// The metric of its vectors, if it has any.
    pub fn metric(&self) -> Option<Metric> {
        self.vectors.map(|vectors| vectors.metric)
    }

    /// The index parameters that the tenant has set.
    pub fn parameters(&self) -> IndexParameters {
        self.vectors.map(|vectors| vectors.index).unwrap_or_default()
    }

    /// Whether points may have texts.
    pub fn has_texts(&self) -> bool {
        self.texts.is_some()
    }

    /// The parameters of its texts, if points may have some.
    pub fn text_parameters(&self) -> Option<TextParameters> {
        self.texts.as_ref().map(|texts| TextParameters { language: texts.language() })
    }

    /// The heap bytes of the full-text index, estimated in constant time.
    pub fn text_index_bytes(&self) -> usize {
        self.texts.as_ref().map_or(0, TextIndex::bytes)
    }

    /// How large the full-text index is.
    pub fn text_index_size(&self) -> TextIndexSize {
        self.texts.as_ref().map(TextIndex::size).unwrap_or_default()
    }

    /// The heap bytes of the payload indexes, estimated in constant time.
    pub fn payload_index_bytes(&self) -> usize {
        self.postings.memory_bytes()
    }

    /// The heap bytes without its graph and without `Self`, estimated in constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes()
            + self.ids.memory_bytes()
            + self.postings.memory_bytes()
            + self.texts.as_ref().map_or(0, TextIndex::bytes)
            + allocated(self.name.as_str().len())
    }

    /// The same heap bytes, and how many of them are in large allocations.
    pub(super) fn heap_bytes(&self) -> HeapBytes {
        HeapBytes { all: self.memory_bytes(), large: self.slots.large_bytes() }
    }

    /// A summary of its payload indexes.
    pub fn payload_index(&self) -> PayloadIndex {
        self.postings.describe()
    }

    /// Its payload indexes, path by path.
    pub fn indexes(&self) -> Indexes {
        self.postings.indexes()
    }

    /// Whether this path is declared.
    pub fn has_declared(&self, path: &PayloadPath) -> bool {
        self.postings.declared().contains(path.as_str())
    }

    /// The declared paths, in ascending order.
    pub fn declared(&self) -> impl Iterator<Item = &PayloadPath> {
        self.postings.declared().iter()
    }

    /// When it was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The last record that changed a point of the collection, or the record that created it.
    pub fn last_change(&self) -> Seq {
        self.last_change
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has no points.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The logical size of its points in bytes
    /// (see [`vector_logical_bytes`]).
    pub fn logical_bytes(&self) -> u64 {
        self.logical_bytes
    }

    /// How many points still have to be linked into the graph (see [`Snapshot::unlinked`]).
    pub fn unlinked(&self) -> usize {
        self.graph.unlinked(&self.slots)
    }

    /// How many slots are linked into the graph, deleted ones included.
    pub fn linked(&self) -> usize {
        self.graph.linked()
    }

    /// How many slots it has, deleted ones included.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// How many points may be unlinked while the collection is searched. Every search compares them one by one.
    pub fn unlinked_max(&self) -> usize {
        vectors_of(UNLINKED_NUMBERS_MAX, self.slots.dimension())
    }

    /// How many points may be unlinked while the collection is not searched. The first searches compare them.
    pub fn unlinked_max_unsearched(&self) -> usize {
        vectors_of(UNSEARCHED_NUMBERS_MAX, self.slots.dimension())
    }

    /// Whether more points are unlinked than the limit for a collection that is not searched.
    pub fn is_far_behind(&self) -> bool {
        self.unlinked() > self.unlinked_max_unsearched()
    }

    /// Whether walks can reach all linked points, according to the last repair.
    pub fn is_connected(&self) -> bool {
        self.graph.is_connected()
    }

    /// Whether it has a graph.
    pub fn has_graph(&self) -> bool {
        !self.graph.is_missing()
    }

    /// Whether there are many deleted slots, and more of them than points.
    pub fn needs_compaction(&self) -> bool {
        self.slots.needs_compaction()
    }

    /// Whether it has a point with this id.
    pub fn contains(&self, id: &PointId) -> bool {
        self.slot_of(id).is_some()
    }

    /// The point with this id.
    pub fn get(&self, id: &PointId) -> Option<StoredPoint> {
        Some(self.slots.point(self.slot_of(id)?)?.stored())
    }

    /// All points, in the order of ids.
    pub fn points(&self) -> impl Iterator<Item = StoredPoint> {
        self.points_beyond(None)
    }

    /// Up to `limit` points whose ids are greater than `after`, in the order of ids.
    pub fn page(&self, after: Option<&PointId>, limit: usize) -> Vec<StoredPoint> {
        self.points_beyond(after.map(PointId::as_str)).take(limit).collect()
    }

    fn points_beyond(&self, after: Option<&str>) -> impl Iterator<Item = StoredPoint> {
        let slots = self.ids.beyond(&self.slots, after);
        slots.filter_map(|slot| Some(self.slots.point(slot)?.stored()))
    }

    /// A snapshot of the collection as of now. Cheap: no data is copied. While the snapshot is held, writes copy the
    /// blocks they change.
    pub fn snapshot(&self) -> Snapshot {
        let texts = self.text_parameters().unwrap_or_default();
        let declared = self.postings.declared().clone();
        let graph = self.graph.share();
        Snapshot::new(self.slots.clone(), self.parameters(), texts, declared, graph, self.last_change)
    }

    /// Evaluates `filter` with the payload indexes. The selection is meant for a snapshot of the same moment. With a
    /// snapshot of another moment, results are correct, but the search is slower.
    pub fn select(&self, filter: Filter) -> Selection {
        self.select_by(filter, &mut WorkBudget::default())
    }

    /// Evaluates several filters. All together may cost no more work than one filter alone.
    pub fn select_each(&self, filters: impl IntoIterator<Item = Option<Filter>>) -> Vec<Option<Selection>> {
        let mut budget = WorkBudget::default();
        let selected = |filter: Option<Filter>| Some(self.select_by(filter?, &mut budget));
        filters.into_iter().map(selected).collect()
    }

    pub(super) fn select_by(&self, filter: Filter, budget: &mut WorkBudget) -> Selection {
        let slot_of = |id: &str| self.ids.get(&self.slots, id).map(Slot::number);
        match self.postings.select(&filter, &slot_of, budget) {
            Some(candidates) => Selection::among(filter, candidates, self.slots.clone()),
            None => filter.into(),
        }
    }

    /// The texts that share a word with `query`, as of now. `None` if points cannot have texts.
    pub fn look_up(&self, query: &TextQuery) -> Option<TextMatches> {
        Some(TextMatches::new(self.texts.as_ref()?.look_up(query), self.slots.clone()))
    }

    /// Whether stored payloads have paths to index.
    pub fn needs_indexing(&self) -> bool {
        self.postings.needs_fields()
    }

    /// Begins to index all paths that are due. Cheap.
    pub fn indexing(&self) -> Indexing {
        Indexing::begin(&self.postings, self.snapshot())
    }

    pub(super) fn existing(&self, id: &PointId) -> Result<Slot, InvalidEvent> {
        self.slot_of(id).ok_or_else(|| InvalidEvent::UnknownPoint { id: id.clone() })
    }

    fn slot_of(&self, id: &PointId) -> Option<Slot> {
        self.ids.get(&self.slots, id.as_str())
    }

    /// Whether the collection can hold this point.
    pub(super) fn check(&self, written: &WrittenPoint<'_>) -> Result<(), InvalidEvent> {
        let WrittenPoint { id, vector, payload: _, text } = written;
        let id = || (*id).clone();
        match (self.vectors, vector) {
            (Some(vectors), Some(vector)) => {
                let (expected, found) = (vectors.dimension.get(), vector.dimension());
                if found != expected {
                    return Err(InvalidEvent::WrongDimension { id: id(), expected, found });
                }
            }
            (Some(vectors), None) => {
                return Err(InvalidEvent::NoVector { id: id(), expected: vectors.dimension.get() });
            }
            (None, Some(_)) => return Err(InvalidEvent::UnexpectedVector { id: id() }),
            (None, None) if text.is_none() => return Err(InvalidEvent::NoText { id: id() }),
            (None, None) => {}
        }
        if text.is_some() && self.texts.is_none() {
            return Err(InvalidEvent::UnexpectedText { id: id() });
        }
        Ok(())
    }

    /// Writes points that have passed [`check`](Self::check), with distinct ids.
    pub(super) fn upsert(&mut self, seq: Seq, points: WrittenPoints<'_>) -> Change {
        let mut change = Change::default();
        for WrittenPoint { id, vector, payload, text } in points.each() {
            let vector = vector.map_or(&[][..], Vector::as_dense);
            let slot = self.slots.push(vector, id, payload.cloned(), text.cloned());
            self.postings.add(slot.number(), payload);
            texts::add(&mut self.texts, slot, text);
            match self.ids.insert(&self.slots, slot) {
                Some(replaced) => {
                    change.vectors_replaced += 1;
                    change.bytes_removed += self.logical_bytes_at(replaced);
                    self.delete_slot(replaced);
                }
                None => change.vectors_added += 1,
            }
            change.bytes_added += self.logical_bytes_at(slot);
        }
        self.finish_change(seq, !points.is_empty(), change)
    }

    /// Deletes points. An id without a point is ignored.
    pub(super) fn delete(&mut self, seq: Seq, ids: &[PointId]) -> Change {
        let mut change = Change::default();
        for id in ids {
            if let Some(slot) = self.ids.remove(&self.slots, id.as_str()) {
                change.vectors_removed += 1;
                change.bytes_removed += self.logical_bytes_at(slot);
                self.delete_slot(slot);
            }
        }
        self.finish_change(seq, !ids.is_empty(), change)
    }

    /// Replaces the payload of a point. An id without a point is ignored.
    pub(super) fn change_payload(&mut self, seq: Seq, id: &PointId, payload: &Payload) -> Change {
        let mut change = Change::default();
        if let Some(slot) = self.slot_of(id) {
            change.bytes_removed = self.logical_bytes_at(slot);
            let replaced = self.slots.point(slot).and_then(PointRef::payload);
            self.postings.remove(slot.number(), replaced);
            self.slots.set_payload(slot, Some(payload.clone()));
            self.postings.add(slot.number(), Some(payload));
            change.bytes_added = self.logical_bytes_at(slot);
        }
        self.finish_change(seq, true, change)
    }

    /// Sets the last record that changed the collection, which a base states.
    pub(super) fn set_last_change(&mut self, seq: Seq) {
        self.last_change = seq;
    }

    /// Declares a path. A declared path is indexed no matter how much memory the other paths take.
    pub(super) fn declare_index(&mut self, path: &PayloadPath) -> Change {
        Change { indexes_declared: u64::from(self.postings.declare(path)), ..Change::default() }
    }

    /// Removes the declaration of a path. Returns the path's index if there is no room for it among the indexes of the
    /// undeclared paths.
    pub(super) fn drop_index(&mut self, path: &PayloadPath) -> Option<Removed> {
        self.postings.undeclare(path.as_str()).map(Removed::new)
    }

    fn delete_slot(&mut self, slot: Slot) {
        let point = self.slots.point(slot);
        self.postings.remove(slot.number(), point.and_then(PointRef::payload));
        texts::remove(&mut self.texts, slot, point.and_then(PointRef::text));
        self.slots.delete(slot);
    }

    fn finish_change(&mut self, seq: Seq, changed: bool, change: Change) -> Change {
        self.logical_bytes = self.logical_bytes + change.bytes_added - change.bytes_removed;
        if changed {
            self.last_change = seq;
        }
        // A linker compacts large collections in the background. A replay, for example, runs without a linker.
        let small = self.logical_bytes <= INLINE_COMPACTION_BYTES_MAX || self.slots.is_overdue();
        if self.slots.needs_compaction()
            && self.graph.is_missing()
            && small
            && let Ok((mut slots, slot_map)) = self.slots.compacted(&|| false)
            && let Ok(mut postings) = Postings::of(&slots, self.postings.declared(), &|| false)
        {
            self.graph = self.graph.detached();
            let mut texts = self.texts.as_ref().map(|texts| texts.renumbered(|slot| slot_map.number(slot)));
            self.replace_slots(&mut slots, &slot_map, &mut postings, &mut texts);
        }
        change
    }

    /// Brings a compaction up to date and replaces the slots by it. Returns `false` if another compaction was installed
    /// first. The second value is the memory that is not needed any more: the old slots, or the compaction.
    pub(super) fn install(&mut self, mut compaction: Compaction) -> (bool, Removed) {
        if !self.graph.is_same_as(&compaction.base_graph) {
            return (false, Removed::new(compaction));
        }
        compaction.catch_up(&self.slots);
        let Compaction { slots, slot_map, postings, texts, graph, unindexed, base: _, base_graph: _ } =
            &mut compaction;
        // Paths may have been declared or dropped meanwhile.
        *unindexed = postings.set_declared(self.postings.declared());
        self.graph = Arc::clone(graph).into();
        // Without texts there is no full-text index to replace.
        let mut texts = self.texts.is_some().then_some(texts.take()).flatten();
        self.replace_slots(slots, slot_map, postings, &mut texts);
        compaction.texts = texts;
        (true, Removed::new(compaction))
    }

    /// Brings indexes of further paths up to date and adds them. Returns `false` if the slots were compacted meanwhile.
    /// The second value is the memory that is not needed any more.
    pub(super) fn install_indexing(&mut self, mut indexing: Indexing) -> (bool, Removed) {
        let is_in_time = self.graph.is_same_as(&indexing.base_graph);
        if is_in_time {
            indexing.catch_up(&self.slots);
            self.postings.take_fields(&mut indexing.fields);
        }
        (is_in_time, Removed::new(indexing))
    }

    /// Replaces the slots by others that hold the same points. The arguments receive the old values.
    fn replace_slots(
        &mut self,
        slots: &mut Slots,
        slot_map: &SlotMap,
        postings: &mut Postings,
        texts: &mut Option<TextIndex>,
    ) {
        std::mem::swap(&mut self.texts, texts);
        std::mem::swap(&mut self.slots, slots);
        std::mem::swap(&mut self.postings, postings);
        self.ids.renumber(slot_map);
    }

    fn logical_bytes_at(&self, slot: Slot) -> u64 {
        self.slots.point(slot).map_or(0, |point| {
            vector_logical_bytes(self.dimension(), point.id(), point.payload(), point.text())
        })
    }
}
