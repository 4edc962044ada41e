//! What a walk needs besides the graph, kept for the next walk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Node;
use super::codes::Probe;
use crate::pool::{Pool, Pooled};

static SPACES: Pool<Space> = Pool::new();

/// Borrowed from a pool and given back.
pub(super) type Scratch = Pooled<Space>;

/// One that is free, or a new one.
pub(super) fn scratch() -> Scratch {
    SPACES.take()
}

/// Room to work in.
#[derive(Default)]
pub(super) struct Space {
    /// For each node the walk that has seen it last.
    seen: Vec<u8>,
    walk: u8,
    /// Nearest first.
    pub(super) found: Vec<Key>,
    pub(super) open: BinaryHeap<Reverse<Key>>,
    pub(super) fresh: Vec<Node>,
    pub(super) chosen: Vec<Probe>,
    pub(super) probe: Probe,
    pub(super) product: Probe,
}

impl Space {
    /// Forgets what it has seen, for a walk among `nodes` nodes.
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

    /// Whether the node is seen for the first time.
    #[inline]
    pub(super) fn see(&mut self, node: Node) -> bool {
        let seen = &mut self.seen[node as usize];
        let first = *seen != self.walk;
        *seen = self.walk;
        first
    }
}

/// A node and its rank in one number that orders by rank, and whether it has been expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    const EXPANDED: u64 = 1;
    /// Nodes have a bit less than a `u32`, for the mark.
    pub(super) const NODES_MAX: usize = 1 << 31;

    #[inline]
    pub(super) fn new(rank: f32, node: Node) -> Self {
        let bits = rank.to_bits();
        // The order of floats as the order of integers: all bits of a negative one turn, else the sign.
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
