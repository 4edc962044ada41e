//! Where nodes lie: runs of them, with their codes and their neighbours.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::codes::{Lane, Shape};
use super::{Degrees, Node};
use crate::memory::{list, shared};

/// The place of a neighbour that is not there; those behind it are not there either.
pub(super) const NONE: Node = Node::MAX;

/// A run of nodes. A clone shares the neighbours, which linking goes on changing, and the codes until
/// more of them are written.
#[derive(Clone, Debug)]
pub(super) struct Block {
    lanes: usize,
    codes: Arc<[Lane]>,
    /// On the ground, twice `m` for each node.
    ground: Arc<[AtomicU32]>,
    ground_degree: usize,
    /// For the few that reach higher, in their order: `m` for each level.
    upper: Arc<Vec<(usize, Upper)>>,
    upper_degree: usize,
}

/// The neighbours of one node above the ground, level by level.
type Upper = Arc<[AtomicU32]>;

impl Block {
    /// How many nodes a block has room for.
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

    /// Has `write` make the codes of the node at `offset`, which has none yet.
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

    /// Replaces all codes by those of another shape.
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

    /// The neighbours of the node at `offset`; none on a level that it does not reach.
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

    /// The offsets of those that reach above the ground, and their highest levels.
    pub(super) fn upper(&self) -> impl Iterator<Item = (usize, usize)> {
        self.upper.iter().map(|(offset, links)| (*offset, links.len() / self.upper_degree))
    }

    /// What the codes of a block take.
    pub(super) fn code_bytes(shape: &Shape) -> usize {
        shared(Self::NODES * shape.lanes() * size_of::<Lane>())
    }

    /// What the neighbours on the ground of a block take.
    pub(super) fn link_bytes(degrees: Degrees) -> usize {
        shared(Self::NODES * degrees.at(0) * size_of::<Node>())
    }

    /// About what the neighbours above the ground take of so many nodes: one of `m` has some, of those one of `m`
    /// more.
    pub(super) fn upper_bytes(degrees: Degrees, nodes: usize) -> usize {
        let node = shared(degrees.m * size_of::<Node>()) + list::<(usize, Upper)>(1);
        nodes / degrees.m.saturating_sub(1).max(1) * node
    }
}

fn unlinked(places: usize) -> Arc<[AtomicU32]> {
    std::iter::repeat_with(|| AtomicU32::new(NONE)).take(places).collect()
}
