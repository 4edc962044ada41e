//! The compact copy of the vectors: a byte per number, and a formula over the bytes for every metric.
//!
//! A vector is moved by the mean of the collection, `x' = x - c`, and kept as `x' = s·k + error`, where
//! `k` are integers from -127 to 127 and `s` makes the largest of them 127. Taking the mean away is what
//! makes a byte enough for vectors that all point the same way or lie far from zero. Vectors are near
//! to each other as far as their straight distance goes,
//!
//! ```text
//! |x-y|² = |x'|² + |y'|² - 2·x'·y' = bias(x) + bias(y) - scale(x)·scale(y)·(k(x)·k(y)),
//! bias(x) = |x'|²,   scale(x) = √2·s
//! ```
//!
//! so the product of bytes is all that there is to compute.
//!
//! - euclidean: that is the distance.
//! - cosine: the same, of the vectors brought to length one.
//! - dot: the largest product is no neighbourhood (nothing need be near to itself), and a graph of it
//!   loses its way. So a number is added to each vector that makes all equally long, `√(r² - |x|²)`: then
//!   the nearest to a query with a zero there has the largest product (Bachrach et al., "Speeding up the
//!   Xbox recommender system", 2014). Nodes compare by that distance; a query, which is not moved, by
//!   `-2·q·x'` alone: its `weight` takes the bias away.

use simsimd::SpatialSimilarity;
use vectorizer_log::Metric;

use crate::index::distance;

/// What rows are made of: whole steps of the kernel, aligned for its loads.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(32))]
pub(super) struct Lane([i8; Lane::BYTES]);

impl Lane {
    const BYTES: usize = 32;
}

/// The bytes of a scale and a bias, at the end of a row.
const TRAILER: usize = 8;

/// How many vectors are enough to know their mean by.
const SAMPLE_MAX: usize = 4_096;

/// What all rows of a collection have in common.
#[derive(Debug)]
pub(super) struct Shape {
    metric: Metric,
    center: Box<[f32]>,
    /// Under dot, how long vectors are made; the square of it.
    length_squared: f32,
    lanes: usize,
}

/// A vector that others are compared with.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Probe {
    /// Like a row, but with zeros for a trailer, so that those of rows do not count.
    lanes: Vec<Lane>,
    scale: f32,
    bias: f32,
    weight: f32,
}

impl Shape {
    pub(super) fn new<'a>(dimension: usize, metric: Metric, sample: impl Iterator<Item = &'a [f32]>) -> Self {
        let sample: Vec<&[f32]> = sample.take(SAMPLE_MAX).collect();
        let numbers = dimension + usize::from(metric == Metric::Dot);
        let lanes = (numbers + TRAILER).div_ceil(Lane::BYTES);
        let square = |vector: &&[f32]| distance::dot(vector, vector);
        let length_squared = sample.iter().map(square).fold(0.0, f32::max);
        let mut shape = Self { metric, center: vec![0.0; numbers].into(), length_squared, lanes };
        let mut sum = vec![0.0_f64; numbers];
        for vector in &sample {
            for (sum, number) in sum.iter_mut().zip(shape.moved(vector)) {
                *sum += f64::from(number);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let count = sample.len().max(1) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "a mean of f32 is within their range")]
        let mean = |sum: f64| (sum / count) as f32;
        shape.center = sum.into_iter().map(mean).collect();
        shape
    }

    /// A shape that was taken apart; `None` if the parts are not those of one.
    pub(super) fn from_parts(
        dimension: usize,
        metric: Metric,
        center: Vec<f32>,
        length_squared: f32,
    ) -> Option<Self> {
        let shape = Self::new(dimension, metric, std::iter::empty());
        (shape.center.len() == center.len()).then(|| Self { center: center.into(), length_squared, ..shape })
    }

    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    pub(super) fn dimension(&self) -> usize {
        self.center.len() - usize::from(self.metric == Metric::Dot)
    }

    pub(super) fn center(&self) -> &[f32] {
        &self.center
    }

    pub(super) fn length_squared(&self) -> f32 {
        self.length_squared
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// `x'` of the module's header.
    fn moved(&self, vector: &[f32]) -> Vec<f32> {
        let unit = if self.metric == Metric::Cosine { distance::unit(vector) } else { None };
        let vector = unit.as_deref().unwrap_or(vector);
        let missing = (self.length_squared - distance::dot(vector, vector)).max(0.0).sqrt();
        let numbers = vector.iter().copied().chain((self.metric == Metric::Dot).then_some(missing));
        numbers.zip(&self.center).map(|(number, center)| number - center).collect()
    }

    /// The probe of a query.
    pub(super) fn query(&self, vector: &[f32]) -> Probe {
        match self.metric {
            Metric::Cosine | Metric::Euclidean => self.probe(&self.moved(vector)),
            Metric::Dot => Probe { bias: 0.0, weight: 0.0, ..self.probe(vector) },
        }
    }

    fn probe(&self, moved: &[f32]) -> Probe {
        let largest = moved.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let mut lanes = vec![Lane::default(); self.lanes];
        let codes: &mut [i8] = bytemuck::cast_slice_mut(&mut lanes);
        for (code, number) in codes.iter_mut().zip(moved) {
            #[expect(clippy::cast_possible_truncation, reason = "between -127 and 127, and rounded")]
            let rounded = (number / step).round() as i8;
            *code = rounded;
        }
        Probe {
            lanes,
            scale: step * std::f32::consts::SQRT_2,
            bias: distance::dot(moved, moved),
            weight: 1.0,
        }
    }

    /// Writes the vector's row.
    pub(super) fn write(&self, vector: &[f32], row: &mut [Lane]) {
        let probe = self.probe(&self.moved(vector));
        row.copy_from_slice(&probe.lanes);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(row);
        let start = bytes.len() - TRAILER;
        bytes[start..start + 4].copy_from_slice(&probe.scale.to_le_bytes());
        bytes[start + 4..].copy_from_slice(&probe.bias.to_le_bytes());
    }
}

fn trailer(row: &[Lane]) -> (f32, f32) {
    let bytes: &[u8] = bytemuck::cast_slice(row);
    let Some(trailer) = bytes.last_chunk::<TRAILER>() else { return (0.0, 0.0) };
    let number = |at: usize| f32::from_le_bytes(std::array::from_fn(|byte| trailer[at + byte]));
    (number(0), number(4))
}

impl Probe {
    /// Becomes the probe of the vector that this row was written for.
    pub(super) fn set(&mut self, row: &[Lane]) {
        (self.scale, self.bias) = trailer(row);
        self.weight = 1.0;
        self.lanes.clear();
        self.lanes.extend_from_slice(row);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lanes);
        let start = bytes.len() - TRAILER;
        bytes[start..].fill(0);
    }

    /// Lower is nearer.
    #[inline]
    pub(super) fn rank(&self, row: &[Lane]) -> f32 {
        let (scale, bias) = trailer(row);
        let product = i8::dot(bytemuck::cast_slice(&self.lanes), bytemuck::cast_slice(row));
        #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^28")]
        let product = product.unwrap_or(0.0) as f32;
        self.bias + self.weight * bias - self.scale * scale * product
    }
}
