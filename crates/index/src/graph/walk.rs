//! Walks from an entry point to the nodes nearest to a probe.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use super::blocks::NONE;
use super::node::{EntryPoint, Node, RankedNode};
use super::quantizer::Query;
use super::row::Probe;
use super::scratch::{WalkScratch, scratch};
use super::view::View;
use crate::prefetch::prefetch;

/// How many rows ahead of the comparison are prefetched.
const PREFETCH_AHEAD: usize = 8;
/// A walk that finds matches late keeps this many times as many candidates.
const WIDENED_BY: usize = 8;

impl View {
    /// Calls `found` with about `ef` nodes that are near to the query, nearest first, and their duplicates.
    pub(in super::super) fn nearest(&self, query: &Query, ef: usize, mut found: impl FnMut(&[Node])) {
        let probe = query.probe();
        let Some(entry) = self.start(probe) else { return };
        let mut scratch = scratch();
        let start = self.descend(probe, entry, 0);
        self.search_level(probe, &[start], 0, ef, &mut scratch);
        let scratch = &mut *scratch;
        scratch.fresh.clear();
        for candidate in &scratch.found {
            scratch.fresh.push(candidate.node());
            scratch.fresh.extend_from_slice(self.duplicates(candidate.node()));
        }
        found(&scratch.fresh);
    }

    /// Like [`nearest`](Self::nearest), but only with nodes that `accept` takes. Gives up after comparing more than
    /// `compares_max` nodes. If the walk passes over more than `skips_max` nodes before the first match, the matches
    /// lie elsewhere and the walk approaches them from one side; then it keeps more candidates, so as not to miss the
    /// nearest.
    pub(in super::super) fn nearest_accepted(
        &self,
        query: &Query,
        mut ef: usize,
        skips_max: usize,
        compares_max: usize,
        accept: impl Fn(Node) -> bool,
        mut found: impl FnMut(&[Node]),
    ) -> Result<(), LimitExceeded> {
        let probe = query.probe();
        let Some(entry) = self.start(probe) else { return Ok(()) };
        let mut scratch = scratch();
        let scratch = &mut *scratch;
        let start = self.descend(probe, entry, 0);
        scratch.start(self.len);
        scratch.mark_seen(start.node());
        scratch.open.push(Reverse(start));
        self.keep_accepted(start, ef, &accept, &mut scratch.found);
        let (mut compared, mut skipped) = (0, 0);
        while let Some(Reverse(candidate)) = scratch.open.pop() {
            if scratch.found.len() >= ef && scratch.found.last().is_some_and(|worst| candidate > *worst) {
                break;
            }
            self.gather(candidate.node(), 0, scratch);
            compared += scratch.fresh.len();
            if compared > compares_max {
                return Err(LimitExceeded);
            }
            for at in 0..scratch.fresh.len() {
                let node = scratch.fresh[at];
                let candidate = self.ranked(probe, node);
                if scratch.found.len() >= ef && scratch.found.last().is_some_and(|worst| candidate >= *worst)
                {
                    continue;
                }
                scratch.open.push(Reverse(candidate));
                let was_empty = scratch.found.is_empty();
                if !self.keep_accepted(candidate, ef, &accept, &mut scratch.found) {
                    skipped += 1;
                } else if was_empty && skipped > skips_max {
                    ef = ef.saturating_mul(WIDENED_BY);
                }
            }
        }
        scratch.fresh.clear();
        scratch.fresh.extend(scratch.found.iter().map(|candidate| candidate.node()));
        found(&scratch.fresh);
        Ok(())
    }

    /// Keeps the node and its duplicates that `accept` takes. Returns whether there were any.
    fn keep_accepted(
        &self,
        candidate: RankedNode,
        ef: usize,
        accept: &impl Fn(Node) -> bool,
        found: &mut Vec<RankedNode>,
    ) -> bool {
        let mut accepted = accept(candidate.node());
        if accepted {
            keep(found, candidate, ef);
        }
        for duplicate in self.duplicates(candidate.node()).iter().filter(|duplicate| accept(**duplicate)) {
            accepted = true;
            keep(found, RankedNode::new(candidate.rank(), *duplicate), ef);
        }
        accepted
    }

    /// The entry point of a walk to the probe.
    fn start(&self, probe: &Probe) -> Option<EntryPoint> {
        let Some(best) = self.starts.iter().map(|node| self.ranked(probe, *node)).min() else {
            return self.entry;
        };
        let (block, offset) = self.block(best.node());
        Some(EntryPoint { node: best.node(), level: block.level(offset) })
    }

    /// Descends greedily from the entry point to the level above `level`, and returns the nearest node there.
    pub(super) fn descend(&self, probe: &Probe, entry: EntryPoint, level: usize) -> RankedNode {
        let mut best = self.ranked(probe, entry.node);
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
                        best = best.min(self.ranked(probe, node));
                    }
                }
                if best == from {
                    break;
                }
            }
        }
        best
    }

    /// The best-first search of the paper (algorithm 2) with one sorted list. Leaves the nodes in `scratch.found`.
    pub(super) fn search_level(
        &self,
        probe: &Probe,
        starts: &[RankedNode],
        level: usize,
        ef: usize,
        scratch: &mut WalkScratch,
    ) {
        scratch.start(self.len);
        for start in starts {
            scratch.mark_seen(start.node());
            keep(&mut scratch.found, *start, ef);
        }
        let mut next = 0;
        while let Some(candidate) = scratch.found.get_mut(next) {
            if candidate.is_expanded() {
                next += 1;
                continue;
            }
            let node = candidate.node();
            *candidate = candidate.expanded();
            // Unless a nearer node is found meanwhile, this one is expanded next.
            if let Some(candidate) = scratch.found.get(next + 1) {
                let (block, offset) = self.block(candidate.node());
                prefetch(block.neighbours(offset, level));
            }
            self.gather(node, level, scratch);
            for at in 0..scratch.fresh.len() {
                if let Some(ahead) = scratch.fresh.get(at + PREFETCH_AHEAD) {
                    prefetch(self.row(*ahead));
                }
                let candidate = self.ranked(probe, scratch.fresh[at]);
                if let Some(at) = keep(&mut scratch.found, candidate, ef) {
                    next = next.min(at);
                }
            }
        }
    }

    /// Puts the neighbours that were not seen before into `scratch.fresh`, and prefetches the rows of the first ones.
    #[inline]
    fn gather(&self, node: Node, level: usize, scratch: &mut WalkScratch) {
        let (block, offset) = self.block(node);
        let neighbours = block.neighbours(offset, level);
        scratch.fresh.clear();
        scratch.fresh.resize(neighbours.len(), NONE);
        let mut count = 0;
        for neighbour in neighbours {
            let node = neighbour.load(Ordering::Acquire);
            if node == NONE {
                break;
            }
            if (node as usize) < self.len {
                // Written in any case, and overwritten if it was seen before: the branch would be unpredictable.
                scratch.fresh[count] = node;
                count += usize::from(scratch.mark_seen(node));
            }
        }
        scratch.fresh.truncate(count);
        for node in scratch.fresh.iter().take(PREFETCH_AHEAD) {
            prefetch(self.row(*node));
        }
    }
}

/// The walk would take longer than comparing every node that may match.
#[derive(Debug)]
pub(in super::super) struct LimitExceeded;

/// Inserts `candidate` into the sorted nearest `ef`, and returns its position if it is among them.
#[inline]
fn keep(found: &mut Vec<RankedNode>, candidate: RankedNode, ef: usize) -> Option<usize> {
    if found.len() >= ef {
        if found.last().is_some_and(|worst| candidate >= *worst) {
            return None;
        }
        found.pop();
    }
    let at = found.partition_point(|kept| *kept < candidate);
    found.insert(at, candidate);
    Some(at)
}
