//! A graph over a collection's slots: HNSW (Malkov and Yashunin, 2016, arXiv:1603.09320).
//!
//! - `codes`: the compact copy of the vectors that the walk compares.
//! - `blocks`: where codes and neighbour lists lie, and who may change them.
//! - `level`: how high a node reaches.
//! - `walk`: from an entry to the nodes nearest to a probe.
//! - `link`: making new nodes part of the graph; `mend`: finding those that no walk can reach.
//! - `moving`: the graph of the slots that are left after a compaction.
//! - `stored`: the graph as bytes, and back.
//! - `scratch`: what a walk needs besides, kept for the next one.
//!
//! **Variants.** There is one distance: every vector is kept a second time in a byte per number, after
//! the mean of the collection has been taken from it, and one formula over those bytes stands in for
//! all three metrics (see `codes`). The walk and the linking see nothing else, so they touch a quarter
//! of the memory; what a walk has found is then ranked and scored with the vectors themselves. There
//! are two walks. [`View::nearest`] keeps one sorted list, which is both what it has found and what it
//! still has to expand; [`View::nearest_accepted`] serves searches that must pass over nodes (filters,
//! emptied slots): it walks over all of them and keeps a list of its own of those it may return.
//!
//! **Who sees what.** A node's codes are written once, before it is linked, and never change. Its
//! neighbours are atomics, in an arena that all views share: linking changes them under readers, who
//! see old or new neighbours, both of which are nodes. A [`View`] is what was linked at one moment; a
//! walk passes over nodes that came later, because its view has no codes for them. Nothing waits for
//! anything but two linkers for the same node.
//!
//! The graph is derived: it may be lost at any time, and no digest covers it.

mod blocks;
mod codes;
mod level;
mod link;
mod mend;
mod moving;
mod scratch;
mod stored;
mod walk;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vectorizer_log::{Dimension, Metric, PointId};

use self::blocks::Block;
pub(super) use self::codes::Probe;
use self::codes::Shape;
use self::level::level;
pub use self::link::LinkingStopped;
use self::scratch::Key;
pub use self::stored::UnusableGraph;
pub(super) use self::stored::name;

/// A node is a slot: the same number.
pub(super) type Node = u32;

/// How the graph is built; see the paper for what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Degrees {
    /// Neighbours a node looks for, and has at most above the ground level; twice that on it.
    pub(super) m: usize,
    /// Candidates it chooses them from.
    pub(super) ef_construction: usize,
}

impl Degrees {
    fn at(self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }
}

/// After how much growth the graph is searched for nodes that no walk can reach: a search of all nodes
/// for every 64th part of them, or a twentieth of the time that linking these takes.
const MENDED_SHARE: usize = 64;

/// Where walks begin.
#[derive(Clone, Copy, Debug)]
struct Entry {
    node: Node,
    level: usize,
}

impl Entry {
    fn pack(self) -> u64 {
        (self.level as u64 + 1) << 32 | u64::from(self.node)
    }

    #[expect(clippy::cast_possible_truncation, reason = "taken apart as it was put together")]
    fn unpack(packed: u64) -> Option<Self> {
        let level = (packed >> 32).checked_sub(1)?;
        Some(Self { node: packed as Node, level: level as usize })
    }
}

/// The graph of one collection, for as long as its slots keep their numbers.
#[derive(Debug)]
pub(super) struct Graph {
    degrees: Degrees,
    /// The newest; whoever searches takes it once.
    view: Mutex<Arc<View>>,
    /// One linker at a time.
    linking: Mutex<()>,
}

/// What was linked at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    shape: Arc<Shape>,
    degrees: Degrees,
    blocks: Vec<Block>,
    /// How many nodes have codes.
    len: usize,
    entry: Option<Entry>,
    /// How many nodes it had when nodes that no walk can reach were looked for.
    mended: usize,
}

impl Graph {
    /// A graph without nodes. `sample` tells where the vectors to come lie, roughly: their mean is taken
    /// from all of them.
    pub(super) fn new<'a>(
        dimension: Dimension,
        metric: Metric,
        degrees: Degrees,
        sample: impl Iterator<Item = &'a [f32]>,
    ) -> Self {
        let shape = Arc::new(Shape::new(dimension.get(), metric, sample));
        let view = View { shape, degrees, blocks: Vec::new(), len: 0, entry: None, mended: 0 };
        Self { degrees, view: Mutex::new(Arc::new(view)), linking: Mutex::default() }
    }

    /// What is linked now.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.current())
    }

    fn current(&self) -> MutexGuard<'_, Arc<View>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Links the slots that follow the linked ones (`None` for an emptied one), on `threads` threads, and shows the result to
    /// searches that begin then. Asks `stop` between two vectors.
    pub(super) fn extend<'a>(
        &self,
        added: impl Iterator<Item = Option<(&'a PointId, &'a [f32])>>,
        live: &(impl Fn(Node) -> bool + Sync),
        threads: usize,
        stop: &(impl Fn() -> bool + Sync),
    ) -> Result<(), LinkingStopped> {
        let _alone = self.linking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&self.view());
        let mut added_nodes = Vec::new();
        for slot in added.take(Key::NODES_MAX - view.len) {
            match slot {
                Some((id, vector)) => {
                    #[expect(clippy::cast_possible_truncation, reason = "a view holds no more than that")]
                    added_nodes.push(view.len as Node);
                    view.push(level(id, self.degrees.m), Some(vector));
                }
                // Emptied before it was linked. It keeps its number.
                None => view.push(0, None),
            }
        }
        let entry = AtomicU64::new(view.entry.map_or(0, Entry::pack));
        link::link_all(&view, &entry, &added_nodes, live, threads, stop)?;
        view.entry = Entry::unpack(entry.load(Ordering::Relaxed));
        if view.len >= view.mended + view.len / MENDED_SHARE {
            mend::mend(&view, live);
            view.mended = view.len;
        }
        *self.current() = Arc::new(view);
        Ok(())
    }
}

impl View {
    /// How many nodes it has: the slots below this number.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The vector to look for, in the shape that the walk compares.
    pub(super) fn probe(&self, vector: &[f32]) -> Probe {
        self.shape.query(vector)
    }

    /// The bytes of codes, and of everything else.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let codes = self.blocks.iter().map(Block::code_bytes).sum();
        (codes, self.blocks.iter().map(Block::link_bytes).sum())
    }

    fn grow(&mut self) -> (usize, Option<&mut Block>) {
        let offset = self.len % Block::NODES;
        if offset == 0 {
            self.blocks.push(Block::new(&self.shape, self.degrees));
        }
        self.len += 1;
        (offset, self.blocks.last_mut())
    }

    fn push(&mut self, level: usize, vector: Option<&[f32]>) {
        let (shape, degrees) = (Arc::clone(&self.shape), self.degrees);
        if let ((offset, Some(block)), Some(vector)) = (self.grow(), vector) {
            block.write(offset, level, degrees, |row| shape.write(vector, row));
        }
    }

    fn block(&self, node: Node) -> (&Block, usize) {
        let node = node as usize;
        (&self.blocks[node / Block::NODES], node % Block::NODES)
    }
}

#[cfg(test)]
mod tests;
