//! Scores of two vectors, computed with SIMD.
//!
//! The kernels sum in `f32`, as fast as memory delivers the vectors. If `f32` cannot represent the result (for
//! vectors with very large or very small numbers), the score is computed again in `f64`. So every score is finite,
//! and correct to the precision of `f32`. The last bits may differ between processors.

use std::ops::RangeInclusive;

use super::sums;

/// Norms for which the product with a unit vector neither overflows nor underflows in `f32`.
const ORDINARY_NORMS: RangeInclusive<f64> = 1e-18..=1e18;
/// Squared distances that are precise in `f32`. Below, the squares of small differences underflow.
const ORDINARY_SQUARES: RangeInclusive<f32> = 1e-30..=f32::MAX;

/// The inner product of two vectors, clamped to the range of `f32`.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let product = sums::of_products(left, right);
    if product.is_finite() { product + 0.0 } else { narrow(dot_in_f64(left, right)) }
}

/// The squared euclidean distance of two vectors; infinite if it exceeds the range of `f32`.
pub(super) fn square(left: &[f32], right: &[f32]) -> f32 {
    sums::of_squares(left, right)
}

/// The euclidean distance of two vectors, at most [`f32::MAX`].
pub(super) fn euclidean(left: &[f32], right: &[f32]) -> f32 {
    let square = sums::of_squares(left, right);
    if ORDINARY_SQUARES.contains(&square) { square.sqrt() } else { narrow(euclidean_in_f64(left, right)) }
}

/// The cosine of a unit vector and a vector with this [`inverse_norm`], from -1 to 1; zero for a zero vector.
pub(super) fn cosine(unit: &[f32], vector: &[f32], inverse_norm: f32) -> f32 {
    let cosine = sums::of_products(unit, vector) * inverse_norm;
    let cosine = if cosine.is_finite() { cosine } else { narrow(dot_in_f64(unit, vector) / norm(vector)) };
    // Adding 0.0 turns -0.0 into 0.0, as in `narrow`.
    cosine.clamp(-1.0, 1.0) + 0.0
}

/// The factor that turns a product with the vector into a cosine: the inverse of its norm, or zero for a zero vector.
///
/// NaN if the norm is not ordinary. Then the fast cosine is NaN too, and [`cosine`] computes it in `f64` without a
/// branch of its own.
pub(super) fn inverse_norm(vector: &[f32]) -> f32 {
    let norm = norm(vector);
    if norm == 0.0 {
        0.0
    } else if ORDINARY_NORMS.contains(&norm) {
        narrow(norm.recip())
    } else {
        f32::NAN
    }
}

/// The vector scaled to length one; `None` for a zero vector.
pub(super) fn unit(vector: &[f32]) -> Option<impl Iterator<Item = f32>> {
    let norm = norm(vector);
    (norm > 0.0).then(|| vector.iter().map(move |number| narrow(f64::from(*number) / norm)))
}

fn norm(vector: &[f32]) -> f64 {
    dot_in_f64(vector, vector).sqrt()
}

fn dot_in_f64(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
}

fn euclidean_in_f64(left: &[f32], right: &[f32]) -> f64 {
    let square = |(left, right): (&f32, &f32)| (f64::from(*left) - f64::from(*right)).powi(2);
    left.iter().zip(right).map(square).sum::<f64>().sqrt()
}

/// The nearest `f32`, without -0.0: the order of equal scores by id would distinguish two zeros.
fn narrow(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of f32, then rounded")]
    let narrowed = value.clamp(f32::MIN.into(), f32::MAX.into()) as f32;
    narrowed + 0.0
}

#[cfg(test)]
#[path = "distance_tests.rs"]
mod tests;
