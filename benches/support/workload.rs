//! Points as a tenant would send them, the same ones in every run.

use vectorizer_log::{Event, Metric, Point};
use vectorizer_testing::Random;
use vectorizer_testing::events::{self, FIRST_COLLECTION};

/// The first event of a log.
pub(crate) fn collection_created(dimension: usize, metric: Metric) -> Event {
    events::created("measured", dimension, metric)
}

/// An endless supply of points from a fixed seed. Ids come in no order, as those of most tenants do; of the numbers,
/// which are between -1 and 1, no bit is easier to store than another.
pub(crate) struct Workload {
    dimension: usize,
    random: Random,
}

impl Workload {
    pub(crate) fn new(dimension: usize) -> Self {
        Self { dimension, random: Random::new(0) }
    }

    /// The next `count` points, as the event that writes them.
    pub(crate) fn upserted(&mut self, count: usize) -> Event {
        let points = (0..count).map(|_| self.point()).collect();
        Event::VectorsUpserted { collection: FIRST_COLLECTION, points }
    }

    /// A vector to store or to search for.
    pub(crate) fn vector(&mut self) -> Vec<f32> {
        self.random.units(self.dimension)
    }

    fn point(&mut self) -> Point {
        let id = format!("{:016x}", self.random.next());
        events::point(&id, &self.vector(), None)
    }
}
