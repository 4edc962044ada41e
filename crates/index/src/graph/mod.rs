//! A graph over a collection's slots: HNSW (Malkov and Yashunin, 2016, arXiv:1603.09320).
//!
//! - `node`: nodes and the parameters of a graph; `level`: the highest level of a node.
//! - `quantizer`: the compact copy of the vectors that a walk compares; `row`: the copy of one vector; `bound`: which
//!   vectors a row rules out.
//! - `blocks`: the memory of codes and neighbours; `view`: the graph as of one moment; `fit`: its quantizer.
//! - `walk`: from an entry point to the nodes nearest to a probe.
//! - `link`: linking new nodes; `repair`: linking unreachable nodes again.
//! - `remap`: the graph after a compaction.
//! - `stored`: the bytes of a graph.
//! - `scratch`: reusable buffers of walks.
//!
//! **Variants.** There is one distance: every vector has a quantized row of a byte per number, and one formula over
//! these bytes stands in for all three metrics (see `quantizer`, also for vectors that a byte is not precise enough
//! for). Walks and linking read only rows, a quarter of the memory of the vectors; the nodes that a walk has found
//! are then ranked by the vectors themselves. There are two walks. [`View::nearest`] keeps one sorted list, both of
//! the nodes found and of those to expand. [`View::nearest_accepted`] serves searches that must pass over nodes
//! (filters, deleted slots): it walks over all nodes and keeps a separate list of those that it may return.
//!
//! Of vectors with equal rows, one is linked and stands for its duplicates.
//!
//! **Concurrency.** The codes of a node are written once, before it is linked, and never change. Its neighbours are
//! atomics in an arena that all views share: linking changes them under readers, which see old or new neighbours,
//! both of which are nodes. A [`View`] is the graph as of one moment; a walk ignores neighbours that are newer than
//! its view. Readers never wait. Linking threads wait only for each other, for the lock of a list.
//!
//! The graph is derived data: it may be lost at any time, and no digest covers it.

mod blocks;
mod bound;
mod fit;
mod level;
mod link;
mod node;
mod quantizer;
mod remap;
mod repair;
mod row;
mod scratch;
mod stored;
mod view;
mod walk;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vectorizer_log::Metric;

use self::blocks::Block;
use self::level::level;
pub use self::link::LinkThreads;
use self::node::RankedNode;
pub(super) use self::node::{BuildParameters, Node, NodeData};
pub(super) use self::quantizer::Query;
use self::quantizer::{Quantizer, STOP_CHECK_INTERVAL};
use self::row::Precision;
pub use self::stored::UnusableGraph;
pub(super) use self::stored::name;
pub(super) use self::view::View;
use crate::interrupted::Interrupted;

/// How many rows are written between two calls of `enough`.
const ENCODED_AT_ONCE: usize = 16 * Block::NODES;

/// The graph is repaired each time it has grown by one part in this many, which costs about an eightieth of the time of
/// linking. Meanwhile all threads but one are idle.
const REPAIR_SHARE: usize = 16;

/// The graph of one collection, for as long as its slots keep their numbers.
#[derive(Debug)]
pub(super) struct Graph {
    /// The newest view. A search clones the `Arc` once.
    view: Mutex<Arc<View>>,
    /// Held by the one thread that links.
    linking: Mutex<()>,
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
        // IMPORTANT: not while the lock is held. Freeing it takes milliseconds, and every search that begins would
        // wait.
        drop(before);
    }

    /// Writes codes for the first `encoded` slots, then links the unlinked ones up to `end`. Publishes both to
    /// searches that begin after. Calls `stop` every fifty microseconds or between two vectors, and ends early, with
    /// some progress, once `enough` returns true.
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

#[cfg(test)]
mod tests;
