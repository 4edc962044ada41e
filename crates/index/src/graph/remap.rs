//! Remapping a graph after a compaction: the same graph without the deleted nodes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Graph;
use super::blocks::{links, replace};
use super::node::{EntryPoint, Node, RankedNode};
use super::repair::repair;
use super::scratch::{WalkScratch, scratch};
use super::view::View;
use crate::interrupted::Interrupted;

impl Graph {
    /// This graph with the numbers that `new_number` returns, without the nodes that have no new number. A node that
    /// had a deleted neighbour selects its neighbours again, among the remaining ones and the neighbours of the
    /// deleted ones. The place of a deleted node that has duplicates goes to one of them.
    pub(in super::super) fn remapped(
        &self,
        new_number: impl Fn(Node) -> Option<Node>,
        stop: &impl Fn() -> bool,
    ) -> Result<Self, Interrupted> {
        let old = self.view();
        let mut new = View::empty(Arc::clone(&old.quantizer), old.parameters);
        let successors = old.successors(&new_number);
        let predecessors: HashMap<Node, Node> =
            successors.iter().map(|(first, successor)| (*successor, *first)).collect();
        let place = |node: Node| new_number(node).or_else(|| new_number(*successors.get(&node)?));
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let nodes = || 0..old.len as Node;
        for node in nodes().filter(|node| new_number(*node).is_some()) {
            let (block, offset) = old.block(*predecessors.get(&node).unwrap_or(&node));
            let level = block.level(offset);
            if let (offset, Some(block)) = new.grow() {
                block.write(offset, level, old.parameters, |row| row.copy_from_slice(old.row(node)));
            }
        }
        new.len = new.encoded;
        let len = old.len;
        let duplicates: HashSet<Node> = old.duplicates.values().flatten().copied().collect();
        let mut scratch = scratch();
        let mut reselected = Vec::new();
        for node in nodes().filter(|node| !duplicates.contains(node)) {
            let Some(renumbered) = place(node) else { continue };
            Interrupted::check(stop)?;
            let (block, offset) = old.block(node);
            let top = block.level(offset);
            if new.entry.is_none_or(|entry| top > entry.level) {
                new.entry = Some(EntryPoint { node: renumbered, level: top });
            }
            for level in 0..=top {
                let neighbours = |of: Node| {
                    let (block, offset) = old.block(of);
                    links(block.neighbours(offset, level)).filter(move |known| (*known as usize) < len)
                };
                let (neighbours, is_reselected) =
                    new.surviving_neighbours(node, level, &neighbours, &place, len, &mut scratch);
                let (block, offset) = new.block(renumbered);
                replace(block.neighbours(offset, level), &neighbours);
                if is_reselected {
                    reselected.push((renumbered, level, neighbours));
                }
            }
        }
        new.link_back(reselected, &mut scratch);
        for (first, duplicates) in old.duplicates.iter() {
            let successor = place(*first);
            let left: Vec<Node> = duplicates
                .iter()
                .filter_map(|duplicate| new_number(*duplicate))
                .filter(|duplicate| Some(*duplicate) != successor)
                .collect();
            if let (Some(successor), false) = (successor, left.is_empty()) {
                Arc::make_mut(&mut new.duplicates).insert(successor, left);
            }
        }
        new.count_duplicates();
        repair(&new, &|_| true, stop)?;
        new.repaired_len = new.len;
        new.tested = old.tested.min(new.len);
        new.find_starts();
        Ok(Self::of(new))
    }
}

impl View {
    /// For each deleted node with duplicates, its first duplicate that stays.
    fn successors(&self, new_number: &impl Fn(Node) -> Option<Node>) -> HashMap<Node, Node> {
        let stays = |node: &Node| new_number(*node).is_some();
        let gone = self.duplicates.iter().filter(|(first, _)| !stays(first));
        gone.filter_map(|(first, duplicates)| {
            Some((*first, *duplicates.iter().find(|duplicate| stays(duplicate))?))
        })
        .collect()
    }

    /// The new neighbours of `node`, by new numbers, and whether they were selected again. `self` is the new graph,
    /// with all its rows; `nodes` is the number of nodes of the old one.
    pub(super) fn surviving_neighbours<N: Iterator<Item = Node>>(
        &self,
        node: Node,
        level: usize,
        neighbours: &impl Fn(Node) -> N,
        new_number: &impl Fn(Node) -> Option<Node>,
        nodes: usize,
        scratch: &mut WalkScratch,
    ) -> (Vec<RankedNode>, bool) {
        let Some(own) = new_number(node) else { return (Vec::new(), false) };
        let (left, gone): (Vec<Node>, Vec<Node>) =
            neighbours(node).partition(|node| new_number(*node).is_some());
        if gone.is_empty() {
            let renumbered = left.into_iter().filter_map(new_number).filter(|node| *node != own);
            return (renumbered.map(|node| RankedNode::new(0.0, node)).collect(), false);
        }
        // Expand deleted nodes breadth-first until there are enough candidates.
        scratch.start(nodes);
        scratch.mark_seen(node);
        for known in left.iter().chain(&gone) {
            scratch.mark_seen(*known);
        }
        let mut found: Vec<Node> = left.into_iter().filter_map(new_number).collect();
        let mut open = VecDeque::from(gone);
        for _ in 0..self.parameters.ef_construction {
            let Some(gone) = open.pop_front() else { break };
            for next in neighbours(gone).filter(|next| scratch.mark_seen(*next)) {
                match new_number(next) {
                    Some(next) => found.push(next),
                    None => open.push_back(next),
                }
            }
            if found.len() >= self.parameters.ef_construction {
                break;
            }
        }
        let mut probe = std::mem::take(&mut scratch.probe);
        probe.set(self.row(own), self.quantizer.precision());
        let found = found.into_iter().filter(|node| *node != own);
        let mut candidates: Vec<RankedNode> = found.map(|node| self.ranked(&probe, node)).collect();
        scratch.probe = probe;
        candidates.sort_unstable();
        candidates.dedup();
        (self.select(own, &candidates, self.parameters.at(level), scratch), true)
    }

    /// Links the selected neighbours back to their nodes: those that did so before may be deleted.
    pub(super) fn link_back(&self, found: Vec<(Node, usize, Vec<RankedNode>)>, scratch: &mut WalkScratch) {
        for (node, level, neighbours) in found {
            for candidate in neighbours {
                self.add(candidate.node(), level, RankedNode::new(candidate.rank(), node), scratch);
            }
        }
    }
}
