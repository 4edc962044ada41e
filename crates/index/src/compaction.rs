//! Compaction: copying the points of a collection to slots without gaps.
//!
//! A small collection without a graph is compacted by the write that makes a compaction due. Otherwise the linker calls
//! [`Snapshot::compact`] in the background, and [`Index::install`](super::Index::install) applies all later writes to
//! the result and replaces the slots by it.

use std::sync::Arc;

use super::graph_cell::GraphCell;
use super::postings::{Field, Postings};
use super::slots::{SlotMap, Slots};
use super::snapshot::Snapshot;
use super::texts;
use crate::interrupted::Interrupted;
use crate::text::TextIndex;

/// The points of a snapshot in new slots, without the deleted ones, with their indexes and graph.
#[derive(Debug)]
pub struct Compaction {
    pub(super) base: Slots,
    pub(super) slots: Slots,
    pub(super) slot_map: SlotMap,
    pub(super) postings: Postings,
    /// Unused by a collection without texts.
    pub(super) texts: Option<TextIndex>,
    pub(super) graph: Arc<GraphCell>,
    /// Indexes of paths that are not declared any more and for which there is no room.
    pub(super) unindexed: Vec<Field>,
    /// The graph of the snapshot. A collection that still has this graph also still has the slots that `slot_map` maps.
    pub(super) base_graph: Arc<GraphCell>,
}

impl Compaction {
    /// Applies the changes up to a later snapshot, so that installing has little left to do. Does nothing if another
    /// compaction was installed meanwhile.
    pub fn catch_up_with(&mut self, now: &Snapshot) {
        if Arc::ptr_eq(&self.base_graph, &now.graph) {
            self.catch_up(&now.slots);
            self.base = now.slots.clone();
        }
    }

    pub(super) fn catch_up(&mut self, now: &Slots) {
        let Self { base, slots, slot_map, postings, texts, graph: _, unindexed: _, base_graph: _ } = self;
        now.catch_up(base, slots, slot_map, |slot, before, after| {
            if let Some(before) = before {
                postings.remove(slot.number(), before.payload());
            }
            if let Some(after) = after {
                postings.add(slot.number(), after.payload());
            }
            // A point that stays in its slot keeps its text.
            match (before, after) {
                (Some(before), None) => texts::remove(texts, slot, before.text()),
                (None, Some(after)) => texts::add(texts, slot, after.text()),
                (Some(_), Some(_)) | (None, None) => {}
            }
        });
    }
}

impl Snapshot {
    /// Whether there are many deleted slots, and more of them than points.
    pub fn needs_compaction(&self) -> bool {
        self.slots.needs_compaction()
    }

    /// Copies the points to new slots, remaps the graph, and rebuilds the payload and full-text indexes. Calls `stop`
    /// repeatedly, and fails once it returns `true`.
    pub fn compact(&self, stop: &impl Fn() -> bool) -> Result<Compaction, Interrupted> {
        let (slots, slot_map) = self.slots.compacted(stop)?;
        let graph = self.graph.sibling();
        if let Some(old) = self.graph.get() {
            let remapped = old.remapped(|node| slot_map.number(node), stop)?;
            graph.get_or_init(|| remapped);
        }
        let postings = Postings::of(&slots, &self.declared, stop)?;
        let texts = Some(texts::index(&slots, self.texts, &|| Interrupted::check(stop))?);
        let base_graph = Arc::clone(&self.graph);
        let (base, graph, unindexed) = (self.slots.clone(), Arc::new(graph), Vec::new());
        Ok(Compaction { base, slots, slot_map, postings, texts, graph, unindexed, base_graph })
    }
}
