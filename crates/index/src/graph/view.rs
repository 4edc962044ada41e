//! A graph as of one moment.

use std::collections::HashMap;
use std::sync::Arc;

use super::blocks::Block;
use super::bound::Bound;
use super::node::{BuildParameters, EntryPoint, Node, RankedNode};
use super::quantizer::{Quantizer, Query};
use super::row::{CacheLine, Probe};
use crate::memory::{list, table};

/// A walk has at most this many starting points.
const STARTS_MAX: usize = 128;

/// The graph as of one moment.
#[derive(Clone, Debug)]
pub(in super::super) struct View {
    pub(super) quantizer: Arc<Quantizer>,
    pub(super) parameters: BuildParameters,
    pub(super) blocks: Vec<Block>,
    /// How many nodes are linked.
    pub(super) len: usize,
    /// How many nodes have codes: the linked ones and those that are linked next. Codes rule out most of the vectors
    /// that a search would compare one by one.
    pub(super) encoded: usize,
    pub(super) entry: Option<EntryPoint>,
    /// If nodes have neighbours of two kinds: the nodes of the highest levels. A walk begins at the best of them, as
    /// there may be no path between parts of the graph against the direction of the query.
    pub(super) starts: Arc<[Node]>,
    /// Nodes that are not linked because another node has the same row, by that other node.
    pub(super) duplicates: Arc<HashMap<Node, Vec<Node>>>,
    /// How many duplicates there are, and the most for one node.
    pub(super) duplicates_total: usize,
    pub(super) duplicates_max: usize,
    /// How many nodes the view had at the last repair.
    pub(super) repaired_len: usize,
    /// How many slots had rows at the last thorough test of their precision.
    pub(super) tested: usize,
}

impl View {
    pub(super) fn empty(quantizer: Arc<Quantizer>, parameters: BuildParameters) -> Self {
        let (blocks, duplicates) = (Vec::new(), Arc::default());
        let starts = Arc::default();
        let (duplicates_total, duplicates_max) = (0, 0);
        let (len, encoded, repaired_len, tested) = (0, 0, 0, 0);
        let entry = None;
        Self {
            quantizer,
            parameters,
            blocks,
            len,
            encoded,
            entry,
            starts,
            duplicates,
            duplicates_total,
            duplicates_max,
            repaired_len,
            tested,
        }
    }

    /// Selects the starting points of walks, if neighbours are of two kinds.
    pub(super) fn find_starts(&mut self) {
        if !self.quantizer.links_by_products() {
            return;
        }
        let mut high: Vec<(usize, Node)> = Vec::new();
        for (number, block) in (0..).step_by(Block::NODES).zip(&self.blocks) {
            #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
            high.extend(block.upper().map(|(offset, level)| (level, (number + offset) as Node)));
        }
        high.retain(|(_, node)| (*node as usize) < self.len);
        high.sort_unstable_by_key(|(level, node)| (std::cmp::Reverse(*level), *node));
        self.starts = high.into_iter().take(STARTS_MAX).map(|(_, node)| node).collect();
    }

    /// The most duplicates that this many nodes can have.
    pub(in super::super) fn duplicates_of(&self, nodes: usize) -> usize {
        nodes.saturating_mul(self.duplicates_max).min(self.duplicates_total)
    }

    pub(super) fn count_duplicates(&mut self) {
        self.duplicates_total = self.duplicates.values().map(Vec::len).sum();
        self.duplicates_max = self.duplicates.values().map(Vec::len).max().unwrap_or(0);
    }

    /// The duplicates of a node, which it stands for.
    pub(super) fn duplicates(&self, node: Node) -> &[Node] {
        if self.duplicates.is_empty() { &[] } else { self.duplicates.get(&node).map_or(&[], Vec::as_slice) }
    }

    /// How many nodes are linked: the slots below this number.
    pub(in super::super) fn len(&self) -> usize {
        self.len
    }

    /// How many slots have rows, linked or not.
    pub(in super::super) fn encoded(&self) -> usize {
        self.encoded
    }

    /// The bound for a query of this view; `None` if it would rule out nothing.
    pub(in super::super) fn bound<'a>(&self, query: &'a mut Query) -> Option<Bound<'a>> {
        self.quantizer.bound(query)
    }

    /// Whether the vector of a slot with a row is farther away than `rank_max`.
    #[inline]
    pub(in super::super) fn rules_out(&self, bound: &Bound<'_>, number: Node, rank_max: f32) -> bool {
        bound.rules_out(self.row(number), rank_max)
    }

    /// Sets `query` to this vector, quantized like the rows.
    pub(in super::super) fn set_query(&self, vector: &[f32], query: &mut Query) {
        self.quantizer.set_query(vector, query);
    }

    /// The heap bytes of the codes, and about those of the rest. In constant time.
    pub(in super::super) fn bytes(&self) -> (usize, usize) {
        let duplicates =
            table::<Node, Vec<Node>>(self.duplicates.capacity()) + 2 * list::<Node>(self.duplicates_total);
        let links = Block::link_bytes(self.parameters) + list::<Block>(1);
        let upper = Block::upper_bytes(self.parameters, self.encoded);
        (
            self.blocks.len() * Block::code_bytes(&self.quantizer),
            self.blocks.len() * links + upper + duplicates,
        )
    }

    pub(super) fn grow(&mut self) -> (usize, Option<&mut Block>) {
        let offset = self.encoded % Block::NODES;
        if offset == 0 {
            self.blocks.push(Block::new(&self.quantizer, self.parameters));
        }
        self.encoded += 1;
        (offset, self.blocks.last_mut())
    }

    pub(super) fn push(&mut self, level: usize, vector: &[f32]) {
        let (quantizer, parameters) = (Arc::clone(&self.quantizer), self.parameters);
        if let (offset, Some(block)) = self.grow() {
            block.write(offset, level, parameters, |row| quantizer.write(vector, row));
        }
    }

    pub(super) fn block(&self, node: Node) -> (&Block, usize) {
        let node = node as usize;
        (&self.blocks[node / Block::NODES], node % Block::NODES)
    }

    /// The node, with the rank of its row.
    #[inline]
    pub(super) fn ranked(&self, probe: &Probe, node: Node) -> RankedNode {
        RankedNode::new(probe.rank(self.row(node)), node)
    }

    #[inline]
    pub(super) fn row(&self, node: Node) -> &[CacheLine] {
        let (block, offset) = self.block(node);
        block.row(offset)
    }
}
