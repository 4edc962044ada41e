//! Bringing a collection's graph up to what the collection holds.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::graph::{Crew, Degrees, Graph, LinkingStopped, Node, Slot, UnusableGraph, name};
use super::slots::{Entry, Slots};
use super::snapshot::Snapshot;
use crate::memory::HeldBytes;

/// A smaller collection has no graph: scanning it takes no longer than a walk.
const LINKED_FROM: usize = 4_096;

/// The paper's M and efConstruction where the collection says nothing.
const M_DEFAULT: usize = 16;
const EF_CONSTRUCTION_DEFAULT: usize = 200;

/// How many numbers in unlinked vectors a search may have to look at. It takes less than a walk. With twice as many a
/// search beside a writer took a seventh longer at the median; with eight times as many a tenant that searched a
/// thousand times a second beside its writes was measured to keep both cores busy with nothing else.
pub(super) const UNLINKED_NUMBERS_MAX: usize = 1 << 19;
/// How many where nobody searches: the first moments of a load run at the pace of writing. Searches that come
/// then compare mostly bytes, and take about as long as for a third of it in whole vectors until the rest is
/// linked. With a quarter more, loads were quicker by an eighth and the p99 of such searches higher by about as much.
pub(super) const UNSEARCHED_NUMBERS_MAX: usize = 2 << 20;
/// However long the vectors, so many.
const UNLINKED_MIN: usize = 1_024;

/// How many times as many nodes as there are slots a kept graph may have: one of more is of little use.
const GROWN_MAX: usize = 4;
/// What a node takes there besides its neighbours, and more than all that is not of nodes takes besides its numbers.
const NODE_BYTES: usize = 128;
/// How many lists of `m` neighbours a node has on average, at most: two on the ground, and one in so many above.
const LISTS_MAX: usize = 4;

/// How many vectors of this dimension come to so many numbers.
pub(super) fn vectors_of(numbers: usize, dimension: usize) -> usize {
    (numbers / dimension.max(1)).max(UNLINKED_MIN)
}

/// The place of a collection's graph, for as long as its slots keep their numbers.
#[derive(Debug, Default)]
pub(super) struct GraphPlace {
    graph: OnceLock<Graph>,
    /// How much of `held` is the graph's.
    bytes: AtomicUsize,
    /// What all graphs of the tenant take.
    held: HeldBytes,
}

impl GraphPlace {
    /// A place without a graph, that counts with the others of `held`.
    pub(super) fn counted_in(held: HeldBytes) -> Self {
        Self { graph: OnceLock::new(), bytes: AtomicUsize::new(0), held }
    }

    /// A place without a graph, that counts where this one does.
    pub(super) fn beside(&self) -> Self {
        Self::counted_in(self.held.clone())
    }

    pub(super) fn get(&self) -> Option<&Graph> {
        self.graph.get()
    }

    /// Puts a graph there, if there is none.
    pub(super) fn get_or_init(&self, graph: impl FnOnce() -> Graph) -> &Graph {
        let graph = self.graph.get_or_init(graph);
        self.count();
        graph
    }

    /// Counts what the graph takes by now.
    fn count(&self) {
        let (codes, links) = self.graph.get().map_or((0, 0), |graph| graph.view().bytes());
        let before = self.bytes.swap(codes + links, Ordering::Relaxed);
        self.held.replace(before, codes + links);
    }
}

impl Drop for GraphPlace {
    fn drop(&mut self) {
        self.held.replace(*self.bytes.get_mut(), 0);
    }
}

fn unlinked(slots: &Slots, graph: &GraphPlace) -> usize {
    if slots.dimension() == 0 {
        return 0;
    }
    match graph.get() {
        // An older snapshot may ask about a newer graph.
        Some(_) => slots.len().saturating_sub(linked(graph)),
        None if slots.live() < LINKED_FROM => 0,
        None => slots.len(),
    }
}

fn linked(graph: &GraphPlace) -> usize {
    graph.get().map_or(0, |graph| graph.view().len())
}

/// A collection's graph, made once there are enough points. Snapshots share it; a clone of the
/// collection does not, for its slots go their own way.
#[derive(Debug, Default)]
pub(super) struct OwnGraph(Arc<GraphPlace>);

impl OwnGraph {
    pub(super) fn share(&self) -> Arc<GraphPlace> {
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

    /// Whether all that is linked can be reached, as far as anybody knows.
    pub(super) fn is_mended(&self) -> bool {
        self.0.get().is_none_or(Graph::is_mended)
    }

    /// The place of another graph, for other slots.
    pub(super) fn begun_anew(&self) -> Self {
        Self(Arc::new(self.0.beside()))
    }

    /// A place that counts with the others of `held`.
    pub(super) fn counted_in(held: HeldBytes) -> Self {
        Self(Arc::new(GraphPlace::counted_in(held)))
    }

    pub(super) fn is(&self, shared: &Arc<GraphPlace>) -> bool {
        Arc::ptr_eq(&self.0, shared)
    }
}

impl Clone for OwnGraph {
    fn clone(&self) -> Self {
        self.begun_anew()
    }
}

impl From<Arc<GraphPlace>> for OwnGraph {
    fn from(graph: Arc<GraphPlace>) -> Self {
        Self(graph)
    }
}

impl Snapshot {
    /// How many points are not in the graph, and are compared one by one in every search; none where
    /// there is to be no graph.
    pub fn unlinked(&self) -> usize {
        unlinked(&self.slots, &self.graph)
    }

    /// How many slots, those of deleted points too, are linked into the graph by now.
    pub fn linked(&self) -> usize {
        linked(&self.graph)
    }

    /// Links the next `points_max` points of this snapshot that are not linked yet, by this crew.
    /// Searches go on meanwhile; those on later snapshots use what was linked. Asks `stop` every fifty
    /// microseconds, but not while a point is linked. Says how many slots it has gone through.
    pub fn link(
        &self,
        points_max: usize,
        crew: impl Into<Crew>,
        stop: &(impl Fn() -> bool + Sync),
    ) -> Result<usize, LinkingStopped> {
        self.link_until(points_max, crew, stop, &|| false)
    }

    /// The same, until it is `enough`: what is left then is for another time. Some are linked in any case.
    pub fn link_until(
        &self,
        points_max: usize,
        crew: impl Into<Crew>,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<usize, LinkingStopped> {
        if self.unlinked() == 0 {
            return Ok(0);
        }
        let graph = self.graph.get_or_init(|| Graph::new(self.dimension(), self.metric(), self.degrees()));
        let linked = graph.view().len();
        let end = self.slots.len().min(linked.saturating_add(points_max));
        let extended =
            graph.extend(&|node| self.slot(node), (end, self.slots.len()), crew.into(), stop, enough);
        self.graph.count();
        extended?;
        Ok(graph.view().len() - linked)
    }

    /// Looks for points that were linked and that no search would come upon, and leads to them. Now and then one
    /// gets lost by the links of others; while many are linked, this is done along the way.
    pub fn mend(&self, stop: &impl Fn() -> bool) -> Result<(), LinkingStopped> {
        self.graph.get().map_or(Ok(()), |graph| graph.mend(&|node| self.slot(node), stop))
    }

    /// No graph of a collection like this takes more bytes when it is written, unless it has become much smaller.
    pub fn graph_bytes_max(&self) -> u64 {
        let nodes = GROWN_MAX.saturating_mul(self.slots.len().max(LINKED_FROM));
        let node = NODE_BYTES + LISTS_MAX * self.degrees().m * size_of::<Node>();
        let shared = NODE_BYTES + self.slots.dimension() * size_of::<f32>();
        nodes.saturating_mul(node).saturating_add(shared) as u64
    }

    /// Writes the graph as it is in this snapshot; nothing if it has none.
    pub fn write_graph(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(view) = self.view() else { return Ok(()) };
        let name_of = |node: Node| {
            let Slot { id, vector } = self.slot(node);
            Some(name(id?, vector))
        };
        view.write(name_of, out)
    }

    /// Takes a graph that [`write_graph`](Self::write_graph) has written at any time, and links what it
    /// does not know. Later snapshots use it, if the collection has had none.
    pub fn read_graph(
        &self,
        bytes: &[u8],
        crew: impl Into<Crew>,
        stop: &(impl Fn() -> bool + Sync),
    ) -> Result<(), UnusableGraph> {
        self.read_graph_until(bytes, crew, stop, &|| false)
    }

    /// The same, but the points behind all that were known to the graph are linked until it is `enough`: what is
    /// left then is for [`link`](Self::link). Some are linked in any case.
    pub fn read_graph_until(
        &self,
        bytes: &[u8],
        crew: impl Into<Crew>,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<(), UnusableGraph> {
        let (metric, degrees, end) = (self.metric(), self.degrees(), self.slots.len());
        let slot = |node| self.slot(node);
        let graph = Graph::read(bytes, metric, degrees, &slot, end, crew.into(), (stop, enough))?;
        self.graph.get_or_init(|| graph);
        Ok(())
    }

    /// The bytes of the graph's compact copy of the vectors, and of everything else of it.
    pub fn graph_bytes(&self) -> (usize, usize) {
        self.graph.get().map_or((0, 0), |graph| graph.view().bytes())
    }

    fn degrees(&self) -> Degrees {
        Degrees {
            m: self.parameters.m.map_or(M_DEFAULT, usize::from),
            ef_construction: self.parameters.ef_construction.map_or(EF_CONSTRUCTION_DEFAULT, usize::from),
        }
    }

    fn slot(&self, node: Node) -> Slot<'_> {
        let (block, offset) = self.slots.at(node as usize);
        let id = block.entry(offset).map(Entry::id);
        Slot { id, vector: block.vector(offset) }
    }
}
