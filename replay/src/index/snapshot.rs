//! A collection as of one moment.

use std::sync::{Arc, OnceLock};

use vectorizer_log::{Dimension, IndexParameters, Metric, PointId};

use super::distance;
use super::filter::Filter;
use super::graph::{Graph, Node, View};
use super::search::{Best, Effort, Hit, InvalidQuery, Order, SearchRequest};
use super::slots::{Block, Entry, Slots};

/// Candidates of a search that says nothing about them, in a collection that says nothing either.
const EF_DEFAULT: usize = 100;

/// A collection as of the moment it was taken, whatever is written later. Needs no lock, so it can
/// be searched at leisure; held for long, it keeps what was deleted since in memory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) slots: Slots,
    pub(super) parameters: IndexParameters,
    pub(super) graph: Arc<OnceLock<Graph>>,
    /// What was linked at that moment.
    view: Option<Arc<View>>,
}

impl Snapshot {
    pub(super) fn new(slots: Slots, parameters: IndexParameters, graph: Arc<OnceLock<Graph>>) -> Self {
        let view = graph.get().map(Graph::view);
        Self { slots, parameters, graph, view }
    }

    /// What was linked.
    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_deref()
    }

    /// Of all its vectors.
    pub fn dimension(&self) -> Dimension {
        self.slots.dimension()
    }

    /// How its vectors compare.
    pub fn metric(&self) -> Metric {
        self.slots.metric()
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.slots.live()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The best points by score, best first, equal scores in the order of ids. Fewer than `limit` hits
    /// means that no more points fulfil the request, whatever the effort.
    pub fn search(&self, request: &SearchRequest<'_>) -> Result<Vec<Hit>, InvalidQuery> {
        request.check(self.dimension().get())?;
        let vector = request.vector;
        // One search is compiled for each metric, so no vector has to ask which it is.
        match self.metric() {
            Metric::Cosine => {
                let unit = distance::unit(vector).ok_or(InvalidQuery::ZeroVector)?;
                Ok(self.search_by(request, |block, offset| {
                    distance::cosine(&unit, block.vector(offset), block.inverse_norm(offset))
                }))
            }
            Metric::Dot => {
                Ok(self.search_by(request, |block, offset| distance::dot(vector, block.vector(offset))))
            }
            Metric::Euclidean => {
                Ok(self.search_by(request, |block, offset| distance::euclidean(vector, block.vector(offset))))
            }
        }
    }

    /// How many points fulfil `filter`.
    pub fn count(&self, filter: Option<&Filter>) -> usize {
        match filter {
            Some(filter) => self.entries().filter(|entry| fulfils(entry, filter)).count(),
            None => self.len(),
        }
    }

    /// The ids of the points that fulfil `filter`, in order.
    pub fn matching(&self, filter: &Filter) -> Vec<PointId> {
        let mut ids: Vec<PointId> = self
            .entries()
            .filter(|entry| fulfils(entry, filter))
            .map(|entry| PointId::clone(&entry.id))
            .collect();
        ids.sort_unstable();
        ids
    }

    fn search_by(&self, request: &SearchRequest<'_>, score: impl Fn(&Block, usize) -> f32) -> Vec<Hit> {
        if request.limit == 0 {
            return Vec::new();
        }
        let ef = match request.effort {
            Effort::Exact => None,
            Effort::Usual => Some(self.parameters.ef.map_or(EF_DEFAULT, usize::from)),
            Effort::Candidates(ef) => Some(ef),
        };
        if let (Some(view), Some(ef), None) = (&self.view, ef, request.filter)
            && let Some(hits) = self.walk(request, view, ef.max(request.limit), &score)
        {
            return hits;
        }
        let mut best = Best::new(request, Order::of(self.metric()), self.len());
        self.scan_from(0, &mut best, &score);
        best.into_hits()
    }

    /// `None` if only a scan can tell.
    fn walk(
        &self,
        request: &SearchRequest<'_>,
        view: &View,
        ef: usize,
        score: &impl Fn(&Block, usize) -> f32,
    ) -> Option<Vec<Hit>> {
        let mut best = Best::new(request, Order::of(self.metric()), self.len());
        let mut found = 0;
        let rank = |nodes: &[Node]| {
            found = nodes.len();
            for node in nodes {
                let (block, offset) = self.slots.at(*node as usize);
                block.prefetch(offset);
            }
            for node in nodes {
                let (block, offset) = self.slots.at(*node as usize);
                if let Some(entry) = &block.entries()[offset] {
                    best.offer(score(block, offset), entry, block, offset);
                }
            }
        };
        let probe = view.probe(request.vector);
        if request.filter.is_none() && !self.slots.has_emptied() {
            view.nearest(&probe, ef, rank);
        } else {
            let accept = |node: Node| {
                let (block, offset) = self.slots.at(node as usize);
                let entry = block.entries()[offset].as_deref();
                entry.is_some_and(|entry| request.filter.is_none_or(|filter| fulfils(entry, filter)))
            };
            view.nearest_accepted(&probe, ef, self.len(), accept, rank).ok()?;
        }
        if found < request.limit.min(self.len()) {
            return None;
        }
        self.scan_from(view.len(), &mut best, score);
        Some(best.into_hits())
    }

    /// Offers every point in the slots from `first` on.
    fn scan_from<'a>(&'a self, first: usize, best: &mut Best<'a>, score: &impl Fn(&Block, usize) -> f32) {
        let (skipped, mut start) = (first / self.slots.block_len(), first % self.slots.block_len());
        for block in self.slots.blocks().iter().skip(skipped) {
            for (offset, entry) in block.entries().iter().enumerate().skip(std::mem::take(&mut start)) {
                if let Some(entry) = entry {
                    best.offer(score(block, offset), entry, block, offset);
                }
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.blocks().iter().flat_map(|block| block.entries().iter().flatten().map(AsRef::as_ref))
    }
}

fn fulfils(entry: &Entry, filter: &Filter) -> bool {
    filter.matches(&entry.id, entry.payload.as_ref())
}
