//! The cell that holds a collection's graph, and the handle of the collection to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::graph::Graph;
use super::slots::Slots;
use crate::memory::HeldBytes;

/// A collection with fewer points has no graph: scanning it takes no longer than a walk.
pub(super) const LINKED_FROM: usize = 4_096;

/// How many numbers of unlinked vectors a search may have to compare, which takes less time than a walk. With twice as
/// many, a search beside a writer took a seventh longer at the median. With eight times as many, a tenant with a
/// thousand searches a second beside its writes kept both cores busy.
pub(super) const UNLINKED_NUMBERS_MAX: usize = 1 << 19;
/// The same while the collection is not searched, so that a load begins at the speed of writing. Searches that come
/// then compare mostly bytes, and take about as long as for a third of it in whole vectors until the rest is linked.
/// With a quarter more, loads were faster by an eighth and the p99 of such searches was higher by about as much.
pub(super) const UNSEARCHED_NUMBERS_MAX: usize = 2 << 20;
/// At least this many vectors may be unlinked, however long they are.
const UNLINKED_MIN: usize = 1_024;

/// How many vectors of this dimension have this many numbers.
pub(super) fn vectors_of(numbers: usize, dimension: usize) -> usize {
    (numbers / dimension.max(1)).max(UNLINKED_MIN)
}

/// The cell of a collection's graph, for as long as its slots keep their numbers.
#[derive(Debug, Default)]
pub(super) struct GraphCell {
    graph: OnceLock<Graph>,
    /// The part of `held` that this graph has added.
    bytes: AtomicUsize,
    /// The bytes of all graphs of the tenant.
    held: HeldBytes,
}

impl GraphCell {
    /// An empty cell that counts in `held`.
    pub(super) fn with_counter(held: HeldBytes) -> Self {
        Self { graph: OnceLock::new(), bytes: AtomicUsize::new(0), held }
    }

    /// Another empty cell that counts in the same sum.
    pub(super) fn sibling(&self) -> Self {
        Self::with_counter(self.held.clone())
    }

    pub(super) fn get(&self) -> Option<&Graph> {
        self.graph.get()
    }

    /// Returns the graph, and creates it first if there is none.
    pub(super) fn get_or_init(&self, graph: impl FnOnce() -> Graph) -> &Graph {
        let graph = self.graph.get_or_init(graph);
        self.count();
        graph
    }

    /// Updates the sum by the current size of the graph.
    pub(super) fn count(&self) {
        let (codes, links) = self.graph.get().map_or((0, 0), |graph| graph.view().bytes());
        let before = self.bytes.swap(codes + links, Ordering::Relaxed);
        self.held.replace(before, codes + links);
    }
}

impl Drop for GraphCell {
    fn drop(&mut self) {
        self.held.replace(*self.bytes.get_mut(), 0);
    }
}

/// How many of these slots are to be linked and are not.
pub(super) fn unlinked(slots: &Slots, graph: &GraphCell) -> usize {
    if slots.dimension() == 0 {
        return 0;
    }
    match graph.get() {
        // The graph may be newer than the snapshot.
        Some(_) => slots.len().saturating_sub(linked(graph)),
        None if slots.live() < LINKED_FROM => 0,
        None => slots.len(),
    }
}

/// How many slots are linked.
pub(super) fn linked(graph: &GraphCell) -> usize {
    graph.get().map_or(0, |graph| graph.view().len())
}

/// A collection's handle to its graph. Snapshots share the graph; a clone of the collection gets an empty cell, as its
/// slots will differ.
#[derive(Debug, Default)]
pub(super) struct CollectionGraph(Arc<GraphCell>);

impl CollectionGraph {
    pub(super) fn share(&self) -> Arc<GraphCell> {
        Arc::clone(&self.0)
    }

    /// How many of these slots are to be linked and are not.
    pub(super) fn unlinked(&self, slots: &Slots) -> usize {
        unlinked(slots, &self.0)
    }

    pub(super) fn linked(&self) -> usize {
        linked(&self.0)
    }

    pub(super) fn is_missing(&self) -> bool {
        self.0.get().is_none()
    }

    /// Whether walks can reach all linked nodes, as of the last repair.
    pub(super) fn is_connected(&self) -> bool {
        self.0.get().is_none_or(Graph::is_connected)
    }

    /// An empty cell, for other slots.
    pub(super) fn detached(&self) -> Self {
        Self(Arc::new(self.0.sibling()))
    }

    /// An empty cell that counts in `held`.
    pub(super) fn with_counter(held: HeldBytes) -> Self {
        Self(Arc::new(GraphCell::with_counter(held)))
    }

    pub(super) fn is_same_as(&self, shared: &Arc<GraphCell>) -> bool {
        Arc::ptr_eq(&self.0, shared)
    }
}

impl Clone for CollectionGraph {
    fn clone(&self) -> Self {
        self.detached()
    }
}

impl From<Arc<GraphCell>> for CollectionGraph {
    fn from(graph: Arc<GraphCell>) -> Self {
        Self(graph)
    }
}
