//! Blocks of nodes, with their quantized codes and their neighbours.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::codes::{Lane, Shape};
use super::{Degrees, Node};
use crate::memory::{list, shared};

/// An unused place in a list of neighbours; all places after it are unused too.
pub(super) const NONE: Node = Node::MAX;

/// A block of nodes. A clone shares the neighbours, which linking goes on changing, and the codes until more of them are
/// written.
#[derive(Clone, Debug)]
pub(super) struct Block {
    lanes: usize,
    codes: Arc<[Lane]>,
    /// The neighbours on level 0: `2 * m` places for each node.
    ground: Arc<[AtomicU32]>,
    ground_degree: usize,
    /// The neighbours above level 0 of the few nodes that have some, by offset: `m` places for each level.
    upper: Arc<Vec<(usize, Upper)>>,
    upper_degree: usize,
}

/// The neighbours of one node above level 0, level by level.
type Upper = Arc<[AtomicU32]>;

impl Block {
    /// How many nodes a block can hold.
    pub(super) const NODES: usize = 1024;

    pub(super) fn new(shape: &Shape, degrees: Degrees) -> Self {
        Self {
            lanes: shape.lanes(),
            codes: std::iter::repeat_n(Lane::default(), Self::NODES * shape.lanes()).collect(),
            ground: unlinked(Self::NODES * degrees.at(0)),
            ground_degree: degrees.at(0),
            upper: Arc::default(),
            upper_degree: degrees.at(1),
        }
    }

    /// Adds the node at `offset`; `write` writes its codes.
    pub(super) fn write(
        &mut self,
        offset: usize,
        level: usize,
        degrees: Degrees,
        write: impl FnOnce(&mut [Lane]),
    ) {
        let row = offset * self.lanes..(offset + 1) * self.lanes;
        write(&mut Arc::make_mut(&mut self.codes)[row]);
        if level > 0 {
            Arc::make_mut(&mut self.upper).push((offset, unlinked(level * degrees.at(1))));
        }
    }

    /// Replaces all codes by those of another quantizer.
    pub(super) fn rewrite<'a>(&mut self, shape: &Shape, vectors: impl Iterator<Item = &'a [f32]>) {
        self.lanes = shape.lanes();
        let mut codes = vec![Lane::default(); Self::NODES * self.lanes];
        for (row, vector) in codes.chunks_exact_mut(self.lanes).zip(vectors) {
            shape.write(vector, row);
        }
        self.codes = codes.into();
    }

    #[inline]
    pub(super) fn row(&self, offset: usize) -> &[Lane] {
        &self.codes[offset * self.lanes..][..self.lanes]
    }

    /// The neighbours of the node at `offset`; empty on a level above its highest.
    #[inline]
    pub(super) fn neighbours(&self, offset: usize, level: usize) -> &[AtomicU32] {
        if level == 0 {
            return &self.ground[offset * self.ground_degree..][..self.ground_degree];
        }
        let Ok(found) = self.upper.binary_search_by_key(&offset, |(offset, _)| *offset) else { return &[] };
        let start = (level - 1) * self.upper_degree;
        self.upper[found].1.get(start..start + self.upper_degree).unwrap_or_default()
    }

    /// The highest level of the node at `offset`.
    pub(super) fn level(&self, offset: usize) -> usize {
        self.upper
            .binary_search_by_key(&offset, |(offset, _)| *offset)
            .map_or(0, |found| self.upper[found].1.len() / self.upper_degree)
    }

    /// The offset and the highest level of each node above level 0.
    pub(super) fn upper(&self) -> impl Iterator<Item = (usize, usize)> {
        self.upper.iter().map(|(offset, links)| (*offset, links.len() / self.upper_degree))
    }

    /// The heap bytes of a block's codes.
    pub(super) fn code_bytes(shape: &Shape) -> usize {
        shared(Self::NODES * shape.lanes() * size_of::<Lane>())
    }

    /// The heap bytes of a block's neighbours on level 0.
    pub(super) fn link_bytes(degrees: Degrees) -> usize {
        shared(Self::NODES * degrees.at(0) * size_of::<Node>())
    }

    /// About the heap bytes of the neighbours above level 0 of this many nodes: one in `m` has some, of those one in `m` has
    /// two levels, and so on.
    pub(super) fn upper_bytes(degrees: Degrees, nodes: usize) -> usize {
        let node = shared(degrees.m * size_of::<Node>()) + list::<(usize, Upper)>(1);
        nodes / degrees.m.saturating_sub(1).max(1) * node
    }
}

fn unlinked(places: usize) -> Arc<[AtomicU32]> {
    std::iter::repeat_with(|| AtomicU32::new(NONE)).take(places).collect()
}
