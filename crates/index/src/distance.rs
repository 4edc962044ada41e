//! Scores of two vectors, by SIMD.
//!
//! The kernels add up in f32, as fast as memory delivers. Where f32 cannot carry the result
//! (vectors with very large or very small numbers) the score is computed again in f64, so every
//! score is a finite number, and right to f32's precision. Scores may differ in their last bits
//! from one processor to another.

use std::ops::RangeInclusive;

use super::sums;

/// Norms for which a product with a unit vector neither overflows in f32 nor loses anything to its
/// smallest numbers.
const ORDINARY_NORMS: RangeInclusive<f64> = 1e-18..=1e18;
/// Squared distances of which f32 keeps every digit; below, squares of small differences vanish.
const ORDINARY_SQUARES: RangeInclusive<f32> = 1e-30..=f32::MAX;

/// The inner product of two vectors, at most [`f32::MAX`] and at least [`f32::MIN`].
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let product = sums::of_products(left, right);
    if product.is_finite() { product + 0.0 } else { narrow(dot_in_f64(left, right)) }
}

/// The square of the straight distance of two vectors; infinite if no f32 holds it.
pub(super) fn square(left: &[f32], right: &[f32]) -> f32 {
    sums::of_squares(left, right)
}

/// The straight distance of two vectors, at most [`f32::MAX`].
pub(super) fn euclidean(left: &[f32], right: &[f32]) -> f32 {
    let square = sums::of_squares(left, right);
    if ORDINARY_SQUARES.contains(&square) { square.sqrt() } else { narrow(euclidean_in_f64(left, right)) }
}

/// The cosine of the angle between a unit vector and a vector with this [`inverse_norm`], -1 to 1.
/// Zero for a vector that points nowhere.
pub(super) fn cosine(unit: &[f32], vector: &[f32], inverse_norm: f32) -> f32 {
    let cosine = sums::of_products(unit, vector) * inverse_norm;
    let cosine = if cosine.is_finite() { cosine } else { narrow(dot_in_f64(unit, vector) / norm(vector)) };
    // One zero, as from `narrow`.
    cosine.clamp(-1.0, 1.0) + 0.0
}

/// What makes a product with the vector a cosine: one through its norm, zero for a zero vector.
///
/// NaN if the norm is not ordinary: that makes the quick cosine NaN too, and so leads to the
/// careful one without a question of its own.
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

/// The vector of length one in the same direction; `None` for a zero vector.
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

/// The nearest f32, with one zero: two zeros would be told apart where ties go by id.
fn narrow(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of f32, then rounded")]
    let narrowed = value.clamp(f32::MIN.into(), f32::MAX.into()) as f32;
    narrowed + 0.0
}

#[cfg(test)]
#[path = "distance_tests.rs"]
mod tests;
