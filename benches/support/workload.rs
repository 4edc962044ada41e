//! Points as a tenant would send them, the same ones in every run.

use vectorizer_log::{CollectionId, Event, IndexParameters, Metric, Point, PointId, Seq, Vector};

use super::Outcome;

/// The collection that [`collection_created`] creates as a log's first record.
pub(crate) const COLLECTION: CollectionId = CollectionId::created_at(Seq::OLDEST);

/// The first event of a log.
pub(crate) fn collection_created(dimension: usize, metric: Metric) -> Outcome<Event> {
    Ok(Event::CollectionCreated {
        name: "measured".parse()?,
        dimension: u32::try_from(dimension)?.try_into()?,
        metric,
        index: IndexParameters::default(),
    })
}

/// An endless supply of points from a fixed seed (`SplitMix64`). Ids come in no order, as those of
/// most tenants do; numbers are between -1 and 1, of which no bit is easier to store than another.
pub(crate) struct Workload {
    dimension: usize,
    state: u64,
}

impl Workload {
    pub(crate) fn new(dimension: usize) -> Self {
        Self { dimension, state: 0 }
    }

    /// The next `count` points, as the event that writes them.
    pub(crate) fn upserted(&mut self, count: usize) -> Outcome<Event> {
        let points = (0..count).map(|_| self.point()).collect::<Outcome<_>>()?;
        Ok(Event::VectorsUpserted { collection: COLLECTION, points })
    }

    /// A vector to store or to search for.
    pub(crate) fn vector(&mut self) -> Vec<f32> {
        (0..self.dimension).map(|_| self.unit()).collect()
    }

    fn point(&mut self) -> Outcome<Point> {
        let id = PointId::text(format!("{:016x}", self.next()))?;
        Ok(Point { id, vector: Vector::dense(self.vector())?, payload: None })
    }

    /// Between -1 and 1, from as many bits as an f32 is precise to.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
    fn unit(&mut self) -> f32 {
        let bits = (self.next() >> 40) as f32;
        bits / 8_388_608.0 - 1.0
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
