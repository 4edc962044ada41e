//! Linking new nodes into the graph.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocks::{links, replace};
use super::node::{BuildParameters, EntryPoint, Node, RankedNode};
use super::row::{CacheLine, Precision, Probe};
use super::scratch::{WalkScratch, scratch};
use super::view::View;
use crate::interrupted::Interrupted;

/// Of neighbours by distance and by product, one in this many is by distance.
const DISTANCE_SHARE: usize = 4;

/// The threads that link.
#[derive(Clone, Copy, Debug)]
pub struct LinkThreads {
    /// How many threads help the calling one, at most.
    pub helpers: usize,
    /// Called by each helper first; it may lower the thread's priority.
    pub on_start: fn(),
    /// Called by the calling thread after each of its points while others help. It may park, to leave most points to
    /// the helpers; it is unparked when nothing is left to link.
    pub after_each: fn(),
}

/// This many threads of the same priority.
impl From<usize> for LinkThreads {
    fn from(threads: usize) -> Self {
        Self { helpers: threads.saturating_sub(1), on_start: || (), after_each: || () }
    }
}

/// Locks of the neighbour lists, by node number modulo their count.
struct Locks(Vec<Mutex<()>>);

impl Locks {
    const COUNT: usize = 1024;

    fn new() -> Self {
        Self((0..Self::COUNT).map(|_| Mutex::default()).collect())
    }

    fn of(&self, node: Node) -> MutexGuard<'_, ()> {
        self.0[node as usize % Self::COUNT].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Links `nodes`, which `view` has codes for, and raises `entry` to the highest of them. A node whose row equals that
/// of another node is not linked but returned as a pair with that one. Also returns how many nodes were processed:
/// all, or the first ones if `enough` returned true.
fn link_all(
    view: &View,
    entry: &AtomicU64,
    nodes: &[Node],
    live: &(impl Fn(Node) -> bool + Sync),
    LinkThreads { helpers, on_start, after_each }: LinkThreads,
    (stop, enough): (&(impl Fn() -> bool + Sync), &(impl Fn() -> bool + Sync)),
) -> Result<(usize, Vec<(Node, Node)>), Interrupted> {
    let next = AtomicUsize::new(0);
    let linker = Linker {
        view,
        entry,
        live,
        locks: Locks::new(),
        promotion: Mutex::default(),
        duplicates: Mutex::default(),
    };
    let stopped = AtomicBool::new(false);
    // Returns whether there may be more to link.
    let link_next = |scratch: &mut WalkScratch| {
        // Checked before a node is taken: all nodes taken are linked. The first ones are taken in any case, for
        // progress.
        if next.load(Ordering::Relaxed) > helpers && enough() {
            return false;
        }
        let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) else { return false };
        if stopped.load(Ordering::Relaxed) || stop() {
            stopped.store(true, Ordering::Relaxed);
            return false;
        }
        linker.link(*node, scratch);
        true
    };
    let caller = std::thread::current();
    let help = || {
        on_start();
        let mut scratch = scratch();
        while link_next(&mut scratch) {}
        caller.unpark();
    };
    std::thread::scope(|scope| {
        let mut helped = false;
        for _ in 0..helpers.min(nodes.len().saturating_sub(1)) {
            // If no thread can be spawned, this one links alone.
            helped |= std::thread::Builder::new().spawn_scoped(scope, help).is_ok();
        }
        let mut scratch = scratch();
        while link_next(&mut scratch) {
            if helped {
                after_each();
            }
        }
    });
    if stopped.into_inner() {
        return Err(Interrupted);
    }
    let duplicates = linker.duplicates.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((next.into_inner().min(nodes.len()), duplicates))
}

struct Linker<'a, L> {
    view: &'a View,
    entry: &'a AtomicU64,
    /// Whether a node still holds a point. Deleted nodes stay passable, but get no new links.
    live: &'a L,
    locks: Locks,
    /// Held while a node may become the entry.
    promotion: Mutex<()>,
    /// Pairs of a linked node and a node with the same row.
    duplicates: Mutex<Vec<(Node, Node)>>,
}

impl<L: Fn(Node) -> bool> Linker<'_, L> {
    fn link(&self, node: Node, scratch: &mut WalkScratch) {
        let view = self.view;
        let (block, offset) = view.block(node);
        let own_level = block.level(offset);
        let mut probe = std::mem::take(&mut scratch.probe);
        probe.set(block.row(offset), view.quantizer.precision());
        let mut entry = EntryPoint::unpack(self.entry.load(Ordering::Acquire));
        let mut promotion = None;
        if entry.is_none_or(|entry| own_level > entry.level) {
            promotion = Some(self.promotion.lock().unwrap_or_else(PoisonError::into_inner));
            entry = EntryPoint::unpack(self.entry.load(Ordering::Acquire));
        }
        let top = entry.map(|entry| own_level.min(entry.level));
        // Level 0 first: a walk that meets the node on a higher level can go on from it.
        for (entry, level) in
            entry.into_iter().flat_map(|entry| (0..=top.unwrap_or(0)).map(move |level| (entry, level)))
        {
            let mut found = view.candidates(node, &probe, (entry, level), scratch);
            if level == 0
                && let Some(first) = view.same_row(node, &probe, &found)
            {
                self.duplicates.lock().unwrap_or_else(PoisonError::into_inner).push((first, node));
                scratch.probe = probe;
                return;
            }
            if view.quantizer.links_by_products() {
                let mut product = std::mem::take(&mut scratch.product);
                product.set_product(block.row(offset), view.quantizer.precision());
                for candidate in view.candidates(node, &product, (entry, level), scratch) {
                    let candidate = view.ranked(&probe, candidate.node());
                    if !found.contains(&candidate) {
                        found.push(candidate);
                    }
                }
                scratch.product = product;
                found.sort_unstable();
            }
            let selected = self.select_live(node, &found, scratch);
            self.write(node, level, &selected, &probe, scratch);
            for candidate in selected {
                let _lock = self.locks.of(candidate.node());
                view.add(candidate.node(), level, RankedNode::new(candidate.rank(), node), scratch);
            }
        }
        if promotion.is_some() && entry.is_none_or(|entry| own_level > entry.level) {
            self.entry.store(EntryPoint { node, level: own_level }.pack(), Ordering::Release);
        }
        scratch.probe = probe;
    }

    /// Selects neighbours for a new node. If too few live candidates are left, deleted ones are selected too: they keep
    /// parts of the graph connected until it is compacted.
    fn select_live(
        &self,
        node: Node,
        candidates: &[RankedNode],
        scratch: &mut WalkScratch,
    ) -> Vec<RankedNode> {
        let count = self.view.parameters.m;
        let live = |candidate: &RankedNode| (self.live)(candidate.node());
        let enough = candidates.iter().filter(|candidate| live(candidate)).take(count).count() == count;
        self.view.select_accepted(node, candidates, count, |candidate| !enough || live(candidate), scratch)
    }

    /// Writes the neighbours of `node`, and keeps those that have linked to it meanwhile.
    fn write(
        &self,
        node: Node,
        level: usize,
        selected: &[RankedNode],
        probe: &Probe,
        scratch: &mut WalkScratch,
    ) {
        let _lock = self.locks.of(node);
        let (block, offset) = self.view.block(node);
        let places = block.neighbours(offset, level);
        let mut all = selected.to_vec();
        for known in links(places).filter(|known| (*known as usize) < self.view.len) {
            if !all.iter().any(|candidate| candidate.node() == known) {
                all.push(self.view.ranked(probe, known));
            }
        }
        if all.len() > places.len() {
            all.sort_unstable();
            all = self.view.select(node, &all, places.len(), scratch);
        }
        replace(places, &all);
    }
}

impl View {
    /// Links `nodes`. Returns how many of them were processed, the first ones.
    pub(super) fn link(
        &mut self,
        nodes: &[Node],
        live: &(impl Fn(Node) -> bool + Sync),
        threads: LinkThreads,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<usize, Interrupted> {
        let entry = AtomicU64::new(self.entry.map_or(0, EntryPoint::pack));
        let (done, duplicates) = link_all(self, &entry, nodes, live, threads, (stop, enough))?;
        self.entry = EntryPoint::unpack(entry.into_inner());
        if !duplicates.is_empty() {
            let mut linked_for: HashMap<Node, Node> = HashMap::new();
            let root = |linked_for: &HashMap<Node, Node>, mut node: Node| {
                while let Some(first) = linked_for.get(&node) {
                    node = *first;
                }
                node
            };
            for (first, duplicate) in &duplicates {
                // Two nodes linked by a run that was stopped may name each other; then both stay linked.
                if root(&linked_for, *first) != *duplicate {
                    linked_for.insert(*duplicate, *first);
                }
            }
            let all = Arc::make_mut(&mut self.duplicates);
            for (_, duplicate) in
                duplicates.iter().filter(|(_, duplicate)| linked_for.contains_key(duplicate))
            {
                all.entry(root(&linked_for, *duplicate)).or_default().push(*duplicate);
            }
            self.count_duplicates();
        }
        Ok(done)
    }

    /// The candidates for neighbours of `node` on a level, nearest first.
    fn candidates(
        &self,
        node: Node,
        probe: &Probe,
        (entry, level): (EntryPoint, usize),
        scratch: &mut WalkScratch,
    ) -> Vec<RankedNode> {
        let start = self.descend(probe, entry, level);
        let BuildParameters { m, ef_construction } = self.parameters;
        // Half of them by distance, half by product.
        let count =
            if self.quantizer.links_by_products() { (ef_construction / 2).max(m) } else { ef_construction };
        self.search_level(probe, &[start], level, count, scratch);
        scratch.found.retain(|candidate| candidate.node() != node);
        scratch.found.iter().map(|candidate| RankedNode::new(candidate.rank(), candidate.node())).collect()
    }

    /// The node among the candidates that has the same row as `node`. Many nodes with one row would fill each other's
    /// lists, and a walk that met one of them would find no way out.
    fn same_row(&self, node: Node, probe: &Probe, found: &[RankedNode]) -> Option<Node> {
        let row = self.row(node);
        let rank = probe.rank(row).to_bits();
        let same =
            |candidate: &&RankedNode| candidate.rank().to_bits() == rank && self.row(candidate.node()) == row;
        found.iter().find(same).map(|candidate| candidate.node())
    }

    /// Adds `candidate.node()` to the neighbours of `node`, if it is among the best candidates. If several threads
    /// link, the caller holds the lock of the list.
    pub(super) fn add(&self, node: Node, level: usize, candidate: RankedNode, scratch: &mut WalkScratch) {
        let (block, offset) = self.block(node);
        let places = block.neighbours(offset, level);
        let count = links(places).count();
        if links(places).any(|known| known == candidate.node()) {
            return;
        }
        if let Some(free) = places.get(count) {
            free.store(candidate.node(), Ordering::Release);
            return;
        }
        let mut probe = std::mem::take(&mut scratch.probe);
        probe.set(block.row(offset), self.quantizer.precision());
        let mut all: Vec<RankedNode> = links(places)
            .filter(|known| (*known as usize) < self.len)
            .map(|known| self.ranked(&probe, known))
            .collect();
        scratch.probe = probe;
        all.push(candidate);
        all.sort_unstable();
        let selected = self.select(node, &all, places.len(), scratch);
        replace(places, &selected);
    }

    /// Selects at most `count` neighbours of `node` from the candidates, which are sorted by rank.
    pub(super) fn select(
        &self,
        node: Node,
        candidates: &[RankedNode],
        count: usize,
        scratch: &mut WalkScratch,
    ) -> Vec<RankedNode> {
        self.select_accepted(node, candidates, count, |_| true, scratch)
    }

    /// The same, from the candidates that `accept` takes. `accept` is called last, and for few of them.
    fn select_accepted(
        &self,
        node: Node,
        candidates: &[RankedNode],
        count: usize,
        accept: impl Fn(&RankedNode) -> bool,
        scratch: &mut WalkScratch,
    ) -> Vec<RankedNode> {
        let near = self.select_by(candidates, count, Probe::set, &accept, scratch);
        if !self.quantizer.links_by_products() {
            return near;
        }
        let mut probe = std::mem::take(&mut scratch.product);
        probe.set_product(self.row(node), self.quantizer.precision());
        let mut products: Vec<RankedNode> =
            candidates.iter().map(|candidate| self.ranked(&probe, candidate.node())).collect();
        scratch.product = probe;
        products.sort_unstable();
        let products = self.select_by(&products, count, Probe::set_product, &accept, scratch);
        let by_product = products
            .iter()
            .filter_map(|candidate| candidates.iter().find(|known| known.node() == candidate.node()));
        let (mut near, mut by_product) = (near.iter(), by_product);
        let mut selected: Vec<RankedNode> = Vec::with_capacity(count);
        for turn in 0.. {
            let next = if turn % DISTANCE_SHARE == 0 {
                near.next().or_else(|| by_product.next())
            } else {
                by_product.next().or_else(|| near.next())
            };
            let Some(candidate) = next.filter(|_| selected.len() < count) else { break };
            if !selected.contains(candidate) {
                selected.push(*candidate);
            }
        }
        selected
    }

    /// The heuristic of the paper (algorithm 4): selects the candidates that are nearer to the node than to any
    /// selected before.
    fn select_by(
        &self,
        candidates: &[RankedNode],
        count: usize,
        set: impl Fn(&mut Probe, &[CacheLine], Precision),
        accept: impl Fn(&RankedNode) -> bool,
        scratch: &mut WalkScratch,
    ) -> Vec<RankedNode> {
        let mut selected: Vec<RankedNode> = Vec::with_capacity(count);
        for candidate in candidates {
            if selected.len() >= count {
                break;
            }
            let row = self.row(candidate.node());
            let near =
                scratch.selected[..selected.len()].iter().any(|other| other.rank(row) < candidate.rank());
            if !near && accept(candidate) {
                if scratch.selected.len() == selected.len() {
                    scratch.selected.push(Probe::default());
                }
                set(&mut scratch.selected[selected.len()], row, self.quantizer.precision());
                selected.push(*candidate);
            }
        }
        selected
    }
}
