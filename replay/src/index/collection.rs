//! One collection: its definition, and where the point of each id lies.

use std::sync::Arc;

use vectorizer_log::{
    CollectionId, CollectionName, Dimension, IndexParameters, Metric, Payload, Point, PointId, Seq, Timestamp,
};

use super::change::{Change, Misfit};
use super::compaction::{Compaction, Removed};
use super::filter::Filter;
use super::ids::Ids;
use super::linking::{OwnGraph, UNLINKED_NUMBERS_MAX, UNSEARCHED_NUMBERS_MAX, vectors_of};
use super::postings::{Allowance, Postings};
use super::selection::Selection;
use super::slots::{Entry, Moved, Slot, Slots, StoredPoint};
use super::snapshot::Snapshot;
use crate::metering::vector_logical_bytes;

/// Named vectors of one dimension that compare in one way.
#[derive(Clone, Debug)]
pub struct Collection {
    id: CollectionId,
    name: CollectionName,
    dimension: Dimension,
    metric: Metric,
    parameters: IndexParameters,
    created_at: Timestamp,
    last_change: Seq,
    logical_bytes: u64,
    /// Ordered, so that pages and digests are.
    ids: Ids,
    slots: Slots,
    /// Of what is in these slots. Not part of snapshots: a writer would have to copy it for each.
    postings: Postings,
    /// Over these slots; made once there are enough of them.
    graph: OwnGraph,
}

impl Collection {
    pub(super) fn new(
        id: CollectionId,
        name: CollectionName,
        dimension: Dimension,
        metric: Metric,
        parameters: IndexParameters,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            name,
            dimension,
            metric,
            parameters,
            created_at,
            last_change: id.seq(),
            logical_bytes: 0,
            ids: Ids::default(),
            slots: Slots::new(dimension, metric),
            postings: Postings::default(),
            graph: OwnGraph::default(),
        }
    }

    /// Its identity.
    pub fn id(&self) -> CollectionId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    /// Of all its vectors.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// How its vectors compare.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// What its tenant asked of its index.
    pub fn parameters(&self) -> IndexParameters {
        self.parameters
    }

    /// When it was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The last record that created it or changed a point in it.
    pub fn last_change(&self) -> Seq {
        self.last_change
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The logical size of its points, in bytes
    /// (see [`vector_logical_bytes`](crate::vector_logical_bytes)).
    pub fn logical_bytes(&self) -> u64 {
        self.logical_bytes
    }

    /// How many points are not linked into the graph that it is to have (see [`Snapshot::unlinked`]).
    pub fn unlinked(&self) -> usize {
        self.graph.unlinked(&self.slots)
    }

    /// How many slots, those of deleted points too, are linked into the graph.
    pub fn linked(&self) -> usize {
        self.graph.linked()
    }

    /// Whether more points are unlinked than every search should have to compare one by one.
    pub fn is_behind(&self) -> bool {
        self.unlinked() > vectors_of(UNLINKED_NUMBERS_MAX, self.dimension)
    }

    /// Whether more points are unlinked than the first of many searches should find.
    pub fn is_far_behind(&self) -> bool {
        self.unlinked() > vectors_of(UNSEARCHED_NUMBERS_MAX, self.dimension)
    }

    /// Whether searches walk through a graph.
    pub fn has_graph(&self) -> bool {
        !self.graph.is_missing()
    }

    /// Whether deleted points hold on to as much room as those that exist, or more.
    pub fn wants_compaction(&self) -> bool {
        self.slots.wants_compaction()
    }

    /// Whether it has a point with this id.
    pub fn contains(&self, id: &PointId) -> bool {
        self.slot_of(id).is_some()
    }

    /// The point with this id.
    pub fn get(&self, id: &PointId) -> Option<StoredPoint> {
        Some(self.slots.entry(self.slot_of(id)?)?.point())
    }

    /// Every point, in the order of ids.
    pub fn points(&self) -> impl Iterator<Item = StoredPoint> {
        self.points_beyond(None)
    }

    /// Up to `limit` points in the order of ids, from the first one beyond `after`.
    pub fn page(&self, after: Option<&PointId>, limit: usize) -> Vec<StoredPoint> {
        self.points_beyond(after.map(PointId::as_str)).take(limit).collect()
    }

    fn points_beyond(&self, after: Option<&str>) -> impl Iterator<Item = StoredPoint> {
        let slots = self.ids.beyond(&self.slots, after);
        slots.filter_map(|slot| Some(self.slots.entry(slot)?.point()))
    }

    /// The collection as of now. Cheap: it copies nothing, and later writes copy at most the
    /// blocks they touch for as long as it is held.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.slots.clone(), self.parameters, self.graph.share())
    }

    /// What `filter` selects of the points as of now, to be used with a snapshot of this moment (with any
    /// other it is right, and slow).
    pub fn select(&self, filter: Filter) -> Selection {
        self.select_by(filter, &mut Allowance::default())
    }

    /// The same for several filters, which share the time that one may take.
    pub fn select_each(&self, filters: impl IntoIterator<Item = Option<Filter>>) -> Vec<Option<Selection>> {
        let mut allowance = Allowance::default();
        let selected = |filter: Option<Filter>| Some(self.select_by(filter?, &mut allowance));
        filters.into_iter().map(selected).collect()
    }

    pub(super) fn select_by(&self, filter: Filter, allowance: &mut Allowance) -> Selection {
        let slot_of = |id: &str| self.ids.get(&self.slots, id).map(Slot::number);
        match self.postings.select(&filter, &slot_of, allowance) {
            Some(candidates) => Selection::among(filter, candidates, self.slots.clone()),
            None => filter.into(),
        }
    }

    pub(super) fn existing(&self, id: &PointId) -> Result<Slot, Misfit> {
        self.slot_of(id).ok_or_else(|| Misfit::UnknownPoint { id: id.clone() })
    }

    fn slot_of(&self, id: &PointId) -> Option<Slot> {
        self.ids.get(&self.slots, id.as_str())
    }

    /// Writes points of its dimension with distinct ids.
    pub(super) fn upsert(&mut self, seq: Seq, points: &[Point]) -> Change {
        let mut change = Change::default();
        for point in points {
            let slot = self.slots.push(point.vector.as_dense(), &point.id, point.payload.clone());
            self.postings.add(slot.number(), point.payload.as_ref());
            match self.ids.insert(&self.slots, slot) {
                Some(replaced) => {
                    change.vectors_replaced += 1;
                    change.bytes_removed += self.logical_bytes_at(replaced);
                    self.bury(replaced);
                }
                None => change.vectors_added += 1,
            }
            change.bytes_added += self.logical_bytes_at(slot);
        }
        self.conclude(seq, !points.is_empty(), change)
    }

    /// Deletes points; an id without a point is passed over.
    pub(super) fn delete(&mut self, seq: Seq, ids: &[PointId]) -> Change {
        let mut change = Change::default();
        for id in ids {
            if let Some(slot) = self.ids.remove(&self.slots, id.as_str()) {
                change.vectors_removed += 1;
                change.bytes_removed += self.logical_bytes_at(slot);
                self.bury(slot);
            }
        }
        self.conclude(seq, !ids.is_empty(), change)
    }

    /// Gives a point a payload; an id without a point is passed over.
    pub(super) fn change_payload(&mut self, seq: Seq, id: &PointId, payload: &Payload) -> Change {
        let mut change = Change::default();
        if let Some(slot) = self.slot_of(id) {
            change.bytes_removed = self.logical_bytes_at(slot);
            let replaced = self.slots.entry(slot).and_then(Entry::payload);
            self.postings.remove(slot.number(), replaced);
            self.slots.set_payload(slot, Some(payload.clone()));
            self.postings.add(slot.number(), Some(payload));
            change.bytes_added = self.logical_bytes_at(slot);
        }
        self.conclude(seq, true, change)
    }

    fn bury(&mut self, slot: Slot) {
        self.postings.remove(slot.number(), self.slots.entry(slot).and_then(Entry::payload));
        self.slots.bury(slot);
    }

    fn conclude(&mut self, seq: Seq, changed: bool, change: Change) -> Change {
        self.logical_bytes = self.logical_bytes + change.bytes_added - change.bytes_removed;
        if changed {
            self.last_change = seq;
        }
        if self.slots.wants_compaction()
            && self.graph.is_missing()
            && let Ok((mut slots, moved)) = self.slots.compacted(&|| false)
            && let Ok(mut postings) = Postings::of(&slots, &|| false)
        {
            self.graph = OwnGraph::default();
            self.take_place(&mut slots, &moved, &mut postings);
        }
        change
    }

    /// Puts a compaction in place, brought up to date, unless another one came first. Gives back what is not
    /// needed any more: what was there, or the compaction.
    pub(super) fn install(&mut self, mut compaction: Compaction) -> (bool, Removed) {
        if !self.graph.is(&compaction.of) {
            return (false, compaction.into());
        }
        let Compaction { then, slots, moved, postings, graph, of: _ } = &mut compaction;
        self.slots.catch_up(then, slots, moved, |slot, before, after| {
            if let Some(before) = before {
                postings.remove(slot.number(), before.payload());
            }
            if let Some(after) = after {
                postings.add(slot.number(), after.payload());
            }
        });
        self.graph = Arc::clone(graph).into();
        self.take_place(slots, moved, postings);
        (true, compaction.into())
    }

    /// The same points in other slots. What they lay in until now takes the place of those.
    fn take_place(&mut self, slots: &mut Slots, moved: &Moved, postings: &mut Postings) {
        std::mem::swap(&mut self.slots, slots);
        std::mem::swap(&mut self.postings, postings);
        self.ids.renumber(moved);
    }

    fn logical_bytes_at(&self, slot: Slot) -> u64 {
        self.slots
            .entry(slot)
            .map_or(0, |entry| vector_logical_bytes(self.dimension, entry.id(), entry.payload()))
    }
}
