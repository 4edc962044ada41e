//! Linking new nodes into the graph.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::blocks::NONE;
use super::codes::{Lane, Precision};
use super::scratch::{Key, Space, scratch};
use super::{Degrees, Entry, Node, Probe, View};

/// Of neighbours by distance and by product, one in this many is by distance.
const NEAR_EVERY: usize = 4;

/// Linking was stopped before its end.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("linking was stopped")]
pub struct LinkingStopped;

impl LinkingStopped {
    /// An error if `stop` returns true.
    pub(crate) fn if_asked(stop: &impl Fn() -> bool) -> Result<(), Self> {
        if stop() { Err(Self) } else { Ok(()) }
    }
}

/// The threads that link.
#[derive(Clone, Copy, Debug)]
pub struct Crew {
    /// How many threads help the calling one, at most.
    pub helpers: usize,
    /// Called by each helper first; it may lower the thread's priority.
    pub begin: fn(),
    /// Called by the calling thread after each of its points while others help. It may park, to leave most points to the
    /// helpers; it is unparked when nothing is left to link.
    pub rest: fn(),
}

/// This many threads of the same priority.
impl From<usize> for Crew {
    fn from(threads: usize) -> Self {
        Self { helpers: threads.saturating_sub(1), begin: || (), rest: || () }
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

/// Links `nodes`, which `view` has codes for, and raises `entry` to the highest of them. A node whose row equals that of
/// another node is not linked but returned as a pair with that one. Also returns how many nodes were processed: all, or
/// the first ones if `enough` returned true.
pub(super) fn link_all(
    view: &View,
    entry: &AtomicU64,
    nodes: &[Node],
    live: &(impl Fn(Node) -> bool + Sync),
    Crew { helpers, begin, rest }: Crew,
    (stop, enough): (&(impl Fn() -> bool + Sync), &(impl Fn() -> bool + Sync)),
) -> Result<(usize, Vec<(Node, Node)>), LinkingStopped> {
    let next = AtomicUsize::new(0);
    let linker =
        Linker { view, entry, live, locks: Locks::new(), rising: Mutex::default(), twins: Mutex::default() };
    let stopped = AtomicBool::new(false);
    // Returns whether there may be more to link.
    let link_next = |scratch: &mut Space| {
        // Checked before a node is taken: all nodes taken are linked. The first ones are taken in any case, for progress.
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
        begin();
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
                rest();
            }
        }
    });
    if stopped.into_inner() {
        return Err(LinkingStopped);
    }
    let twins = linker.twins.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((next.into_inner().min(nodes.len()), twins))
}

struct Linker<'a, L> {
    view: &'a View,
    entry: &'a AtomicU64,
    /// Whether a node still holds a point. Deleted nodes stay passable, but get no new links.
    live: &'a L,
    locks: Locks,
    /// Held while a node may become the entry.
    rising: Mutex<()>,
    /// Pairs of a linked node and a node with the same row.
    twins: Mutex<Vec<(Node, Node)>>,
}

impl<L: Fn(Node) -> bool> Linker<'_, L> {
    fn link(&self, node: Node, space: &mut Space) {
        let view = self.view;
        let (block, offset) = view.block(node);
        let own_level = block.level(offset);
        let mut probe = std::mem::take(&mut space.probe);
        probe.set(block.row(offset), view.shape.precision());
        let mut entry = Entry::unpack(self.entry.load(Ordering::Acquire));
        let mut rising = None;
        if entry.is_none_or(|entry| own_level > entry.level) {
            rising = Some(self.rising.lock().unwrap_or_else(PoisonError::into_inner));
            entry = Entry::unpack(self.entry.load(Ordering::Acquire));
        }
        let top = entry.map(|entry| own_level.min(entry.level));
        // Level 0 first: a walk that meets the node on a higher level can go on from it.
        for (entry, level) in
            entry.into_iter().flat_map(|entry| (0..=top.unwrap_or(0)).map(move |level| (entry, level)))
        {
            let mut found = view.candidates(node, &probe, (entry, level), space);
            if level == 0
                && let Some(first) = view.same_row(node, &probe, &found)
            {
                self.twins.lock().unwrap_or_else(PoisonError::into_inner).push((first, node));
                space.probe = probe;
                return;
            }
            if view.shape.links_by_products() {
                let mut product = std::mem::take(&mut space.product);
                product.set_product(block.row(offset), view.shape.precision());
                for key in view.candidates(node, &product, (entry, level), space) {
                    let key = view.key(&probe, key.node());
                    if !found.contains(&key) {
                        found.push(key);
                    }
                }
                space.product = product;
                found.sort_unstable();
            }
            let chosen = self.choose_live(node, &found, space);
            self.write(node, level, &chosen, &probe, space);
            for key in chosen {
                let _lock = self.locks.of(key.node());
                view.add(key.node(), level, Key::new(key.rank(), node), space);
            }
        }
        if rising.is_some() && entry.is_none_or(|entry| own_level > entry.level) {
            self.entry.store(Entry { node, level: own_level }.pack(), Ordering::Release);
        }
        space.probe = probe;
    }

    /// Selects neighbours for a new node. If too few live candidates are left, deleted ones are selected too: they keep
    /// parts of the graph connected until it is compacted.
    fn choose_live(&self, node: Node, candidates: &[Key], space: &mut Space) -> Vec<Key> {
        let count = self.view.degrees.m;
        let live = |key: &Key| (self.live)(key.node());
        let enough = candidates.iter().filter(|key| live(key)).take(count).count() == count;
        self.view.choose_of(node, candidates, count, |key| !enough || live(key), space)
    }

    /// Writes the neighbours of `node`, and keeps those that have linked to it meanwhile.
    fn write(&self, node: Node, level: usize, chosen: &[Key], probe: &Probe, space: &mut Space) {
        let _lock = self.locks.of(node);
        let (block, offset) = self.view.block(node);
        let places = block.neighbours(offset, level);
        let mut all = chosen.to_vec();
        for known in known(places).filter(|known| (*known as usize) < self.view.len) {
            if !all.iter().any(|key| key.node() == known) {
                all.push(self.view.key(probe, known));
            }
        }
        if all.len() > places.len() {
            all.sort_unstable();
            all = self.view.choose(node, &all, places.len(), space);
        }
        replace(places, &all);
    }
}

impl View {
    /// The candidates for neighbours of `node` on a level, nearest first.
    fn candidates(
        &self,
        node: Node,
        probe: &Probe,
        (entry, level): (Entry, usize),
        space: &mut Space,
    ) -> Vec<Key> {
        let start = self.descend(probe, entry, level);
        let Degrees { m, ef_construction } = self.degrees;
        // Half of them by distance, half by product.
        let count =
            if self.shape.links_by_products() { (ef_construction / 2).max(m) } else { ef_construction };
        self.search_level(probe, &[start], level, count, space);
        space.found.retain(|key| key.node() != node);
        space.found.iter().map(|key| Key::new(key.rank(), key.node())).collect()
    }

    /// The node among the candidates that has the same row as `node`. Many nodes with one row would fill each other's lists,
    /// and a walk that met one of them would find no way out.
    fn same_row(&self, node: Node, probe: &Probe, found: &[Key]) -> Option<Node> {
        let row = self.row(node);
        let rank = probe.rank(row).to_bits();
        let same = |key: &&Key| key.rank().to_bits() == rank && self.row(key.node()) == row;
        found.iter().find(same).map(|key| key.node())
    }

    /// Adds `key.node()` to the neighbours of `node`, if it is among the best candidates. If several threads link, the caller
    /// holds the lock of the list.
    pub(super) fn add(&self, node: Node, level: usize, key: Key, space: &mut Space) {
        let (block, offset) = self.block(node);
        let places = block.neighbours(offset, level);
        let count = known(places).count();
        if known(places).any(|known| known == key.node()) {
            return;
        }
        if let Some(free) = places.get(count) {
            free.store(key.node(), Ordering::Release);
            return;
        }
        let mut probe = std::mem::take(&mut space.probe);
        probe.set(block.row(offset), self.shape.precision());
        let mut all: Vec<Key> = known(places)
            .filter(|known| (*known as usize) < self.len)
            .map(|known| self.key(&probe, known))
            .collect();
        space.probe = probe;
        all.push(key);
        all.sort_unstable();
        let chosen = self.choose(node, &all, places.len(), space);
        replace(places, &chosen);
    }

    /// Selects at most `count` neighbours of `node` from the candidates, which are sorted by rank.
    pub(super) fn choose(&self, node: Node, candidates: &[Key], count: usize, space: &mut Space) -> Vec<Key> {
        self.choose_of(node, candidates, count, |_| true, space)
    }

    /// The same, from the candidates that `accept` takes. `accept` is called last, and for few of them.
    fn choose_of(
        &self,
        node: Node,
        candidates: &[Key],
        count: usize,
        accept: impl Fn(&Key) -> bool,
        space: &mut Space,
    ) -> Vec<Key> {
        let near = self.choose_by(candidates, count, Probe::set, &accept, space);
        if !self.shape.links_by_products() {
            return near;
        }
        let mut probe = std::mem::take(&mut space.product);
        probe.set_product(self.row(node), self.shape.precision());
        let mut products: Vec<Key> = candidates.iter().map(|key| self.key(&probe, key.node())).collect();
        space.product = probe;
        products.sort_unstable();
        let products = self.choose_by(&products, count, Probe::set_product, &accept, space);
        let by_product =
            products.iter().filter_map(|key| candidates.iter().find(|known| known.node() == key.node()));
        let (mut near, mut by_product) = (near.iter(), by_product);
        let mut chosen: Vec<Key> = Vec::with_capacity(count);
        for turn in 0.. {
            let next = if turn % NEAR_EVERY == 0 {
                near.next().or_else(|| by_product.next())
            } else {
                by_product.next().or_else(|| near.next())
            };
            let Some(key) = next.filter(|_| chosen.len() < count) else { break };
            if !chosen.contains(key) {
                chosen.push(*key);
            }
        }
        chosen
    }

    /// The heuristic of the paper (algorithm 4): selects the candidates that are nearer to the node than to any selected
    /// before.
    fn choose_by(
        &self,
        candidates: &[Key],
        count: usize,
        set: impl Fn(&mut Probe, &[Lane], Precision),
        accept: impl Fn(&Key) -> bool,
        space: &mut Space,
    ) -> Vec<Key> {
        let mut chosen: Vec<Key> = Vec::with_capacity(count);
        for candidate in candidates {
            if chosen.len() >= count {
                break;
            }
            let row = self.row(candidate.node());
            let near = space.chosen[..chosen.len()].iter().any(|other| other.rank(row) < candidate.rank());
            if !near && accept(candidate) {
                if space.chosen.len() == chosen.len() {
                    space.chosen.push(Probe::default());
                }
                set(&mut space.chosen[chosen.len()], row, self.shape.precision());
                chosen.push(*candidate);
            }
        }
        chosen
    }
}

pub(super) fn known(places: &[AtomicU32]) -> impl Iterator<Item = Node> {
    places.iter().map(|place| place.load(Ordering::Acquire)).take_while(|node| *node != NONE)
}

pub(super) fn replace(places: &[AtomicU32], nodes: &[Key]) {
    let nodes = nodes.iter().map(|key| key.node()).chain(std::iter::repeat(NONE));
    for (place, node) in places.iter().zip(nodes) {
        place.store(node, Ordering::Release);
    }
}
