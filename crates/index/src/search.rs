//! Search requests, their hits, and the heap of the best hits so far.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use vectorizer_log::Metric;

use super::filter::Filter;
use super::pool::{Pool, Pooled};
use super::selection::Selection;
use super::slots::{PointRef, StoredPoint};

/// A search by vector.
#[derive(Clone, Copy, Debug)]
pub struct SearchRequest<'a> {
    /// The query vector, of the collection's dimension.
    pub vector: &'a [f32],
    /// The most hits to return.
    pub limit: usize,
    /// The filter that a hit must match.
    pub filter: Option<&'a Selection>,
    /// The least similarity or the largest distance of a hit, inclusive.
    pub score_threshold: Option<f32>,
    /// Whether the search is exact, or how many candidates it keeps.
    pub mode: SearchMode,
}

/// How thorough a search is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchMode {
    /// As many candidates as the collection is set to, or a default that finds about 95 % of the nearest.
    #[default]
    Default,
    /// A walk with this many candidates (ef in the HNSW paper), or with `limit` if that is more.
    Candidates(usize),
    /// Compares every vector.
    Exact,
}

/// A point that a search found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The point. Its vector is shared, not copied.
    pub point: StoredPoint,
    /// The similarity (cosine, dot: higher is better) or distance (euclidean: lower is better) of the point to the
    /// query vector. Always finite: values beyond the range of `f32` are clamped to it.
    pub score: f32,
}

/// Why a vector cannot be searched for.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidQuery {
    /// The points of the collection have texts and no vectors.
    #[error("the collection has no vectors to compare with")]
    NoVectors,
    /// The vector has another dimension than the collection.
    #[error("the vector has dimension {found}, the collection has {expected}")]
    WrongDimension {
        /// The collection's dimension.
        expected: usize,
        /// The vector's dimension.
        found: usize,
    },
    /// The vector has a NaN or an infinity.
    #[error("component {position} of the vector is not a finite number")]
    NotFinite {
        /// The position of that number, from zero.
        position: usize,
    },
    /// The vector is zero, so it has no direction and no cosine.
    #[error("a zero vector has no direction to compare by cosine")]
    ZeroVector,
}

impl SearchRequest<'_> {
    pub(super) fn check(&self, dimension: usize) -> Result<(), InvalidQuery> {
        if dimension == 0 {
            return Err(InvalidQuery::NoVectors);
        }
        if self.vector.len() != dimension {
            return Err(InvalidQuery::WrongDimension { expected: dimension, found: self.vector.len() });
        }
        match self.vector.iter().position(|number| !number.is_finite()) {
            Some(position) => Err(InvalidQuery::NotFinite { position }),
            None => Ok(()),
        }
    }
}

/// Which scores are better.
#[derive(Clone, Copy)]
pub(super) enum Order {
    HigherFirst,
    LowerFirst,
}

impl Order {
    pub(super) fn of(metric: Metric) -> Self {
        match metric {
            Metric::Cosine | Metric::Dot => Self::HigherFirst,
            Metric::Euclidean => Self::LowerFirst,
        }
    }

    /// Turns a score into a rank, where lower is better, and a rank into a score.
    fn rank(self, score: f32) -> f32 {
        match self {
            // `0.0 - score` and not `-score`, so that there is only one zero among ranks.
            Self::HigherFirst => 0.0 - score,
            Self::LowerFirst => score,
        }
    }
}

static CANDIDATES: Pool<Vec<Candidate<'static>>> = Pool::new();

/// The best points so far, at most `limit`.
pub(super) struct Best<'a> {
    order: Order,
    limit: usize,
    /// The filter that candidates must still match.
    filter: Option<&'a Filter>,
    /// A candidate with a higher rank cannot enter.
    rank_max: f32,
    /// The worst candidate is on top.
    heap: BinaryHeap<Candidate<'a>>,
    /// The pooled buffer of the heap.
    buffer: Pooled<Vec<Candidate<'static>>>,
}

struct Candidate<'a> {
    rank: f32,
    point: PointRef<'a>,
}

impl<'a> Best<'a> {
    /// For at most `points` points, which must match `filter`.
    pub(super) fn new(
        limit: usize,
        score_threshold: Option<f32>,
        filter: Option<&'a Filter>,
        order: Order,
        points: usize,
    ) -> Self {
        let mut buffer = CANDIDATES.take();
        let mut heap: BinaryHeap<Candidate<'a>> = std::mem::take(&mut *buffer).into();
        heap.reserve(limit.min(points));
        Self {
            order,
            limit,
            filter,
            rank_max: score_threshold.map_or(f32::INFINITY, |score| order.rank(score)),
            heap,
            buffer,
        }
    }

    /// A point with a higher rank cannot enter.
    #[inline]
    pub(super) fn rank_max(&self) -> f32 {
        self.rank_max
    }

    /// Adds the point if it is among the best. The filter, which may have to parse a payload, is evaluated last and
    /// only for a point that would enter.
    #[inline]
    pub(super) fn offer(&mut self, score: f32, point: PointRef<'a>) {
        let rank = self.order.rank(score);
        if rank <= self.rank_max {
            self.consider(Candidate { rank, point });
        }
    }

    fn consider(&mut self, candidate: Candidate<'a>) {
        let full = self.heap.len() >= self.limit;
        if full && self.heap.peek().is_none_or(|worst| candidate >= *worst) {
            return;
        }
        let point = candidate.point;
        if self.filter.is_some_and(|filter| !filter.matches(point.id(), point.payload())) {
            return;
        }
        if full {
            self.heap.pop();
        }
        self.heap.push(candidate);
        if self.heap.len() == self.limit
            && let Some(worst) = self.heap.peek()
        {
            self.rank_max = worst.rank;
        }
    }

    /// The hits, best first.
    pub(super) fn into_hits(mut self) -> Vec<Hit> {
        let order = self.order;
        let hit = |Candidate { rank, point }| Hit { point: point.stored(), score: order.rank(rank) };
        let mut candidates = self.heap.into_sorted_vec();
        let hits = candidates.drain(..).map(hit).collect();
        *self.buffer = deleted(candidates);
        hits
    }
}

/// The same allocation, empty, for candidates of another lifetime: collecting into a vector of the same layout reuses
/// its memory.
fn deleted<'any>(mut candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'any>> {
    candidates.clear();
    #[expect(clippy::unnecessary_filter_map, reason = "a filter would keep the type of the old candidates")]
    candidates.into_iter().filter_map(|_| None).collect()
}

/// By rank, then by id: the order of results.
impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then_with(|| self.point.id().cmp(other.point.id()))
    }
}

impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate<'_> {}
