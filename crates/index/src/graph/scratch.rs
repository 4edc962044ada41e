//! Reusable buffers of walks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::node::{Node, RankedNode};
use super::row::Probe;
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
