//! Blocks of nodes, with their quantized codes and their neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::node::{BuildParameters, Node, RankedNode};
use super::quantizer::Quantizer;
use super::row::CacheLine;
use crate::memory::{list, shared};

/// An unused place in a list of neighbours; all places after it are unused too.
pub(super) const NONE: Node = Node::MAX;

/// A block of nodes. A clone shares the neighbours, which linking goes on changing, and the codes until more of them
/// are written.
#[derive(Clone, Debug)]
pub(super) struct Block {
    lines: usize,
    codes: Arc<[CacheLine]>,
    /// The neighbours on level 0: `2 * m` places for each node.
    level_0: Arc<[AtomicU32]>,
    level_0_places: usize,
    /// The neighbours above level 0 of the few nodes that have some, by offset: `m` places for each level.
    upper: Arc<Vec<(usize, Upper)>>,
    upper_places: usize,
}

/// The neighbours of one node above level 0, level by level.
type Upper = Arc<[AtomicU32]>;

impl Block {
    /// How many nodes a block can hold.
    pub(super) const NODES: usize = 1024;

    pub(super) fn new(quantizer: &Quantizer, parameters: BuildParameters) -> Self {
        Self {
            lines: quantizer.lines(),
            codes: std::iter::repeat_n(CacheLine::default(), Self::NODES * quantizer.lines()).collect(),
            level_0: unlinked(Self::NODES * parameters.at(0)),
            level_0_places: parameters.at(0),
            upper: Arc::default(),
            upper_places: parameters.at(1),
        }
    }

    /// Adds the node at `offset`; `write` writes its codes.
    pub(super) fn write(
        &mut self,
        offset: usize,
        level: usize,
        parameters: BuildParameters,
        write: impl FnOnce(&mut [CacheLine]),
    ) {
        let row = offset * self.lines..(offset + 1) * self.lines;
        write(&mut Arc::make_mut(&mut self.codes)[row]);
        if level > 0 {
            Arc::make_mut(&mut self.upper).push((offset, unlinked(level * parameters.at(1))));
        }
    }

    /// Replaces all codes by those of another quantizer.
    pub(super) fn rewrite<'a>(&mut self, quantizer: &Quantizer, vectors: impl Iterator<Item = &'a [f32]>) {
        self.lines = quantizer.lines();
        let mut codes = vec![CacheLine::default(); Self::NODES * self.lines];
        for (row, vector) in codes.chunks_exact_mut(self.lines).zip(vectors) {
            quantizer.write(vector, row);
        }
        self.codes = codes.into();
    }

    #[inline]
    pub(super) fn row(&self, offset: usize) -> &[CacheLine] {
        &self.codes[offset * self.lines..][..self.lines]
    }

    /// The neighbours of the node at `offset`; empty on a level above its highest.
    #[inline]
    pub(super) fn neighbours(&self, offset: usize, level: usize) -> &[AtomicU32] {
        if level == 0 {
            return &self.level_0[offset * self.level_0_places..][..self.level_0_places];
        }
        let Ok(found) = self.upper.binary_search_by_key(&offset, |(offset, _)| *offset) else { return &[] };
        let start = (level - 1) * self.upper_places;
        self.upper[found].1.get(start..start + self.upper_places).unwrap_or_default()
    }

    /// The highest level of the node at `offset`.
    pub(super) fn level(&self, offset: usize) -> usize {
        self.upper
            .binary_search_by_key(&offset, |(offset, _)| *offset)
            .map_or(0, |found| self.upper[found].1.len() / self.upper_places)
    }

    /// The offset and the highest level of each node above level 0.
    pub(super) fn upper(&self) -> impl Iterator<Item = (usize, usize)> {
        self.upper.iter().map(|(offset, links)| (*offset, links.len() / self.upper_places))
    }

    /// The heap bytes of a block's codes.
    pub(super) fn code_bytes(quantizer: &Quantizer) -> usize {
        shared(Self::NODES * quantizer.lines() * size_of::<CacheLine>())
    }

    /// The heap bytes of a block's neighbours on level 0.
    pub(super) fn link_bytes(parameters: BuildParameters) -> usize {
        shared(Self::NODES * parameters.at(0) * size_of::<Node>())
    }

    /// About the heap bytes of the neighbours above level 0 of this many nodes: one in `m` has some, of those one in
    /// `m` has two levels, and so on.
    pub(super) fn upper_bytes(parameters: BuildParameters, nodes: usize) -> usize {
        let node = shared(parameters.m * size_of::<Node>()) + list::<(usize, Upper)>(1);
        nodes / parameters.m.saturating_sub(1).max(1) * node
    }
}

fn unlinked(places: usize) -> Arc<[AtomicU32]> {
    std::iter::repeat_with(|| AtomicU32::new(NONE)).take(places).collect()
}

/// The neighbours in a list: the places before the first unused one.
pub(super) fn links(places: &[AtomicU32]) -> impl Iterator<Item = Node> {
    places.iter().map(|place| place.load(Ordering::Acquire)).take_while(|node| *node != NONE)
}

/// Replaces all neighbours in a list.
pub(super) fn replace(places: &[AtomicU32], nodes: &[RankedNode]) {
    let nodes = nodes.iter().map(|candidate| candidate.node()).chain(std::iter::repeat(NONE));
    for (place, node) in places.iter().zip(nodes) {
        place.store(node, Ordering::Release);
    }
}
