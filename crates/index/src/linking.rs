//! Linking the points of a collection into its graph.

use std::io::{self, Write};

use super::graph::{BuildParameters, Graph, LinkThreads, Node, NodeData, UnusableGraph, name};
use super::graph_cell::{LINKED_FROM, linked, unlinked};
use super::interrupted::Interrupted;
use super::slots::PointRef;
use super::snapshot::Snapshot;

/// M and efConstruction of the HNSW paper, if the collection does not set them.
const M_DEFAULT: usize = 16;
const EF_CONSTRUCTION_DEFAULT: usize = 200;

/// A stored graph may have this many times as many nodes as the collection has slots. One with more is of little use.
const GROWN_MAX: usize = 4;
/// More than a stored node takes besides its neighbours, and more than the header takes besides the center.
const NODE_BYTES: usize = 128;
/// The most lists of `m` neighbours that a node has on average: two on level 0, and few above.
const LISTS_MAX: usize = 4;

impl Snapshot {
    /// How many points are to be linked and are not. Every search compares them one by one. Zero while the collection
    /// is too small for a graph.
    pub fn unlinked(&self) -> usize {
        unlinked(&self.slots, &self.graph)
    }

    /// How many slots are linked into the graph now, deleted ones included.
    pub fn linked(&self) -> usize {
        linked(&self.graph)
    }

    /// Links the next `points_max` unlinked points of this snapshot. Searches go on meanwhile; those on later
    /// snapshots walk over the new nodes. Calls `stop` every fifty microseconds, but not while it links a point.
    /// Returns how many slots it has processed.
    ///
    /// # Errors
    ///
    /// [`Interrupted`] once `stop` returns true.
    pub fn link(
        &self,
        points_max: usize,
        threads: impl Into<LinkThreads>,
        stop: &(impl Fn() -> bool + Sync),
    ) -> Result<usize, Interrupted> {
        self.link_until(points_max, threads, stop, &|| false)
    }

    /// Like [`link`](Self::link), but ends early once `enough` returns true. It links some points in any case.
    pub fn link_until(
        &self,
        points_max: usize,
        threads: impl Into<LinkThreads>,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<usize, Interrupted> {
        if self.unlinked() == 0 {
            return Ok(0);
        }
        let graph =
            self.graph.get_or_init(|| Graph::new(self.dimension(), self.metric(), self.build_parameters()));
        let linked = graph.view().len();
        let end = self.slots.len().min(linked.saturating_add(points_max));
        let extended =
            graph.extend(&|node| self.slot(node), (end, self.slots.len()), threads.into(), stop, enough);
        self.graph.count();
        extended?;
        Ok(graph.view().len() - linked)
    }

    /// Repairs linked points that no walk can reach. A point may become unreachable when its neighbours get nearer
    /// ones. [`link`](Self::link) repairs them too, each time the graph has grown by a sixteenth.
    pub fn repair(&self, stop: &impl Fn() -> bool) -> Result<(), Interrupted> {
        self.graph.get().map_or(Ok(()), |graph| graph.repair(&|node| self.slot(node), stop))
    }

    /// An upper bound of the stored size of the graph in bytes, unless the collection has become much smaller.
    pub fn graph_bytes_max(&self) -> u64 {
        let nodes = GROWN_MAX.saturating_mul(self.slots.len().max(LINKED_FROM));
        let node = NODE_BYTES + LISTS_MAX * self.build_parameters().m * size_of::<Node>();
        let shared = NODE_BYTES + self.slots.dimension() * size_of::<f32>();
        nodes.saturating_mul(node).saturating_add(shared) as u64
    }

    /// Writes the graph of this snapshot, or nothing if it has none.
    pub fn write_graph(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(view) = self.view() else { return Ok(()) };
        let name_of = |node: Node| {
            let NodeData { id, vector } = self.slot(node);
            Some(name(id?, vector))
        };
        view.write(name_of, out)
    }

    /// Restores a graph that [`write_graph`](Self::write_graph) has written at any earlier time, and links the points
    /// that it does not contain. Later snapshots walk over it, unless the collection has a graph already.
    pub fn read_graph(
        &self,
        bytes: &[u8],
        threads: impl Into<LinkThreads>,
        stop: &(impl Fn() -> bool + Sync),
    ) -> Result<(), UnusableGraph> {
        self.read_graph_until(bytes, threads, stop, &|| false)
    }

    /// Like [`read_graph`](Self::read_graph), but once `enough` returns true it leaves points that are newer than all
    /// known ones to [`link`](Self::link). It links some points in any case.
    pub fn read_graph_until(
        &self,
        bytes: &[u8],
        threads: impl Into<LinkThreads>,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<(), UnusableGraph> {
        let (metric, build_parameters, end) = (self.metric(), self.build_parameters(), self.slots.len());
        let slot = |node| self.slot(node);
        let graph = Graph::read(bytes, metric, build_parameters, &slot, end, threads.into(), (stop, enough))?;
        self.graph.get_or_init(|| graph);
        Ok(())
    }

    /// The heap bytes of the graph: of the quantized codes, and of the rest.
    pub fn graph_bytes(&self) -> (usize, usize) {
        self.graph.get().map_or((0, 0), |graph| graph.view().bytes())
    }

    fn build_parameters(&self) -> BuildParameters {
        BuildParameters {
            m: self.parameters.m.map_or(M_DEFAULT, usize::from),
            ef_construction: self.parameters.ef_construction.map_or(EF_CONSTRUCTION_DEFAULT, usize::from),
        }
    }

    fn slot(&self, node: Node) -> NodeData<'_> {
        let (block, offset) = self.slots.at(node as usize);
        let id = block.point(offset).map(PointRef::id);
        NodeData { id, vector: block.vector(offset) }
    }
}
