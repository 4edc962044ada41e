//! Snapshots: a collection as of one moment.

use std::sync::Arc;

use roaring::RoaringBitmap;
use vectorizer_log::{IndexParameters, Metric, PointId, Seq, TextParameters};

use super::distance;
use super::filter::Filter;
use super::filter_plan::FilterPlan;
use super::graph::{Graph, Node, Query, View};
use super::graph_cell::GraphCell;
use super::pool::Pool;
use super::postings::Declared;
use super::search::{Best, Hit, InvalidQuery, Order, SearchMode, SearchRequest};
use super::selection::Selection;
use super::slots::{Block, PointRef, Slots};

/// How many candidates a walk keeps if neither the request nor the collection sets a number.
const EF_DEFAULT: usize = 100;

/// How many blocks a scan compares before it yields to other threads. This takes about a third of a millisecond.
const BLOCKS_PER_YIELD: usize = 8;
/// How many candidates ahead of the comparison a scan prefetches.
const PREFETCH_AHEAD: usize = 4;

/// A walk reads rows with mostly one byte for each number of a vector, a quarter of the vector's size.
const CODE_SHARE: usize = 4;
/// A walk that has to widen its search ranks this many whole vectors for each candidate that it was asked to keep.
const RANKED_PER_CANDIDATE: usize = 8;
/// Filtering this many payloads takes negligible time, whatever they contain.
const PAYLOADS_FEW: usize = 256;

static WORKSPACES: Pool<Workspace> = Pool::new();

/// Reusable buffers of a search.
#[derive(Default)]
struct Workspace {
    /// The query vector, scaled to length one.
    unit: Vec<f32>,
    query: Query,
}

/// A collection as of the moment when the snapshot was taken. Later writes do not change a snapshot. It can be searched
/// without a lock. While it is held, it keeps the memory of points that were deleted since.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) slots: Slots,
    pub(super) parameters: IndexParameters,
    /// The parameters of its texts.
    pub(super) texts: TextParameters,
    /// The declared payload paths.
    pub(super) declared: Declared,
    pub(super) graph: Arc<GraphCell>,
    /// The nodes that were linked at that moment.
    view: Option<Arc<View>>,
    /// The last record that changed the collection.
    last_change: Seq,
}

impl Snapshot {
    pub(super) fn new(
        slots: Slots,
        parameters: IndexParameters,
        texts: TextParameters,
        declared: Declared,
        graph: Arc<GraphCell>,
        last_change: Seq,
    ) -> Self {
        let view = graph.get().map(Graph::view);
        Self { slots, parameters, texts, declared, graph, view, last_change }
    }

    /// The last record that changed the collection before the snapshot was taken.
    pub fn last_change(&self) -> Seq {
        self.last_change
    }

    /// The nodes that were linked when the snapshot was taken.
    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_deref()
    }

    /// The dimension of its vectors; zero if points have none.
    pub fn dimension(&self) -> usize {
        self.slots.dimension()
    }

    /// The metric of its vectors.
    pub fn metric(&self) -> Metric {
        self.slots.metric()
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.slots.live()
    }

    /// Whether it has no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The best points by score, best first. Points with equal scores are in the order of ids. If there are fewer than
    /// `limit` hits, no other point that the search mode examines matches the filter and reaches the threshold.
    ///
    /// # Errors
    ///
    /// [`InvalidQuery`] if the vector cannot be compared with those of the collection.
    pub fn search(&self, request: &SearchRequest<'_>) -> Result<Vec<Hit>, InvalidQuery> {
        // Without a limit on the comparisons, a search always returns hits.
        self.search_within(request, usize::MAX).map(Option::unwrap_or_default)
    }

    /// Like [`search`](Self::search), but only if the search is a walk that passes over nodes and costs no more than
    /// comparing about `compared_max` whole vectors. Returns `None` for other searches, and after about that much work
    /// if the walk has not finished. Most such walks are short, but this is not known in advance.
    pub fn search_bounded(
        &self,
        request: &SearchRequest<'_>,
        compared_max: usize,
    ) -> Result<Option<Vec<Hit>>, InvalidQuery> {
        let plan = FilterPlan::of(request.filter, &self.slots);
        let Some(view) = &self.view else { return Ok(None) };
        let passes_over = plan.slots.is_some() || self.slots.has_deleted();
        let ranked = self.candidates(request).map(|ef| ef.saturating_mul(RANKED_PER_CANDIDATE));
        // A node may represent several points, its duplicates.
        let ranked = ranked.map(|ranked| ranked.saturating_add(view.duplicates_of(ranked)));
        let left = compared_max.saturating_sub(self.unlinked_compares(view));
        if !passes_over || plan.filter.is_some() || ranked.is_none_or(|ranked| ranked > left) {
            return Ok(None);
        }
        self.search_within(request, left)
    }

    fn search_within(
        &self,
        request: &SearchRequest<'_>,
        compared_max: usize,
    ) -> Result<Option<Vec<Hit>>, InvalidQuery> {
        request.check(self.dimension())?;
        let vector = request.vector;
        let mut workspace = WORKSPACES.take();
        let Workspace { unit, query } = &mut *workspace;
        // The search is compiled once for each metric, so that no comparison branches on it.
        match self.metric() {
            Metric::Cosine => {
                unit.clear();
                unit.extend(distance::unit(vector).ok_or(InvalidQuery::ZeroVector)?);
                Ok(self.search_by(request, compared_max, query, |block, offset| {
                    distance::cosine(unit, block.vector(offset), block.inverse_norm(offset))
                }))
            }
            Metric::Dot => Ok(self.search_by(request, compared_max, query, |block, offset| {
                distance::dot(vector, block.vector(offset))
            })),
            Metric::Euclidean => Ok(self.search_by(request, compared_max, query, |block, offset| {
                distance::euclidean(vector, block.vector(offset))
            })),
        }
    }

    /// An upper estimate of how many whole vectors a search compares; `usize::MAX` if it may have to read many
    /// payloads.
    pub fn compared(&self, request: &SearchRequest<'_>) -> usize {
        let plan = FilterPlan::of(request.filter, &self.slots);
        if plan.filter.is_some() && plan.points_max > PAYLOADS_FEW {
            return usize::MAX;
        }
        match (&self.view, self.candidates(request)) {
            // A walk that has to pass over nodes may visit all of them.
            (Some(view), Some(ef)) if request.filter.is_none() && !self.slots.has_deleted() => {
                let compared = plan.walk_compares(ef, view.len()) / CODE_SHARE + view.duplicates_of(ef);
                compared + self.unlinked_compares(view)
            }
            _ => plan.points_max,
        }
    }

    /// The same estimate for unlinked points alone. The rows of most of them rule out their vectors.
    fn unlinked_compares(&self, view: &View) -> usize {
        (view.encoded() - view.len()) / CODE_SHARE + self.slots.len() - view.encoded()
    }

    /// How many candidates a walk keeps. `None` if the search must be exact.
    fn candidates(&self, request: &SearchRequest<'_>) -> Option<usize> {
        let ef = match request.mode {
            SearchMode::Exact => return None,
            SearchMode::Default => self.parameters.ef.map_or(EF_DEFAULT, usize::from),
            SearchMode::Candidates(ef) => ef,
        };
        Some(ef.max(request.limit))
    }

    /// How many points match the filter.
    pub fn count(&self, filter: Option<&Selection>) -> usize {
        let plan = FilterPlan::of(filter, &self.slots);
        match plan.filter {
            Some(_) => self.found(plan).count(),
            None => plan.points_max,
        }
    }

    /// The ids of the points that match the filter, in ascending order.
    pub fn matching(&self, filter: &Selection) -> Vec<PointId> {
        let found = self.found(FilterPlan::of(Some(filter), &self.slots));
        let mut ids: Vec<&str> = found.map(PointRef::id).collect();
        ids.sort_unstable();
        let id = |text| PointId::text(text).expect("it was an id when it was stored");
        ids.into_iter().map(id).collect()
    }

    fn found<'a>(&'a self, plan: FilterPlan<'a>) -> impl Iterator<Item = PointRef<'a>> {
        let all = plan.slots.is_none().then(|| self.points()).into_iter().flatten();
        let some = plan.slots.into_iter().flatten().filter_map(|number| self.point(number));
        all.chain(some).filter(move |point| plan.filter.is_none_or(|filter| matches(*point, filter)))
    }

    /// Searches by a walk or a scan. `None` if it would compare more than `compared_max` vectors.
    fn search_by(
        &self,
        request: &SearchRequest<'_>,
        compared_max: usize,
        query: &mut Query,
        score: impl Fn(&Block, usize) -> f32,
    ) -> Option<Vec<Hit>> {
        let plan = FilterPlan::of(request.filter, &self.slots);
        if request.limit == 0 || plan.points_max == 0 {
            return Some(Vec::new());
        }
        if let (Some(view), Some(ef)) = (&self.view, self.candidates(request))
            && plan.prefers_walk(ef, view.len())
            && let Some(hits) = self.walk(request, plan, view, (ef, compared_max), query, &score)
        {
            return Some(hits);
        }
        if plan.points_max > compared_max {
            return None;
        }
        let mut best = self.best(request, plan);
        self.scan_from(0, plan, &mut best, &score);
        Some(best.into_hits())
    }

    fn best<'a>(&self, request: &SearchRequest<'_>, plan: FilterPlan<'a>) -> Best<'a> {
        let SearchRequest { limit, score_threshold, .. } = *request;
        Best::new(limit, score_threshold, plan.filter, Order::of(self.metric()), plan.points_max)
    }

    /// Searches the graph. `None` if the request needs a scan.
    fn walk(
        &self,
        request: &SearchRequest<'_>,
        plan: FilterPlan<'_>,
        view: &View,
        (ef, compared_max): (usize, usize),
        query: &mut Query,
        score: &impl Fn(&Block, usize) -> f32,
    ) -> Option<Vec<Hit>> {
        let mut best = self.best(request, plan);
        let mut found = 0;
        let rank = |nodes: &[Node]| {
            found = nodes.len();
            for node in nodes {
                let (block, offset) = self.slots.at(*node as usize);
                block.prefetch(offset);
            }
            for node in nodes {
                let (block, offset) = self.slots.at(*node as usize);
                if let Some(point) = block.point(offset) {
                    best.offer(score(block, offset), point);
                }
            }
        };
        view.set_query(request.vector, query);
        if request.filter.is_none() && !self.slots.has_deleted() {
            view.nearest(query, ef, rank);
        } else {
            let accept = |node| self.accepts(plan, node);
            let skips_max = plan.skips_max(view.len());
            let compares_max = plan.points_max.min(compared_max.saturating_mul(CODE_SHARE));
            view.nearest_accepted(query, ef, skips_max, compares_max, accept, rank).ok()?;
        }
        if found < request.limit.min(plan.points_max) {
            return None;
        }
        let rest = self.scan_encoded(view, query, plan, &mut best, score);
        self.scan_from(rest, plan, &mut best, score);
        Some(best.into_hits())
    }

    /// Whether a search may return this node. A walk asks about fewer nodes than there are candidates, so building a
    /// faster set of the candidates would take longer than it saves.
    fn accepts(&self, plan: FilterPlan<'_>, node: Node) -> bool {
        match (plan.slots, plan.filter) {
            // Every candidate slot holds a point.
            (Some(among), None) => among.contains(node),
            (Some(among), Some(filter)) => {
                among.contains(node) && self.point(node).is_some_and(|point| matches(point, filter))
            }
            (None, Some(filter)) => self.point(node).is_some_and(|point| matches(point, filter)),
            (None, None) => self.point(node).is_some(),
        }
    }

    /// Offers to `best` the unlinked points that are not ruled out by their rows. Returns the first slot that has no
    /// row.
    fn scan_encoded<'a>(
        &'a self,
        view: &View,
        query: &mut Query,
        plan: FilterPlan<'_>,
        best: &mut Best<'a>,
        score: &impl Fn(&Block, usize) -> f32,
    ) -> usize {
        let (Some(bound), None) = (view.bound(query), plan.slots) else { return view.len() };
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        for number in view.len() as Node..view.encoded() as Node {
            if !view.rules_out(&bound, number, best.rank_max()) {
                let (block, offset) = self.slots.at(number as usize);
                if let Some(point) = block.point(offset) {
                    best.offer(score(block, offset), point);
                }
            }
        }
        view.encoded()
    }

    /// Offers to `best` every point of the plan in the slots from `first` on.
    fn scan_from<'a>(
        &'a self,
        first: usize,
        plan: FilterPlan<'_>,
        best: &mut Best<'a>,
        score: &impl Fn(&Block, usize) -> f32,
    ) {
        if let Some(among) = plan.slots {
            return self.scan_slots(first, among, best, score);
        }
        let (skipped, mut start) = (first / self.slots.block_len(), first % self.slots.block_len());
        for (nth, block) in (1..).zip(self.slots.blocks().iter().skip(skipped)) {
            if nth % BLOCKS_PER_YIELD == 0 {
                // Otherwise Linux lets other threads wait for up to 4 ms, until its next tick.
                std::thread::yield_now();
            }
            for (offset, point) in block.points().enumerate().skip(std::mem::take(&mut start)) {
                if let Some(point) = point {
                    best.offer(score(block, offset), point);
                }
            }
        }
    }

    fn scan_slots<'a>(
        &'a self,
        first: usize,
        among: &RoaringBitmap,
        best: &mut Best<'a>,
        score: &impl Fn(&Block, usize) -> f32,
    ) {
        let Ok(first) = u32::try_from(first) else { return };
        let numbers = among.range(first..);
        let mut ahead = numbers.clone().skip(PREFETCH_AHEAD);
        for number in numbers {
            if let Some(number) = ahead.next() {
                let (block, offset) = self.slots.at(number as usize);
                block.prefetch(offset);
            }
            let (block, offset) = self.slots.at(number as usize);
            if let Some(point) = block.point(offset) {
                best.offer(score(block, offset), point);
            }
        }
    }

    fn point(&self, number: u32) -> Option<PointRef<'_>> {
        let (block, offset) = self.slots.at(number as usize);
        block.point(offset)
    }

    fn points(&self) -> impl Iterator<Item = PointRef<'_>> {
        // Callers that visit every point read payloads, so they yield after each block.
        let blocks = self.slots.blocks().iter().inspect(|_| std::thread::yield_now());
        blocks.flat_map(|block| block.points().flatten())
    }
}

fn matches(point: PointRef<'_>, filter: &Filter) -> bool {
    filter.matches(point.id(), point.payload())
}
