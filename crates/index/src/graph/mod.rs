//! A graph over a collection's slots: HNSW (Malkov and Yashunin, 2016, arXiv:1603.09320).
//!
//! - `bound`: what a row rules out without a look at its vector.
//! - `codes`: the compact copy of the vectors that the walk compares.
//! - `blocks`: where codes and neighbour lists lie, and who may change them.
//! - `level`: how high a node reaches.
//! - `walk`: from an entry to the nodes nearest to a probe.
//! - `link`: making new nodes part of the graph; `mend`: finding those that no walk can reach.
//! - `moving`: the graph of the slots that are left after a compaction.
//! - `stored`: the graph as bytes, and back.
//! - `scratch`: what a walk needs besides, kept for the next one.
//!
//! **Variants.** There is one distance: every vector is kept a second time in a byte per number, after
//! the middle of the collection has been taken from it, and one formula over those bytes stands in for
//! all three metrics (see `codes`, also for what happens where a byte is not enough). The walk and the linking see nothing else, so they touch a quarter
//! of the memory; what a walk has found is then ranked and scored with the vectors themselves. There
//! are two walks. [`View::nearest`] keeps one sorted list, which is both what it has found and what it
//! still has to expand; [`View::nearest_accepted`] serves searches that must pass over nodes (filters,
//! emptied slots): it walks over all of them and keeps a list of its own of those it may return.
//!
//! Of vectors with equal rows one is linked, and stands for the others.
//!
//! **Who sees what.** A node's codes are written once, before it is linked, and never change. Its
//! neighbours are atomics, in an arena that all views share: linking changes them under readers, who
//! see old or new neighbours, both of which are nodes. A [`View`] is what was linked at one moment; a
//! walk passes over nodes that came later, because its view has no codes for them. Nothing waits for
//! anything but two linkers for the same node.
//!
//! The graph is derived: it may be lost at any time, and no digest covers it.

mod blocks;
mod bound;
mod codes;
mod level;
mod link;
mod mend;
mod moving;
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
use self::codes::Probe;
pub(super) use self::codes::Query;
use self::codes::{Precision, SAMPLE_MAX, Shape};
use self::level::level;
pub use self::link::{Crew, LinkingStopped};
use self::scratch::Key;
pub use self::stored::UnusableGraph;
pub(super) use self::stored::name;

/// A node is a slot: the same number.
pub(super) type Node = u32;

/// What a slot holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    /// `None` if it was emptied.
    pub(super) id: Option<&'a str>,
    /// There until a compaction, emptied or not.
    pub(super) vector: &'a [f32],
}

/// How many vectors it takes to find out whether their rows serve.
const TESTED: usize = 512;
/// No more numbers than these are in a sample, unless so many vectors hold more.
const SAMPLED_NUMBERS_MAX: usize = 1 << 22;

/// How many rows are written between two looks at whether it is enough.
const CODED_AT_ONCE: usize = 16 * Block::NODES;
/// After how many rows it is asked whether to stop: some fifty microseconds.
const ASKED_EVERY: usize = 32;

/// At how many nodes a walk may begin.
const STARTS_MAX: usize = 128;

/// How the graph is built; see the paper for what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Degrees {
    /// Neighbours a node looks for, and has at most above the ground level; twice that on it.
    pub(super) m: usize,
    /// Candidates it chooses them from.
    pub(super) ef_construction: usize,
}

impl Degrees {
    fn at(self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }
}

/// After how much growth the graph is searched for nodes that no walk can reach: a search of all nodes
/// for every 16th part of them, or about an eightieth of the time that linking these takes. All threads but one have
/// nothing to link meanwhile.
const MENDED_SHARE: usize = 16;

/// Where walks begin.
#[derive(Clone, Copy, Debug)]
struct Entry {
    node: Node,
    level: usize,
}

impl Entry {
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
    /// The newest; whoever searches takes it once.
    view: Mutex<Arc<View>>,
    /// One linker at a time.
    linking: Mutex<()>,
}

/// What was linked at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    shape: Arc<Shape>,
    degrees: Degrees,
    blocks: Vec<Block>,
    /// How many nodes are linked.
    len: usize,
    /// How many have codes: these, and those that are linked next. Their rows spare whoever compares them one by
    /// one most of the vectors.
    coded: usize,
    entry: Option<Entry>,
    /// Where neighbours are of two kinds, the nodes that reach highest: a walk begins at the best of them. What
    /// lies apart from all else, the way there is against what is sought.
    starts: Arc<[Node]>,
    /// Nodes that are not linked because another one has the same row, by that one.
    twins: Arc<HashMap<Node, Vec<Node>>>,
    /// How many of those there are, and for how many one node stands at most.
    twins_all: usize,
    twins_most: usize,
    /// How many nodes it had when nodes that no walk can reach were looked for.
    mended: usize,
    /// How many slots had rows when it was tested most thoroughly whether they serve.
    tested: usize,
}

impl Graph {
    /// A graph without nodes.
    pub(super) fn new(dimension: usize, metric: Metric, degrees: Degrees) -> Self {
        let shape = Shape::new(dimension, metric, Precision::Byte, &[]);
        Self::of(View::empty(Arc::new(shape), degrees))
    }

    fn of(view: View) -> Self {
        Self { view: Mutex::new(Arc::new(view)), linking: Mutex::default() }
    }

    /// What is linked now.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.current())
    }

    fn current(&self) -> MutexGuard<'_, Arc<View>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows this to searches that begin from now on.
    fn show(&self, view: View) {
        let before = std::mem::replace(&mut *self.current(), Arc::new(view));
        // IMPORTANT: not while the lock is held. It takes milliseconds, and every search that begins would wait.
        drop(before);
    }

    /// Makes codes for all of the first `coded` slots. Then links those that follow the linked ones, up to the
    /// one numbered `end`, by this crew. Shows either to searches that begin then. Asks `stop` every fifty
    /// microseconds or between two vectors; and whether it is `enough`, which leaves the rest for another time, but
    /// not nothing done.
    pub(super) fn extend<'a>(
        &self,
        slot: &(impl Fn(Node) -> Slot<'a> + Sync),
        (end, coded): (usize, usize),
        crew: Crew,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<(), LinkingStopped> {
        let _alone = self.linking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&self.view());
        let coded = coded.min(Key::NODES_MAX);
        // What is linked needs rows, and some of it will be.
        while view.coded < coded && !(view.coded > view.len && enough()) {
            let some = view.coded..coded.min(view.coded + CODED_AT_ONCE);
            view.fit(slot, some.clone(), stop)?;
            #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
            for node in some.start as Node..some.end as Node {
                if (node as usize).is_multiple_of(ASKED_EVERY) {
                    LinkingStopped::if_asked(stop)?;
                }
                let slot = slot(node);
                view.push(slot.id.map_or(0, |id| level(id, view.degrees.m)), slot.vector);
            }
            self.show(view.clone());
        }
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let added: Vec<Node> = (view.len..end.min(view.coded)).map(|node| node as Node).collect();
        view.len += added.len();
        // One that was emptied before it was linked keeps its number and nothing else.
        let live = |node: Node| slot(node).id.is_some();
        let linked: Vec<Node> = added.into_iter().filter(|node| live(*node)).collect();
        let done = view.link(&linked, &live, crew, stop, enough)?;
        if let Some(next) = linked.get(done) {
            view.len = *next as usize;
        }
        if view.len >= view.mended + view.len / MENDED_SHARE {
            mend::mend(&view, &live, stop)?;
            view.mended = view.len;
        }
        view.find_starts();
        self.show(view);
        Ok(())
    }

    /// Whether nodes that no walk can reach were looked for since the last one was linked.
    pub(super) fn is_mended(&self) -> bool {
        let view = self.view();
        view.mended == view.len
    }

    /// Looks for nodes that no walk can reach, and leads to them.
    pub(super) fn mend<'a>(
        &self,
        slot: &impl Fn(Node) -> Slot<'a>,
        stop: &impl Fn() -> bool,
    ) -> Result<(), LinkingStopped> {
        let _alone = self.linking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&self.view());
        mend::mend(&view, &|node| slot(node).id.is_some(), stop)?;
        view.mended = view.len;
        self.show(view);
        Ok(())
    }
}

impl View {
    fn empty(shape: Arc<Shape>, degrees: Degrees) -> Self {
        let (blocks, twins) = (Vec::new(), Arc::default());
        let starts = Arc::default();
        let (twins_all, twins_most) = (0, 0);
        let (len, coded, mended, tested) = (0, 0, 0, 0);
        let entry = None;
        Self {
            shape,
            degrees,
            blocks,
            len,
            coded,
            entry,
            starts,
            twins,
            twins_all,
            twins_most,
            mended,
            tested,
        }
    }

    /// Gives the view another shape if its own does not serve the vectors that are to be added: their
    /// nearness must show in their rows. The neighbours of the nodes it has stay.
    fn fit<'a>(
        &mut self,
        slot: &impl Fn(Node) -> Slot<'a>,
        added: Range<usize>,
        stop: &impl Fn() -> bool,
    ) -> Result<(), LinkingStopped> {
        let sample = |range: Range<usize>, count: usize| {
            let step = range.len().div_ceil(count.max(1)).max(1);
            range.clone().step_by(step).map(move |start| {
                // Not at regular distances: what comes in turns would show one of its sides only.
                let place = (start + astray(start) % step).min(range.end - 1);
                #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
                slot(place as Node).vector
            })
        };
        if added.is_empty() {
            return Ok(());
        }
        // Samples do not tell whether all vectors are equally long.
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let as_long = |shape: &Shape, mut among: Range<usize>| {
            among.all(|node| shape.is_as_long_as(slot(node as Node).vector))
        };
        if self.coded > 0 && !as_long(&self.shape, added.clone()) {
            Arc::make_mut(&mut self.shape).lengths_differ();
        }
        // The more there are, the nearer are the nearest, and the more it takes to tell them apart.
        let thorough = added.end / 2 >= self.tested;
        let many = (SAMPLED_NUMBERS_MAX / self.shape.dimension().max(1)).clamp(TESTED, SAMPLE_MAX);
        let count = if thorough { many } else { TESTED };
        let of_added = if added.start == 0 { count } else { count / 2 };
        let mut tested: Vec<&[f32]> = sample(added.clone(), of_added).collect();
        tested.extend(sample(0..added.start, count - tested.len()));
        if thorough {
            self.tested = added.end;
        }
        if self.coded > 0 && self.shape.serves(&tested, stop)? {
            return Ok(());
        }
        let all: Vec<&[f32]> = sample(0..added.end, many).collect();
        let mut shape = Shape::new(self.shape.dimension(), self.shape.metric(), Precision::Byte, &all);
        if !as_long(&shape, 0..added.end) {
            shape.lengths_differ();
        }
        let shape = if shape.serves(&tested, stop)? { shape } else { shape.precise() };
        self.shape = Arc::new(shape);
        for (number, block) in (0..).zip(&mut self.blocks) {
            LinkingStopped::if_asked(stop)?;
            let first = number * Block::NODES;
            let nodes = Block::NODES.min(self.coded - first);
            #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
            block.rewrite(&self.shape, (first..first + nodes).map(|node| slot(node as Node).vector));
        }
        Ok(())
    }

    /// Says how many of the nodes were linked, the first ones.
    fn link(
        &mut self,
        nodes: &[Node],
        live: &(impl Fn(Node) -> bool + Sync),
        crew: Crew,
        stop: &(impl Fn() -> bool + Sync),
        enough: &(impl Fn() -> bool + Sync),
    ) -> Result<usize, LinkingStopped> {
        let entry = AtomicU64::new(self.entry.map_or(0, Entry::pack));
        let (done, twins) = link::link_all(self, &entry, nodes, live, crew, (stop, enough))?;
        self.entry = Entry::unpack(entry.into_inner());
        if !twins.is_empty() {
            let mut first_of: HashMap<Node, Node> = HashMap::new();
            let root = |first_of: &HashMap<Node, Node>, mut node: Node| {
                while let Some(first) = first_of.get(&node) {
                    node = *first;
                }
                node
            };
            for (first, twin) in &twins {
                // Two that were linked by a turn that came to nothing find each other, and both stay.
                if root(&first_of, *first) != *twin {
                    first_of.insert(*twin, *first);
                }
            }
            let all = Arc::make_mut(&mut self.twins);
            for (_, twin) in twins.iter().filter(|(_, twin)| first_of.contains_key(twin)) {
                all.entry(root(&first_of, *twin)).or_default().push(*twin);
            }
            self.count_twins();
        }
        Ok(done)
    }

    /// Finds out where walks are to begin, if that matters.
    fn find_starts(&mut self) {
        if !self.shape.links_by_products() {
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

    /// For how many others so many nodes stand at most.
    pub(super) fn twins_of(&self, nodes: usize) -> usize {
        nodes.saturating_mul(self.twins_most).min(self.twins_all)
    }

    fn count_twins(&mut self) {
        self.twins_all = self.twins.values().map(Vec::len).sum();
        self.twins_most = self.twins.values().map(Vec::len).max().unwrap_or(0);
    }

    /// The nodes with the same row as this one, which stands for them.
    fn twins(&self, node: Node) -> &[Node] {
        if self.twins.is_empty() { &[] } else { self.twins.get(&node).map_or(&[], Vec::as_slice) }
    }

    /// How many nodes it has: the slots below this number.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many slots have rows, linked or not.
    pub(super) fn coded(&self) -> usize {
        self.coded
    }

    /// What the rows of slots are held against to find what this view's query asks for; `None` if they tell
    /// nothing.
    pub(super) fn bound<'a>(&self, query: &'a mut Query) -> Option<Bound<'a>> {
        self.shape.bound(query)
    }

    /// Whether the slot of this number, which has a row, is farther away than `rank_max`.
    #[inline]
    pub(super) fn rules_out(&self, bound: &Bound<'_>, number: Node, rank_max: f32) -> bool {
        bound.rules_out(self.row(number), rank_max)
    }

    /// Has the query ask for this vector, in the shape that the walk compares.
    pub(super) fn ask(&self, vector: &[f32], query: &mut Query) {
        self.shape.ask(vector, query);
    }

    /// How much of the heap codes take, and about how much everything else. Costs nothing to ask.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let twins = table::<Node, Vec<Node>>(self.twins.capacity()) + 2 * list::<Node>(self.twins_all);
        let links = Block::link_bytes(self.degrees) + list::<Block>(1);
        let upper = Block::upper_bytes(self.degrees, self.coded);
        (self.blocks.len() * Block::code_bytes(&self.shape), self.blocks.len() * links + upper + twins)
    }

    fn grow(&mut self) -> (usize, Option<&mut Block>) {
        let offset = self.coded % Block::NODES;
        if offset == 0 {
            self.blocks.push(Block::new(&self.shape, self.degrees));
        }
        self.coded += 1;
        (offset, self.blocks.last_mut())
    }

    fn push(&mut self, level: usize, vector: &[f32]) {
        let (shape, degrees) = (Arc::clone(&self.shape), self.degrees);
        if let (offset, Some(block)) = self.grow() {
            block.write(offset, level, degrees, |row| shape.write(vector, row));
        }
    }

    fn block(&self, node: Node) -> (&Block, usize) {
        let node = node as usize;
        (&self.blocks[node / Block::NODES], node % Block::NODES)
    }
}

/// A number that has nothing to do with `number`, and is always the same.
fn astray(number: usize) -> usize {
    ((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

#[cfg(test)]
mod tests;
