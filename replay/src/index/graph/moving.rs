//! The graph of the slots that are left after a compaction: the same one, without the emptied nodes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::link::{known, replace};
use super::scratch::{Key, Scratch, Space};
use super::{Entry, Graph, Node, View, mend};

impl Graph {
    /// This graph without the nodes that `moved` has no new number for. It numbers the others in their
    /// order, from zero. Whoever had an emptied neighbour chooses anew among the others and the
    /// neighbours of the emptied ones.
    pub(in super::super) fn moved(&self, moved: impl Fn(Node) -> Option<Node>) -> Self {
        let old = self.view();
        let mut new = View { blocks: Vec::new(), len: 0, entry: None, ..View::clone(&old) };
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let nodes = || (0..old.len as Node).filter(|node| moved(*node).is_some());
        for node in nodes() {
            let (block, offset) = old.block(node);
            let level = block.level(offset);
            if new.entry.is_none_or(|entry| level > entry.level) {
                new.entry = moved(node).map(|node| Entry { node, level });
            }
            if let (offset, Some(block)) = new.grow() {
                block.write(offset, level, old.degrees, |row| row.copy_from_slice(old.row(node)));
            }
        }
        let mut scratch = Scratch::take();
        let mut bereft = Vec::new();
        for node in nodes() {
            let (block, offset) = old.block(node);
            for level in 0..=block.level(offset) {
                let Some(renumbered) = moved(node) else { continue };
                let (neighbours, anew) = old.surviving(node, level, &moved, &mut scratch);
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
        mend::mend(&new, &|_| true);
        new.mended = new.len;
        Self { degrees: self.degrees, view: Mutex::new(Arc::new(new)), linking: Mutex::default() }
    }
}

impl View {
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
        while let Some(gone) = open.pop_front() {
            for next in neighbours(gone).filter(|next| space.see(*next)) {
                if moved(next).is_some() { left.push(next) } else { open.push_back(next) }
            }
            if left.len() >= self.degrees.ef_construction {
                break;
            }
        }
        let mut probe = std::mem::take(&mut space.probe);
        probe.set(self.row(node));
        let mut candidates: Vec<Key> = left.into_iter().map(|node| self.key(&probe, node)).collect();
        space.probe = probe;
        candidates.sort_unstable();
        (renumbered(&self.choose(&candidates, self.degrees.at(level), space)), true)
    }
}
