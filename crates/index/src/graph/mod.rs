//! A graph over a collection's slots: HNSW (Malkov and Yashunin, 2016, arXiv:1603.09320).
//!
//! - `quantizer`: the compact copy of the vectors that a walk compares; `bound`: which vectors a row rules out.
//! - `blocks`: the memory of codes and neighbours.
//! - `level`: the highest level of a node.
//! - `walk`: from an entry point to the nodes nearest to a probe.
//! - `link`: linking new nodes; `repair`: linking unreachable nodes again.
//! - `remap`: the graph after a compaction.
//! - `stored`: the bytes of a graph.
//! - `scratch`: reusable buffers of walks.
//!
//! **Variants.** There is one distance: every vector has a quantized row of a byte per number, and one formula over these
//! bytes stands in for all three metrics (see `quantizer`, also for vectors that a byte is not precise enough for).
//! Walks and linking read only rows, a quarter of the memory of the vectors; the nodes that a walk has found are then
//! ranked by the vectors themselves. There are two walks. [`View::nearest`] keeps one sorted list, both of the nodes found
//! and of those to expand. [`View::nearest_accepted`] serves searches that must pass over nodes (filters, deleted
//! slots): it walks over all nodes and keeps a separate list of those that it may return.
//!
//! Of vectors with equal rows, one is linked and stands for its duplicates.
//!
//! **Concurrency.** The codes of a node are written once, before it is linked, and never change. Its neighbours are
//! atomics in an arena that all views share: linking changes them under readers, which see old or new neighbours, both
//! of which are nodes. A [`View`] is the graph as of one moment; a walk ignores neighbours that are newer than its view.
//! Readers never wait. Linking threads wait only for each other, for the lock of a list.
//!
//! The graph is derived data: it may be lost at any time, and no digest covers it.

mod blocks;
mod bound;
mod level;
mod link;
mod quantizer;
mod remap;
mod repair;
mod scratch;
mod stored;
mod walk;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vectorizer_log::Metric;

use crate::memory::{list, table};

use self::blocks::Block;
pub(super) use self::bound::Bound;
use self::level::level;
pub use self::link::{LinkThreads, Interrupted};
use self::quantizer::Probe;
pub(super) use self::quantizer::Query;
use self::quantizer::{Precision, Quantizer, SAMPLE_MAX};
use self::scratch::RankedNode;
pub use self::stored::UnusableGraph;
pub(super) use self::stored::name;

/// A node is a slot number.
pub(super) type Node = u32;

/// The data of a node, from its slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeData<'a> {
    /// The id of the point; `None` if the slot was deleted.
    pub(super) id: Option<&'a str>,
    /// The vector. Deleted slots keep theirs until the next compaction.
    pub(super) vector: &'a [f32],
}

/// How many vectors are sampled to measure whether rows are precise enough.
const TESTED: usize = 512;
/// A sample has at most this many numbers, unless that is fewer than [`TESTED`] vectors.
const SAMPLED_NUMBERS_MAX: usize = 1 << 22;

/// How many rows are written between two calls of `enough`.
const ENCODED_AT_ONCE: usize = 16 * Block::NODES;
/// How many rows are written, in about fifty microseconds, between two calls of `stop`.
const STOP_CHECK_INTERVAL: usize = 32;

/// A walk has at most this many starting points.
const STARTS_MAX: usize = 128;

/// How the graph is built; the paper explains each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BuildParameters {
    /// The most neighbours of a node above level 0. On level 0 it is twice that.
    pub(super) m: usize,
    /// How many candidates the neighbours are selected from.
    pub(super) ef_construction: usize,
}

impl BuildParameters {
    fn at(self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }
}

/// The graph is repaired each time it has grown by one part in this many, which costs about an eightieth of the time of
/// linking. Meanwhile all threads but one are idle.
const REPAIR_SHARE: usize = 16;

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
struct EntryPoint {
    node: Node,
    level: usize,
}

impl EntryPoint {
    fn pack(self) -> u64 {
        (self.level as u64 + 1) << 32 | u64::from(self.node)
    }

    #[expect(clippy::cast_possible_truncation, reason = "taken apart as it was put together")]
    fn unpack(packed: u64) -> Option<Self> {
        let level = (packed >> 32).checked_sub(1)?;
        Some(Self { node: packed as Node, level: level as usize })
    }
}

/// The graph of one collection, for as long as its slots keep their numbers.
#[derive(Debug)]
pub(super) struct Graph {
    /// The newest view. A search clones the `Arc` once.
    view: Mutex<Arc<View>>,
    /// Held by the one thread that links.
    linking: Mutex<()>,
}

/// The graph as of one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    quantizer: Arc<Quantizer>,
    parameters: BuildParameters,
    blocks: Vec<Block>,
    /// How many nodes are linked.
    len: usize,
    /// How many nodes have codes: the linked ones and those that are linked next. Codes rule out most of the vectors that a
    /// search would compare one by one.
    encoded: usize,
    entry: Option<EntryPoint>,
    /// If nodes have neighbours of two kinds: the nodes of the highest levels. A walk begins at the best of them, as there may
    /// be no path between parts of the graph against the direction of the query.
    starts: Arc<[Node]>,
    /// Nodes that are not linked because another node has the same row, by that other node.
    duplicates: Arc<HashMap<Node, Vec<Node>>>,
    /// How many duplicates there are, and the most for one node.
    duplicates_total: usize,
    duplicates_max: usize,
    /// How many nodes the view had at the last repair.
    repaired_len: usize,
    /// How many slots had rows at the last thorough test of their precision.
    tested: usize,
}

impl Graph {
    /// A graph without nodes.
    pub(super) fn new(dimension: usize, metric: Metric, parameters: BuildParameters) -> Self {
        let quantizer = Quantizer::new(dimension, metric, Precision::Byte, &[]);
        Self::of(View::empty(Arc::new(quantizer), parameters))
    }

    fn of(view: View) -> Self {
        Self { view: Mutex::new(Arc::new(view)), linking: Mutex::default() }
    }

    /// The newest view.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.current())
    }

    fn current(&self) -> MutexGuard<'_, Arc<View>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a view to searches that begin from now on.
    fn publish(&self, view: View) {
        let before = std::mem::replace(&mut *self.current(), Arc::new(view));
        // IMPORTANT: not while the lock is held. Freeing it takes milliseconds, and every search that begins would wait.
        drop(before);
    }

    /// Writes codes for the first `encoded` slots, then links the unlinked ones up to `end`. Publishes both to searches that
    /// begin after. Calls `stop` every fifty microseconds or between two vectors, and ends early, with some progress, once
    /// `enough` returns true.
    pub(super) fn extend<'a>(
        &self,
        slot: &(impl Fn(Node) -> NodeData<'a> + Sync),
        (end, encoded): (usize, usize),
        threads: LinkThreads,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<(), Interrupted> {
        let _alone = self.linking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&self.view());
        let encoded = encoded.min(RankedNode::NODES_MAX);
        // A node is linked only after its row is written, and some nodes must be linked for progress.
        while view.encoded < encoded && !(view.encoded > view.len && enough()) {
            let some = view.encoded..encoded.min(view.encoded + ENCODED_AT_ONCE);
            view.fit_quantizer(slot, some.clone(), stop)?;
            #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
            for node in some.start as Node..some.end as Node {
                if (node as usize).is_multiple_of(STOP_CHECK_INTERVAL) {
                    Interrupted::check(stop)?;
                }
                let slot = slot(node);
                view.push(slot.id.map_or(0, |id| level(id, view.parameters.m)), slot.vector);
            }
            self.publish(view.clone());
        }
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let added: Vec<Node> = (view.len..end.min(view.encoded)).map(|node| node as Node).collect();
        view.len += added.len();
        // A slot that was deleted before it was linked keeps its number and nothing else.
        let live = |node: Node| slot(node).id.is_some();
        let linked: Vec<Node> = added.into_iter().filter(|node| live(*node)).collect();
        let done = view.link(&linked, &live, threads, stop, enough)?;
        if let Some(next) = linked.get(done) {
            view.len = *next as usize;
        }
        if view.len >= view.repaired_len + view.len / REPAIR_SHARE {
            repair::repair(&view, &live, stop)?;
            view.repaired_len = view.len;
        }
        view.find_starts();
        self.publish(view);
        Ok(())
    }

    /// Whether the graph was repaired since the last node was linked.
    pub(super) fn is_connected(&self) -> bool {
        let view = self.view();
        view.repaired_len == view.len
    }

    /// Repairs unreachable nodes.
    pub(super) fn repair<'a>(
        &self,
        slot: &impl Fn(Node) -> NodeData<'a>,
        stop: &impl Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let _alone = self.linking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&self.view());
        repair::repair(&view, &|node| slot(node).id.is_some(), stop)?;
        view.repaired_len = view.len;
        self.publish(view);
        Ok(())
    }
}

impl View {
    fn empty(quantizer: Arc<Quantizer>, parameters: BuildParameters) -> Self {
        let (blocks, duplicates) = (Vec::new(), Arc::default());
        let starts = Arc::default();
        let (duplicates_total, duplicates_max) = (0, 0);
        let (len, encoded, repaired_len, tested) = (0, 0, 0, 0);
        let entry = None;
        Self {
            quantizer,
            parameters,
            blocks,
            len,
            encoded,
            entry,
            starts,
            duplicates,
            duplicates_total,
            duplicates_max,
            repaired_len,
            tested,
        }
    }

    /// Replaces the quantizer if it is not precise enough for the vectors to be added. The links of existing nodes stay.
    fn fit_quantizer<'a>(
        &mut self,
        slot: &impl Fn(Node) -> NodeData<'a>,
        added: Range<usize>,
        stop: &impl Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let sample = |range: Range<usize>, count: usize| {
            let step = range.len().div_ceil(count.max(1)).max(1);
            range.clone().step_by(step).map(move |start| {
                // Not at regular distances, which would sample only one kind of vectors that alternate.
                let place = (start + scatter(start) % step).min(range.end - 1);
                #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
                slot(place as Node).vector
            })
        };
        if added.is_empty() {
            return Ok(());
        }
        // A sample cannot show that all vectors are equally long.
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let equally_long = |quantizer: &Quantizer, mut among: Range<usize>| {
            among.all(|node| quantizer.is_as_long_as(slot(node as Node).vector))
        };
        if self.encoded > 0 && !equally_long(&self.quantizer, added.clone()) {
            Arc::make_mut(&mut self.quantizer).assume_lengths_differ();
        }
        // The more vectors there are, the nearer are the nearest ones, and the more precision it takes to rank them.
        let thorough = added.end / 2 >= self.tested;
        let many = (SAMPLED_NUMBERS_MAX / self.quantizer.dimension().max(1)).clamp(TESTED, SAMPLE_MAX);
        let count = if thorough { many } else { TESTED };
        let of_added = if added.start == 0 { count } else { count / 2 };
        let mut tested: Vec<&[f32]> = sample(added.clone(), of_added).collect();
        tested.extend(sample(0..added.start, count - tested.len()));
        if thorough {
            self.tested = added.end;
        }
        if self.encoded > 0 && self.quantizer.is_precise(&tested, stop)? {
            return Ok(());
        }
        let all: Vec<&[f32]> = sample(0..added.end, many).collect();
        let mut quantizer =
            Quantizer::new(self.quantizer.dimension(), self.quantizer.metric(), Precision::Byte, &all);
        if !equally_long(&quantizer, 0..added.end) {
            quantizer.assume_lengths_differ();
        }
        let quantizer =
            if quantizer.is_precise(&tested, stop)? { quantizer } else { quantizer.with_floats() };
        self.quantizer = Arc::new(quantizer);
        for (number, block) in (0..).zip(&mut self.blocks) {
            Interrupted::check(stop)?;
            let first = number * Block::NODES;
            let nodes = Block::NODES.min(self.encoded - first);
            #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
            block.rewrite(&self.quantizer, (first..first + nodes).map(|node| slot(node as Node).vector));
        }
        Ok(())
    }

    /// Links `nodes`. Returns how many of them were processed, the first ones.
    fn link(
        &mut self,
        nodes: &[Node],
        live: &(impl Fn(Node) -> bool + Sync),
        threads: LinkThreads,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<usize, Interrupted> {
        let entry = AtomicU64::new(self.entry.map_or(0, EntryPoint::pack));
        let (done, duplicates) = link::link_all(self, &entry, nodes, live, threads, (stop, enough))?;
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

    /// Selects the starting points of walks, if neighbours are of two kinds.
    fn find_starts(&mut self) {
        if !self.quantizer.links_by_products() {
            return;
        }
        let mut high: Vec<(usize, Node)> = Vec::new();
        for (number, block) in (0..).step_by(Block::NODES).zip(&self.blocks) {
            #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
            high.extend(block.upper().map(|(offset, level)| (level, (number + offset) as Node)));
        }
        high.retain(|(_, node)| (*node as usize) < self.len);
        high.sort_unstable_by_key(|(level, node)| (std::cmp::Reverse(*level), *node));
        self.starts = high.into_iter().take(STARTS_MAX).map(|(_, node)| node).collect();
    }

    /// The most duplicates that this many nodes can have.
    pub(super) fn duplicates_of(&self, nodes: usize) -> usize {
        nodes.saturating_mul(self.duplicates_max).min(self.duplicates_total)
    }

    fn count_duplicates(&mut self) {
        self.duplicates_total = self.duplicates.values().map(Vec::len).sum();
        self.duplicates_max = self.duplicates.values().map(Vec::len).max().unwrap_or(0);
    }

    /// The duplicates of a node, which it stands for.
    fn duplicates(&self, node: Node) -> &[Node] {
        if self.duplicates.is_empty() { &[] } else { self.duplicates.get(&node).map_or(&[], Vec::as_slice) }
    }

    /// How many nodes are linked: the slots below this number.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many slots have rows, linked or not.
    pub(super) fn encoded(&self) -> usize {
        self.encoded
    }

    /// The bound for a query of this view; `None` if it would rule out nothing.
    pub(super) fn bound<'a>(&self, query: &'a mut Query) -> Option<Bound<'a>> {
        self.quantizer.bound(query)
    }

    /// Whether the vector of a slot with a row is farther away than `rank_max`.
    #[inline]
    pub(super) fn rules_out(&self, bound: &Bound<'_>, number: Node, rank_max: f32) -> bool {
        bound.rules_out(self.row(number), rank_max)
    }

    /// Sets `query` to this vector, quantized like the rows.
    pub(super) fn set_query(&self, vector: &[f32], query: &mut Query) {
        self.quantizer.set_query(vector, query);
    }

    /// The heap bytes of the codes, and about those of the rest. In constant time.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let duplicates =
            table::<Node, Vec<Node>>(self.duplicates.capacity()) + 2 * list::<Node>(self.duplicates_total);
        let links = Block::link_bytes(self.parameters) + list::<Block>(1);
        let upper = Block::upper_bytes(self.parameters, self.encoded);
        (
            self.blocks.len() * Block::code_bytes(&self.quantizer),
            self.blocks.len() * links + upper + duplicates,
        )
    }

    fn grow(&mut self) -> (usize, Option<&mut Block>) {
        let offset = self.encoded % Block::NODES;
        if offset == 0 {
            self.blocks.push(Block::new(&self.quantizer, self.parameters));
        }
        self.encoded += 1;
        (offset, self.blocks.last_mut())
    }

    fn push(&mut self, level: usize, vector: &[f32]) {
        let (quantizer, parameters) = (Arc::clone(&self.quantizer), self.parameters);
        if let (offset, Some(block)) = self.grow() {
            block.write(offset, level, parameters, |row| quantizer.write(vector, row));
        }
    }

    fn block(&self, node: Node) -> (&Block, usize) {
        let node = node as usize;
        (&self.blocks[node / Block::NODES], node % Block::NODES)
    }
}

/// A pseudo-random number, derived from `number`.
fn scatter(number: usize) -> usize {
    ((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

#[cfg(test)]
mod tests;
