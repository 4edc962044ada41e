//! Vectors that lie as real ones do.

use vectorizer_testing::Random;

pub(crate) const DIMENSION: usize = 32;
pub(crate) const CENTRES: u64 = 50;

/// Vectors from seeded numbers.
pub(crate) trait Vectors {
    /// A vector near one of the centres.
    fn vector(&mut self) -> Vec<f32>;
    /// A vector near this centre. All centres are far from zero in the same direction, which makes a careless byte per
    /// number useless.
    fn vector_near(&mut self, centre: u64) -> Vec<f32>;
}

impl Vectors for Random {
    fn vector(&mut self) -> Vec<f32> {
        let centre = self.below(CENTRES);
        self.vector_near(centre)
    }

    fn vector_near(&mut self, centre: u64) -> Vec<f32> {
        let mut centre = Random::new(centre);
        (0..DIMENSION).map(|_| 4.0 + centre.unit() + 0.4 * self.unit()).collect()
    }
}
