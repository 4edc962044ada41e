//! Vectors distributed as real ones are, the same in every run.

pub(crate) const DIMENSION: usize = 32;
pub(crate) const CENTRES: u64 = 50;

/// Pseudo-random numbers (`SplitMix64`).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Between -1 and 1.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    pub(crate) fn vector(&mut self) -> Vec<f32> {
        let centre = self.below(CENTRES);
        self.vector_near(centre)
    }

    /// Near one of the centres, all of which are far from zero in the same direction: a byte for each number without
    /// centering would not distinguish them.
    pub(crate) fn vector_near(&mut self, centre: u64) -> Vec<f32> {
        let mut centre = Random(centre);
        (0..DIMENSION).map(|_| 4.0 + centre.unit() + 0.4 * self.unit()).collect()
    }
}
