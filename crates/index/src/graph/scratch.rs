//! Reusable buffers of walks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Node;
use super::quantizer::Probe;
use crate::pool::{Pool, Pooled};

static SCRATCHES: Pool<WalkScratch> = Pool::new();

/// Borrowed from a pool and given back.
pub(super) type PooledScratch = Pooled<WalkScratch>;

/// Buffers from the pool, or new ones.
pub(super) fn scratch() -> PooledScratch {
    SCRATCHES.take()
}

/// The buffers of a walk.
#[derive(Default)]
pub(super) struct WalkScratch {
    /// For each node, the number of the last walk that has seen it.
    seen: Vec<u8>,
    walk: u8,
    /// The nodes found, nearest first.
    pub(super) found: Vec<RankedNode>,
    pub(super) open: BinaryHeap<Reverse<RankedNode>>,
    pub(super) fresh: Vec<Node>,
    pub(super) selected: Vec<Probe>,
    pub(super) probe: Probe,
    pub(super) product: Probe,
}

impl WalkScratch {
    /// Prepares for a walk among `nodes` nodes.
    pub(super) fn start(&mut self, nodes: usize) {
        if self.seen.len() < nodes {
            self.seen.resize(nodes, 0);
        }
        if self.walk == u8::MAX {
            self.seen.fill(0);
            self.walk = 0;
        }
        self.walk += 1;
        self.found.clear();
        self.open.clear();
    }

    /// Marks a node as seen. Returns whether this walk sees it for the first time.
    #[inline]
    pub(super) fn mark_seen(&mut self, node: Node) -> bool {
        let seen = &mut self.seen[node as usize];
        let first = *seen != self.walk;
        *seen = self.walk;
        first
    }
}

/// A node with its rank and a flag whether it was expanded, packed into an integer that orders by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RankedNode(u64);

impl RankedNode {
    const EXPANDED: u64 = 1;
    /// Nodes have 31 bits, as the flag takes one.
    pub(super) const NODES_MAX: usize = 1 << 31;

    #[inline]
    pub(super) fn new(rank: f32, node: Node) -> Self {
        let bits = rank.to_bits();
        // Maps floats to integers of the same order: inverts all bits of negative numbers, and the sign bit of others.
        let ordered = bits ^ (((bits.cast_signed() >> 31).cast_unsigned()) | 1 << 31);
        Self(u64::from(ordered) << 32 | u64::from(node) << 1)
    }

    #[expect(clippy::cast_possible_truncation, reason = "taken apart as it was put together")]
    pub(super) fn node(self) -> Node {
        (self.0 as u32) >> 1
    }

    pub(super) fn rank(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        let turned = ((!ordered).cast_signed() >> 31).cast_unsigned() | 1 << 31;
        f32::from_bits(ordered ^ turned)
    }

    pub(super) fn is_expanded(self) -> bool {
        self.0 & Self::EXPANDED != 0
    }

    pub(super) fn expanded(self) -> Self {
        Self(self.0 | Self::EXPANDED)
    }
}
