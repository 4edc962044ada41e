//! What a search asks and finds, and keeping the best on the way.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use vectorizer_log::Metric;

use super::filter::Filter;
use super::pool::{Pool, Pooled};
use super::selection::Selection;
use super::slots::{Entry, StoredPoint};

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct SearchRequest<'a> {
    /// The vector to compare with, of the collection's dimension.
    pub vector: &'a [f32],
    /// The most hits wanted.
    pub limit: usize,
    /// What a hit must fulfil.
    pub filter: Option<&'a Selection>,
    /// The least similarity or the largest distance of a hit, inclusive.
    pub score_threshold: Option<f32>,
    /// How much to look at.
    pub effort: Effort,
}

/// How much a search looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// As the collection was told to, or what finds about 95 in 100 of the nearest.
    #[default]
    Usual,
    /// So many candidates in a walk through the graph (the paper's ef), or `limit` if that is more.
    Candidates(usize),
    /// Every vector.
    Exact,
}

/// A point that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The point; cheap to hold, its vector is not copied.
    pub point: StoredPoint,
    /// Its similarity (cosine, dot: higher is better) or distance (euclidean: lower is better) to
    /// the vector searched for. Always finite: what exceeds f32 is the largest or smallest f32.
    pub score: f32,
}

/// Why a vector cannot be searched for.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidQuery {
    /// The collection has texts, and no vectors to compare with.
    #[error("the collection has no vectors to compare with")]
    NoVectors,
    /// It is of another dimension than the collection.
    #[error("the vector has dimension {found}, the collection has {expected}")]
    WrongDimension {
        /// The collection's.
        expected: usize,
        /// The vector's.
        found: usize,
    },
    /// It has a NaN or an infinity.
    #[error("component {position} of the vector is not a finite number")]
    NotFinite {
        /// Where, from zero.
        position: usize,
    },
    /// It is a zero vector, which has no direction and so no cosine.
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

    /// A number that is lower the better the score is, and the way back.
    fn rank(self, score: f32) -> f32 {
        match self {
            // Zero minus, not minus: there is only one zero among ranks, too.
            Self::HigherFirst => 0.0 - score,
            Self::LowerFirst => score,
        }
    }
}

static CANDIDATES: Pool<Vec<Candidate<'static>>> = Pool::new();

/// The best points seen so far, at most as many as were asked for.
pub(super) struct Best<'a> {
    order: Order,
    limit: usize,
    /// What is to be asked of candidates.
    filter: Option<&'a Filter>,
    /// No candidate of a higher rank can enter.
    rank_max: f32,
    /// The worst on top.
    heap: BinaryHeap<Candidate<'a>>,
    /// What the heap lies in came from here and goes back.
    room: Pooled<Vec<Candidate<'static>>>,
}

struct Candidate<'a> {
    rank: f32,
    entry: Entry<'a>,
}

impl<'a> Best<'a> {
    /// Of `points` points or fewer, of which `filter` has yet to be asked.
    pub(super) fn new(
        limit: usize,
        score_threshold: Option<f32>,
        filter: Option<&'a Filter>,
        order: Order,
        points: usize,
    ) -> Self {
        let mut room = CANDIDATES.take();
        let mut heap: BinaryHeap<Candidate<'a>> = std::mem::take(&mut *room).into();
        heap.reserve(limit.min(points));
        Self {
            order,
            limit,
            filter,
            rank_max: score_threshold.map_or(f32::INFINITY, |score| order.rank(score)),
            heap,
            room,
        }
    }

    /// No point of a higher rank can enter.
    #[inline]
    pub(super) fn rank_max(&self) -> f32 {
        self.rank_max
    }

    /// Takes the point if it is among the best. The filter, which may have to parse a payload, is
    /// asked last, and only about a point that would enter.
    #[inline]
    pub(super) fn offer(&mut self, score: f32, entry: Entry<'a>) {
        let rank = self.order.rank(score);
        if rank <= self.rank_max {
            self.consider(Candidate { rank, entry });
        }
    }

    fn consider(&mut self, candidate: Candidate<'a>) {
        let full = self.heap.len() >= self.limit;
        if full && self.heap.peek().is_none_or(|worst| candidate >= *worst) {
            return;
        }
        let entry = candidate.entry;
        if self.filter.is_some_and(|filter| !filter.matches(entry.id(), entry.payload())) {
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
        let hit = |Candidate { rank, entry }| Hit { point: entry.point(), score: order.rank(rank) };
        let mut candidates = self.heap.into_sorted_vec();
        let hits = candidates.drain(..).map(hit).collect();
        *self.room = emptied(candidates);
        hits
    }
}

/// The same room, for candidates of any other search: what is collected from a vector of the same layout is
/// collected in its place.
fn emptied<'any>(mut candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'any>> {
    candidates.clear();
    #[expect(clippy::unnecessary_filter_map, reason = "a filter would hand on candidates of the old search")]
    candidates.into_iter().filter_map(|_| None).collect()
}

/// By rank, equal ranks by id: the order of results.
impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then_with(|| self.entry.id().cmp(other.entry.id()))
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
