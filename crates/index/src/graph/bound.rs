//! How near a vector can be at best, as far as its row tells: what is farther away even so need not be looked at.
//!
//! With `x' = x̃ + e` and `q' = q̃ + f`, what the codes stand for and what they miss, a rank is wrong by twice
//!
//! ```text
//! |q'·x' - q̃·x̃| = |f·x' + q̃·e| ≤ |f|·|x'| + (|q'|+|f|)·|e|,   |e| ≤ √n·s/2
//! ```
//!
//! at most. What f32 loses on the way is a ten thousandth of the lengths in it, and mostly a thousandth of that.

use vectorizer_log::Metric;

use super::codes::{Lane, Probe};

/// More than f32 loses in a sum of 16,384 products, as a part of the product of the lengths.
const ROUNDING: f32 = 1e-4;
/// Codes of vectors that are longer, by the square, or whose numbers are smaller tell nothing: f32 loses more there.
const SQUARE_MAX: f32 = 1e30;
const SCALE_MIN: f32 = 1e-15;

/// What the rows of vectors are held against in a search.
pub(in super::super) struct Bound<'a> {
    metric: Metric,
    probe: &'a Probe,
    /// By how much a rank can be wrong for each unit of a row's scale, of its length and of its bias, and anyway.
    per_scale: f32,
    per_length: f32,
    per_bias: f32,
    anyway: f32,
    /// Under dot, the product of the query and the center, in units.
    product: f32,
    unit: f32,
}

/// Lengths that matter to a bound, in units.
pub(super) struct Lengths {
    /// Of the probe's vector, and of what its codes miss of it.
    pub(super) own: f32,
    pub(super) missed: f32,
    pub(super) center: f32,
    /// How many numbers there are.
    pub(super) numbers: f32,
    /// Under dot, the product of the query and the center.
    pub(super) product: f32,
    /// What a number of a vector is multiplied by in its row.
    pub(super) unit: f32,
}

impl<'a> Bound<'a> {
    /// `None` if it would tell nothing.
    pub(super) fn new(metric: Metric, probe: &'a Probe, lengths: &Lengths) -> Option<Self> {
        let Lengths { own, missed, center, numbers, product, unit } = *lengths;
        if !(own.max(center).powi(2) < SQUARE_MAX && probe.scale() > SCALE_MIN) {
            return None;
        }
        // A scale is √2 steps, and a number is missed by half a step.
        let each = numbers.sqrt() / std::f32::consts::SQRT_2;
        let (per_bias, anyway) = match metric {
            Metric::Euclidean => (2.0 * ROUNDING, 2.0 * ROUNDING * own * own),
            // Scores are products of vectors of length one.
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

    /// Whether the vector of this row is farther away than `rank_max`, which is a distance or a similarity with
    /// its sign turned.
    #[inline]
    pub(super) fn rules_out(&self, row: &[Lane], rank_max: f32) -> bool {
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
        // Not if either is no number.
        rank - wrong > rank_max
    }
}
