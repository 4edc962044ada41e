//! Walks from an entry point to the nodes nearest to a probe.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use super::blocks::NONE;
use super::codes::{Lane, Probe, Query};
use super::scratch::{Key, Space, scratch};
use super::{Entry, Node, View};
use crate::prefetch::prefetch;

/// How many rows ahead of the comparison are prefetched.
const AHEAD: usize = 8;
/// A walk that finds matches late keeps this many times as many candidates.
const CANDIDATES_ELSEWHERE: usize = 8;

impl View {
    /// Calls `found` with about `ef` nodes that are near to the query, nearest first, and their duplicates.
    pub(in super::super) fn nearest(&self, query: &Query, ef: usize, mut found: impl FnMut(&[Node])) {
        let probe = query.probe();
        let Some(entry) = self.start(probe) else { return };
        let mut scratch = scratch();
        let start = self.descend(probe, entry, 0);
        self.search_level(probe, &[start], 0, ef, &mut scratch);
        let space = &mut *scratch;
        space.fresh.clear();
        for key in &space.found {
            space.fresh.push(key.node());
            space.fresh.extend_from_slice(self.twins(key.node()));
        }
        found(&space.fresh);
    }

    /// Like [`nearest`](Self::nearest), but only with nodes that `accept` takes. Gives up after comparing more than `effort`
    /// nodes. If the walk passes over more than `patience` nodes before the first match, the matches lie elsewhere and the walk
    /// approaches them from one side; then it keeps more candidates, so as not to miss the nearest.
    pub(in super::super) fn nearest_accepted(
        &self,
        query: &Query,
        mut ef: usize,
        patience: usize,
        effort: usize,
        accept: impl Fn(Node) -> bool,
        mut found: impl FnMut(&[Node]),
    ) -> Result<(), TooFar> {
        let probe = query.probe();
        let Some(entry) = self.start(probe) else { return Ok(()) };
        let mut scratch = scratch();
        let space = &mut *scratch;
        let start = self.descend(probe, entry, 0);
        space.start(self.len);
        space.see(start.node());
        space.open.push(Reverse(start));
        self.keep_accepted(start, ef, &accept, &mut space.found);
        let (mut compared, mut passed_over) = (0, 0);
        while let Some(Reverse(key)) = space.open.pop() {
            if space.found.len() >= ef && space.found.last().is_some_and(|worst| key > *worst) {
                break;
            }
            self.gather(key.node(), 0, space);
            compared += space.fresh.len();
            if compared > effort {
                return Err(TooFar);
            }
            for at in 0..space.fresh.len() {
                let node = space.fresh[at];
                let key = self.key(probe, node);
                if space.found.len() >= ef && space.found.last().is_some_and(|worst| key >= *worst) {
                    continue;
                }
                space.open.push(Reverse(key));
                let was_empty = space.found.is_empty();
                if !self.keep_accepted(key, ef, &accept, &mut space.found) {
                    passed_over += 1;
                } else if was_empty && passed_over > patience {
                    ef = ef.saturating_mul(CANDIDATES_ELSEWHERE);
                }
            }
        }
        space.fresh.clear();
        space.fresh.extend(space.found.iter().map(|key| key.node()));
        found(&space.fresh);
        Ok(())
    }

    /// Keeps the node and its duplicates that `accept` takes. Returns whether there were any.
    fn keep_accepted(
        &self,
        key: Key,
        ef: usize,
        accept: &impl Fn(Node) -> bool,
        found: &mut Vec<Key>,
    ) -> bool {
        let mut accepted = accept(key.node());
        if accepted {
            keep(found, key, ef);
        }
        for twin in self.twins(key.node()).iter().filter(|twin| accept(**twin)) {
            accepted = true;
            keep(found, Key::new(key.rank(), *twin), ef);
        }
        accepted
    }

    /// The entry point of a walk to the probe.
    fn start(&self, probe: &Probe) -> Option<Entry> {
        let Some(best) = self.starts.iter().map(|node| self.key(probe, *node)).min() else {
            return self.entry;
        };
        let (block, offset) = self.block(best.node());
        Some(Entry { node: best.node(), level: block.level(offset) })
    }

    /// Descends greedily from the entry point to the level above `level`, and returns the nearest node there.
    pub(super) fn descend(&self, probe: &Probe, entry: Entry, level: usize) -> Key {
        let mut best = self.key(probe, entry.node);
        for level in (level + 1..=entry.level).rev() {
            loop {
                let from = best;
                let (block, offset) = self.block(from.node());
                for neighbour in block.neighbours(offset, level) {
                    let node = neighbour.load(Ordering::Acquire);
                    if node == NONE {
                        break;
                    }
                    if (node as usize) < self.len {
                        best = best.min(self.key(probe, node));
                    }
                }
                if best == from {
                    break;
                }
            }
        }
        best
    }

    /// The best-first search of the paper (algorithm 2) with one sorted list. Leaves the nodes in `space.found`.
    pub(super) fn search_level(
        &self,
        probe: &Probe,
        starts: &[Key],
        level: usize,
        ef: usize,
        space: &mut Space,
    ) {
        space.start(self.len);
        for start in starts {
            space.see(start.node());
            keep(&mut space.found, *start, ef);
        }
        let mut next = 0;
        while let Some(key) = space.found.get_mut(next) {
            if key.is_expanded() {
                next += 1;
                continue;
            }
            let node = key.node();
            *key = key.expanded();
            // Unless a nearer node is found meanwhile, this one is expanded next.
            if let Some(key) = space.found.get(next + 1) {
                let (block, offset) = self.block(key.node());
                prefetch(block.neighbours(offset, level));
            }
            self.gather(node, level, space);
            for at in 0..space.fresh.len() {
                if let Some(ahead) = space.fresh.get(at + AHEAD) {
                    prefetch(self.row(*ahead));
                }
                let key = self.key(probe, space.fresh[at]);
                if let Some(at) = keep(&mut space.found, key, ef) {
                    next = next.min(at);
                }
            }
        }
    }

    /// Puts the neighbours that were not seen before into `space.fresh`, and prefetches the rows of the first ones.
    #[inline]
    fn gather(&self, node: Node, level: usize, space: &mut Space) {
        let (block, offset) = self.block(node);
        let neighbours = block.neighbours(offset, level);
        space.fresh.clear();
        space.fresh.resize(neighbours.len(), NONE);
        let mut count = 0;
        for neighbour in neighbours {
            let node = neighbour.load(Ordering::Acquire);
            if node == NONE {
                break;
            }
            if (node as usize) < self.len {
                // Written in any case, and overwritten if it was seen before: the branch would be unpredictable.
                space.fresh[count] = node;
                count += usize::from(space.see(node));
            }
        }
        space.fresh.truncate(count);
        for node in space.fresh.iter().take(AHEAD) {
            prefetch(self.row(*node));
        }
    }

    #[inline]
    pub(super) fn key(&self, probe: &Probe, node: Node) -> Key {
        Key::new(probe.rank(self.row(node)), node)
    }

    #[inline]
    pub(super) fn row(&self, node: Node) -> &[Lane] {
        let (block, offset) = self.block(node);
        block.row(offset)
    }
}

/// The walk would take longer than comparing every node that may match.
#[derive(Debug)]
pub(in super::super) struct TooFar;

/// Inserts `key` into the sorted nearest `ef`, and returns its position if it is among them.
#[inline]
fn keep(found: &mut Vec<Key>, key: Key, ef: usize) -> Option<usize> {
    if found.len() >= ef {
        if found.last().is_some_and(|worst| key >= *worst) {
            return None;
        }
        found.pop();
    }
    let at = found.partition_point(|kept| *kept < key);
    found.insert(at, key);
    Some(at)
}
