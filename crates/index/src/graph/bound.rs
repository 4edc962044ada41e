//! A lower bound of a vector's distance from its quantized row, so that a search can skip vectors that are too far.
//!
//! With `x' = x̃ + e` and `q' = q̃ + f`, where `x̃` and `q̃` are the quantized vectors and `e` and `f` the errors, the
//! error of a rank is at most twice
//!
//! ```text
//! |q'·x' - q̃·x̃| = |f·x' + q̃·e| ≤ |f|·|x'| + (|q'|+|f|)·|e|,   |e| ≤ √n·s/2
//! ```
//!
//! The rounding of `f32` adds at most a ten thousandth of the lengths in it, and mostly a thousandth of that.

use vectorizer_log::Metric;

use super::row::{CacheLine, Probe};

/// More than the rounding error of an `f32` sum of 16,384 products, relative to the product of the lengths.
const ROUNDING: f32 = 1e-4;
/// Rows of vectors with larger squared lengths or smaller scales bound nothing, as `f32` loses more there.
const SQUARE_MAX: f32 = 1e30;
const SCALE_MIN: f32 = 1e-15;

/// A query, prepared for bounds.
pub(in super::super) struct Bound<'a> {
    metric: Metric,
    probe: &'a Probe,
    /// The error of a rank for each unit of a row's scale, of its length and of its bias, and a constant error.
    per_scale: f32,
    per_length: f32,
    per_bias: f32,
    anyway: f32,
    /// For dot: the product of the query and the center, in units.
    product: f32,
    unit: f32,
}

/// The lengths that a bound depends on, in units.
pub(super) struct Lengths {
    /// The length of the query, and of its quantization error.
    pub(super) own: f32,
    pub(super) missed: f32,
    pub(super) center: f32,
    /// How many numbers a vector has.
    pub(super) numbers: f32,
    /// For dot: the product of the query and the center.
    pub(super) product: f32,
    /// The factor of each number in a row.
    pub(super) unit: f32,
}

impl<'a> Bound<'a> {
    /// `None` if the bound would rule out nothing.
    pub(super) fn new(metric: Metric, probe: &'a Probe, lengths: &Lengths) -> Option<Self> {
        let Lengths { own, missed, center, numbers, product, unit } = *lengths;
        if !(own.max(center).powi(2) < SQUARE_MAX && probe.scale() > SCALE_MIN) {
            return None;
        }
        // The scale is √2 steps, and the error of a number is at most half a step.
        let each = numbers.sqrt() / std::f32::consts::SQRT_2;
        let (per_bias, anyway) = match metric {
            Metric::Euclidean => (2.0 * ROUNDING, 2.0 * ROUNDING * own * own),
            // Vectors have length one.
            Metric::Cosine => (2.0 * ROUNDING, 2.0 * ROUNDING * (own * own + 1.0)),
            Metric::Dot => (0.0, 4.0 * ROUNDING * own * center),
        };
        Some(Self {
            metric,
            probe,
            per_scale: (own + missed) * each * (1.0 + ROUNDING),
            per_length: 2.0 * missed + 4.0 * ROUNDING * own,
            per_bias,
            anyway,
            product,
            unit,
        })
    }

    /// Whether the vector of this row is farther away than `rank_max`, a distance or a negated similarity.
    #[inline]
    pub(super) fn rules_out(&self, row: &[CacheLine], rank_max: f32) -> bool {
        let (rank, scale, bias) = self.probe.rank_and_trailer(row);
        if !(bias < SQUARE_MAX && scale > SCALE_MIN && rank_max.abs() < f32::MAX) {
            return false;
        }
        let wrong =
            self.per_scale * scale + self.per_length * bias.sqrt() + self.per_bias * bias + self.anyway;
        let rank_max = match self.metric {
            Metric::Euclidean => (rank_max * self.unit).powi(2),
            Metric::Cosine => 2.0 * (rank_max + 1.0),
            Metric::Dot => 2.0 * (rank_max * self.unit + self.product),
        };
        // False if either is NaN.
        rank - wrong > rank_max
    }
}
