//! Remapping a graph after a compaction: the same graph without the deleted nodes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::link::{LinkingStopped, known, replace};
use super::scratch::{Key, Space, scratch};
use super::{Entry, Graph, Node, View, mend};

impl Graph {
    /// This graph with the numbers of `moved`, without the nodes that have no new number. A node that had a deleted neighbour
    /// selects its neighbours again, among the remaining ones and the neighbours of the deleted ones. The place of a deleted
    /// node that has duplicates goes to one of them.
    pub(in super::super) fn moved(
        &self,
        moved: impl Fn(Node) -> Option<Node>,
        stop: &impl Fn() -> bool,
    ) -> Result<Self, LinkingStopped> {
        let old = self.view();
        let mut new = View::empty(Arc::clone(&old.shape), old.degrees);
        let heirs = old.heirs(&moved);
        let inherited: HashMap<Node, Node> = heirs.iter().map(|(first, heir)| (*heir, *first)).collect();
        let place = |node: Node| moved(node).or_else(|| moved(*heirs.get(&node)?));
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let nodes = || 0..old.len as Node;
        for node in nodes().filter(|node| moved(*node).is_some()) {
            let (block, offset) = old.block(*inherited.get(&node).unwrap_or(&node));
            let level = block.level(offset);
            if let (offset, Some(block)) = new.grow() {
                block.write(offset, level, old.degrees, |row| row.copy_from_slice(old.row(node)));
            }
        }
        new.len = new.coded;
        let len = old.len;
        let twins: HashSet<Node> = old.twins.values().flatten().copied().collect();
        let mut scratch = scratch();
        let mut bereft = Vec::new();
        for node in nodes().filter(|node| !twins.contains(node)) {
            let Some(renumbered) = place(node) else { continue };
            LinkingStopped::if_asked(stop)?;
            let (block, offset) = old.block(node);
            let top = block.level(offset);
            if new.entry.is_none_or(|entry| top > entry.level) {
                new.entry = Some(Entry { node: renumbered, level: top });
            }
            for level in 0..=top {
                let neighbours = |of: Node| {
                    let (block, offset) = old.block(of);
                    known(block.neighbours(offset, level)).filter(move |known| (*known as usize) < len)
                };
                let (neighbours, anew) = new.surviving(node, level, &neighbours, &place, len, &mut scratch);
                let (block, offset) = new.block(renumbered);
                replace(block.neighbours(offset, level), &neighbours);
                if anew {
                    bereft.push((renumbered, level, neighbours));
                }
            }
        }
        new.lead_back(bereft, &mut scratch);
        for (first, twins) in old.twins.iter() {
            let heir = place(*first);
            let left: Vec<Node> =
                twins.iter().filter_map(|twin| moved(*twin)).filter(|twin| Some(*twin) != heir).collect();
            if let (Some(heir), false) = (heir, left.is_empty()) {
                Arc::make_mut(&mut new.twins).insert(heir, left);
            }
        }
        new.count_twins();
        mend::mend(&new, &|_| true, stop)?;
        new.mended = new.len;
        new.tested = old.tested.min(new.len);
        new.find_starts();
        Ok(Self::of(new))
    }
}

impl View {
    /// For each deleted node with duplicates, its first duplicate that stays.
    fn heirs(&self, moved: &impl Fn(Node) -> Option<Node>) -> HashMap<Node, Node> {
        let stays = |node: &Node| moved(*node).is_some();
        let gone = self.twins.iter().filter(|(first, _)| !stays(first));
        gone.filter_map(|(first, twins)| Some((*first, *twins.iter().find(|twin| stays(twin))?))).collect()
    }

    /// The new neighbours of `node`, by new numbers, and whether they were selected again. `self` is the new graph, with all its
    /// rows; `nodes` is the number of nodes of the old one.
    pub(super) fn surviving<N: Iterator<Item = Node>>(
        &self,
        node: Node,
        level: usize,
        neighbours: &impl Fn(Node) -> N,
        moved: &impl Fn(Node) -> Option<Node>,
        nodes: usize,
        space: &mut Space,
    ) -> (Vec<Key>, bool) {
        let Some(own) = moved(node) else { return (Vec::new(), false) };
        let (left, gone): (Vec<Node>, Vec<Node>) = neighbours(node).partition(|node| moved(*node).is_some());
        if gone.is_empty() {
            let renumbered = left.into_iter().filter_map(moved).filter(|node| *node != own);
            return (renumbered.map(|node| Key::new(0.0, node)).collect(), false);
        }
        // Expand deleted nodes breadth-first until there are enough candidates.
        space.start(nodes);
        space.see(node);
        for known in left.iter().chain(&gone) {
            space.see(*known);
        }
        let mut found: Vec<Node> = left.into_iter().filter_map(moved).collect();
        let mut open = VecDeque::from(gone);
        for _ in 0..self.degrees.ef_construction {
            let Some(gone) = open.pop_front() else { break };
            for next in neighbours(gone).filter(|next| space.see(*next)) {
                match moved(next) {
                    Some(next) => found.push(next),
                    None => open.push_back(next),
                }
            }
            if found.len() >= self.degrees.ef_construction {
                break;
            }
        }
        let mut probe = std::mem::take(&mut space.probe);
        probe.set(self.row(own), self.shape.precision());
        let found = found.into_iter().filter(|node| *node != own);
        let mut candidates: Vec<Key> = found.map(|node| self.key(&probe, node)).collect();
        space.probe = probe;
        candidates.sort_unstable();
        candidates.dedup();
        (self.choose(own, &candidates, self.degrees.at(level), space), true)
    }

    /// Links the selected neighbours back to their nodes: those that did so before may be deleted.
    pub(super) fn lead_back(&self, found: Vec<(Node, usize, Vec<Key>)>, space: &mut Space) {
        for (node, level, neighbours) in found {
            for key in neighbours {
                self.add(key.node(), level, Key::new(key.rank(), node), space);
            }
        }
    }
}
