//! Full-text search in a collection.

use super::filter_plan::FilterPlan;
use super::search::{Best, Hit, Order};
use super::selection::Selection;
use super::slots::Slots;
use crate::text::QueryPostings;

/// A search among the texts that share a word with a query.
#[derive(Clone, Copy, Debug)]
pub struct TextRequest<'a> {
    /// The most hits to return.
    pub limit: usize,
    /// The filter that a hit must match.
    pub filter: Option<&'a Selection>,
    /// The least score of a hit, inclusive.
    pub score_threshold: Option<f32>,
}

/// The texts of a collection that share a word with a query, as of one moment. Later writes do not change it, and
/// reading it needs no lock.
#[derive(Clone, Debug)]
pub struct TextMatches {
    found: QueryPostings,
    slots: Slots,
}

impl TextMatches {
    /// The documents of `found`, which are numbers of `slots`.
    pub(super) fn new(found: QueryPostings, slots: Slots) -> Self {
        Self { found, slots }
    }

    /// The best points by BM25 (k1 = 1.2, b = 0.75), best first, equal scores in the order of ids. If there are fewer
    /// than `limit` hits, no more points share a word with the query, match the filter and reach the threshold.
    pub fn search(&self, request: &TextRequest<'_>) -> Vec<Hit> {
        let TextRequest { limit, filter, score_threshold } = *request;
        let plan = FilterPlan::of(filter, &self.slots);
        if limit == 0 || plan.points_max == 0 {
            return Vec::new();
        }
        let points = self.found.postings().min(plan.points_max);
        let mut best = Best::new(limit, score_threshold, plan.filter, Order::HigherFirst, points);
        self.found.each_best(plan.slots, |document, score| {
            let (block, offset) = self.slots.at(document as usize);
            if let Some(point) = block.point(offset) {
                best.offer(score, point);
            }
            0.0 - best.rank_max()
        });
        best.into_hits()
    }

    /// How many postings a search reads at most.
    pub fn compared(&self) -> usize {
        self.found.postings()
    }

    /// Whether a search with this filter may have to read payloads.
    pub fn reads_payloads(&self, filter: Option<&Selection>) -> bool {
        FilterPlan::of(filter, &self.slots).filter.is_some()
    }
}
