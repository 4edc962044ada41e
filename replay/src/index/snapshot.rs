//! A collection as of one moment.

use vectorizer_log::{Dimension, Metric, PointId};

use super::distance;
use super::filter::Filter;
use super::search::{Best, Hit, InvalidQuery, Order, SearchRequest};
use super::slots::{Block, Entry, Slots};

/// A collection as of the moment it was taken, whatever is written later. Needs no lock, so it can
/// be scanned at leisure; held for long, it keeps what was deleted since in memory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    slots: Slots,
}

impl Snapshot {
    pub(super) fn new(slots: Slots) -> Self {
        Self { slots }
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

    /// The best points by score, best first, equal scores in the order of ids. Exact: fewer than
    /// `limit` hits means that no more points fulfil the request.
    pub fn search(&self, request: &SearchRequest<'_>) -> Result<Vec<Hit>, InvalidQuery> {
        request.check(self.dimension().get())?;
        let vector = request.vector;
        // One scan is compiled for each metric, so no vector has to ask which it is.
        match self.metric() {
            Metric::Cosine => {
                let unit = distance::unit(vector).ok_or(InvalidQuery::ZeroVector)?;
                Ok(self.scan(request, |block, offset| {
                    distance::cosine(&unit, block.vector(offset), block.inverse_norm(offset))
                }))
            }
            Metric::Dot => {
                Ok(self.scan(request, |block, offset| distance::dot(vector, block.vector(offset))))
            }
            Metric::Euclidean => {
                Ok(self.scan(request, |block, offset| distance::euclidean(vector, block.vector(offset))))
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

    fn scan(&self, request: &SearchRequest<'_>, score: impl Fn(&Block, usize) -> f32) -> Vec<Hit> {
        if request.limit == 0 {
            return Vec::new();
        }
        let mut best = Best::new(request, Order::of(self.metric()), self.len());
        for block in self.slots.blocks() {
            for (offset, entry) in block.entries().iter().enumerate() {
                if let Some(entry) = entry {
                    best.offer(score(block, offset), entry, block, offset);
                }
            }
        }
        best.into_hits()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.blocks().iter().flat_map(|block| block.entries().iter().flatten().map(AsRef::as_ref))
    }
}

fn fulfils(entry: &Entry, filter: &Filter) -> bool {
    filter.matches(&entry.id, entry.payload.as_ref())
}
