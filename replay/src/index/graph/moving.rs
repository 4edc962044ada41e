//! The graph of the slots that are left after a compaction: the same one, without the emptied nodes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::link::{LinkingStopped, known, replace};
use super::scratch::{Key, Scratch, Space};
use super::{Entry, Graph, Node, View, mend};

impl Graph {
    /// This graph without the nodes that `moved` has no new number for. It numbers the others in their
    /// order, from zero. Whoever had an emptied neighbour chooses anew among the others and the
    /// neighbours of the emptied ones; the place of an emptied node that has twins goes to one of them.
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
        let twins: HashSet<Node> = old.twins.values().flatten().copied().collect();
        let mut scratch = Scratch::take();
        let mut bereft = Vec::new();
        for node in nodes().filter(|node| !twins.contains(node)) {
            let Some(renumbered) = place(node) else { continue };
            if stop() {
                return Err(LinkingStopped);
            }
            let (block, offset) = old.block(node);
            let top = block.level(offset);
            if new.entry.is_none_or(|entry| top > entry.level) {
                new.entry = Some(Entry { node: renumbered, level: top });
            }
            for level in 0..=top {
                let (neighbours, anew) = old.surviving(node, level, &place, &mut scratch);
                let (block, offset) = new.block(renumbered);
                replace(block.neighbours(offset, level), &neighbours);
                if anew {
                    bereft.push((renumbered, level, neighbours));
                }
            }
        }
        // Those that led to them are gone, too.
        for (node, level, neighbours) in bereft {
            for key in neighbours {
                new.add(key.node(), level, Key::new(key.rank(), node), &mut scratch);
            }
        }
        for (first, twins) in old.twins.iter() {
            let heir = place(*first);
            let left: Vec<Node> =
                twins.iter().filter_map(|twin| moved(*twin)).filter(|twin| Some(*twin) != heir).collect();
            if let (Some(heir), false) = (heir, left.is_empty()) {
                Arc::make_mut(&mut new.twins).insert(heir, left);
            }
        }
        mend::mend(&new, &|_| true, stop)?;
        new.mended = new.len;
        new.tested = old.tested.min(new.len);
        new.find_starts();
        Ok(Self::of(new))
    }
}

impl View {
    /// For each node that goes and has twins, the first of them that stays.
    fn heirs(&self, moved: &impl Fn(Node) -> Option<Node>) -> HashMap<Node, Node> {
        let stays = |node: &Node| moved(*node).is_some();
        let gone = self.twins.iter().filter(|(first, _)| !stays(first));
        gone.filter_map(|(first, twins)| Some((*first, *twins.iter().find(|twin| stays(twin))?))).collect()
    }

    /// The neighbours of `node` by their new numbers, and whether they were chosen anew.
    fn surviving(
        &self,
        node: Node,
        level: usize,
        moved: &impl Fn(Node) -> Option<Node>,
        space: &mut Space,
    ) -> (Vec<Key>, bool) {
        let neighbours = |of: Node| {
            let (block, offset) = self.block(of);
            known(block.neighbours(offset, level)).filter(|known| (*known as usize) < self.len)
        };
        let (mut left, gone): (Vec<Node>, Vec<Node>) =
            neighbours(node).partition(|node| moved(*node).is_some());
        let renumbered = |nodes: &[Key]| -> Vec<Key> {
            nodes.iter().filter_map(|key| Some(Key::new(key.rank(), moved(key.node())?))).collect()
        };
        if gone.is_empty() {
            let keys: Vec<Key> = left.iter().map(|node| Key::new(0.0, *node)).collect();
            return (renumbered(&keys), false);
        }
        // Through emptied nodes to those behind them, until there are enough to choose from.
        space.start(self.len);
        space.see(node);
        for known in left.iter().chain(&gone) {
            space.see(*known);
        }
        let mut open = VecDeque::from(gone);
        for _ in 0..self.degrees.ef_construction {
            let Some(gone) = open.pop_front() else { break };
            for next in neighbours(gone).filter(|next| space.see(*next)) {
                if moved(next).is_some() { left.push(next) } else { open.push_back(next) }
            }
            if left.len() >= self.degrees.ef_construction {
                break;
            }
        }
        let mut probe = std::mem::take(&mut space.probe);
        probe.set(self.row(node), self.shape.precision());
        let mut candidates: Vec<Key> = left.into_iter().map(|node| self.key(&probe, node)).collect();
        space.probe = probe;
        candidates.sort_unstable();
        (renumbered(&self.choose(node, &candidates, self.degrees.at(level), space)), true)
    }
}
