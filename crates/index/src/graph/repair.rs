//! Repair of unreachable nodes.
//!
//! The neighbours of a node may drop it for nearer ones. For a few nodes in ten thousand no link is left. The paper
//! does not treat this.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::blocks::links;
use super::node::{Node, RankedNode};
use super::scratch::scratch;
use super::view::View;
use crate::interrupted::Interrupted;

/// Each round reaches at least as many nodes as the one before. One is nearly always enough.
const ROUNDS_MAX: usize = 4;
/// How many nodes are visited, in about fifty microseconds, between two calls of `stop`.
const STOP_CHECK_INTERVAL: usize = 256;

/// Makes every live node reachable from the entry on level 0. No other thread may link meanwhile.
pub(super) fn repair(
    view: &View,
    live: &impl Fn(Node) -> bool,
    stop: &impl Fn() -> bool,
) -> Result<(), Interrupted> {
    let Some(entry) = view.entry else { return Ok(()) };
    let duplicates: HashSet<Node> = view.duplicates.values().flatten().copied().collect();
    let stands = |node: Node| live(node) || view.duplicates(node).iter().any(|duplicate| live(*duplicate));
    let linked = |node: &Node| stands(*node) && !duplicates.contains(node);
    let mut scratch = scratch();
    for _ in 0..ROUNDS_MAX {
        let mut reached = Reached(vec![false; view.len]);
        reached.spread(view, entry.node, stop)?;
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let lost: Vec<Node> =
            (0..view.len as Node).filter(|node| !reached.has(*node) && linked(node)).collect();
        if lost.is_empty() {
            break;
        }
        for node in lost {
            if reached.has(node) {
                continue;
            }
            Interrupted::check(stop)?;
            let mut probe = std::mem::take(&mut scratch.probe);
            probe.set(view.row(node), view.quantizer.precision());
            // Not from a level above, where the only link may lead to this node.
            let start = view.ranked(&probe, entry.node);
            view.search_level(&probe, &[start], 0, view.parameters.ef_construction, &mut scratch);
            link_to(view, &scratch.found, node);
            scratch.probe = probe;
            reached.spread(view, node, stop)?;
        }
    }
    Ok(())
}

/// Links the nearest of the found nodes that has a free place to `node`. If none has, the nearest one loses its
/// farthest neighbour.
fn link_to(view: &View, found: &[RankedNode], node: Node) {
    let places = |from: &RankedNode| {
        let (block, offset) = view.block(from.node());
        block.neighbours(offset, 0)
    };
    let free = found.iter().find_map(|from| places(from).get(links(places(from)).count()));
    if let Some(place) = free.or_else(|| places(found.first()?).last()) {
        place.store(node, Ordering::Release);
    }
}

/// The set of nodes that a walk can reach.
struct Reached(Vec<bool>);

impl Reached {
    fn has(&self, node: Node) -> bool {
        self.0[node as usize]
    }

    fn spread(&mut self, view: &View, from: Node, stop: &impl Fn() -> bool) -> Result<(), Interrupted> {
        let mut open = vec![from];
        self.0[from as usize] = true;
        let mut looked_at: usize = 0;
        while let Some(node) = open.pop() {
            looked_at += 1;
            if looked_at.is_multiple_of(STOP_CHECK_INTERVAL) {
                Interrupted::check(stop)?;
            }
            let (block, offset) = view.block(node);
            for next in links(block.neighbours(offset, 0)) {
                if let Some(reached @ false) = self.0.get_mut(next as usize) {
                    *reached = true;
                    open.push(next);
                }
            }
        }
        Ok(())
    }
}
