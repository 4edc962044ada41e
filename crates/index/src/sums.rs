//! Sums over two vectors, computed with SIMD.
//!
//! Of floats: with a single accumulator, every multiplication waits for the one before it, four cycles for eight
//! numbers, which is slower than the caches deliver them. So there are several accumulators, added at the end.
//!
//! Of bytes: the inner loop of a walk. simsimd widens every byte before it multiplies, as some may be -128. Here none
//! is, which makes building a graph faster by a sixth.

#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for the processor it runs on")]

use fearless_simd::{Level, dispatch, i8x32, i32x8, prelude::*};
use simsimd::SpatialSimilarity;

/// A core has two units that take four cycles for a multiplication. Half of the accumulators that would saturate them
/// are enough, as the next vector overlaps.
const SUMS: usize = 4;

/// The sum of the products. It may overflow to infinity or become NaN.
pub(super) fn of_products(left: &[f32], right: &[f32]) -> f32 {
    dispatch!(Level::new(), simd => products(simd, left, right))
}

/// The sum of the squared differences. It may overflow to infinity or become NaN.
pub(super) fn of_squares(left: &[f32], right: &[f32]) -> f32 {
    dispatch!(Level::new(), simd => squares(simd, left, right))
}

/// The exact sum of the products of bytes. No byte may be -128, except where the byte of `left` is zero.
#[inline]
pub(super) fn of_bytes(left: &[i8], right: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = Level::new().as_avx2() {
        return bytes_by_avx2(avx2, left, right);
    }
    #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^28")]
    let sum = i8::dot(left, right).unwrap_or(0.0) as i32;
    sum
}

#[cfg(target_arch = "x86_64")]
fearless_simd::kernel!(
    /// AVX2 multiplies unsigned by signed bytes, so the signs of the left ones are moved to the right ones.
    fn bytes_by_avx2(avx2: Avx2, left: &[i8], right: &[i8]) -> i32 {
        use std::arch::x86_64::{
            __m256i, _mm256_abs_epi8, _mm256_add_epi32, _mm256_madd_epi16, _mm256_maddubs_epi16,
            _mm256_set1_epi16, _mm256_sign_epi8,
        };
        let (mut sum, ones): (__m256i, __m256i) = (i32x8::splat(avx2, 0).into(), _mm256_set1_epi16(1));
        let (lefts, left_rest) = left.as_chunks::<32>();
        let (rights, right_rest) = right.as_chunks::<32>();
        for (left, right) in lefts.iter().zip(rights) {
            let left: __m256i = i8x32::from_slice(avx2, left).into();
            let right: __m256i = i8x32::from_slice(avx2, right).into();
            // The sum of two products of 127 by 128 fits into sixteen bits.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(left), _mm256_sign_epi8(right, left));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        let sum: i32x8<_> = sum.simd_into(avx2);
        let rest = left_rest.iter().zip(right_rest).map(|(left, right)| i32::from(*left) * i32::from(*right));
        sum.reduce_sum() + rest.sum::<i32>()
    }
);

#[inline(always)]
fn products<S: Simd>(simd: S, left: &[f32], right: &[f32]) -> f32 {
    sum(simd, left, right, SimdFloat::mul_add, |left, right| left * right)
}

#[inline(always)]
fn squares<S: Simd>(simd: S, left: &[f32], right: &[f32]) -> f32 {
    let add = |left: S::f32s, right, sum| {
        let difference: S::f32s = left - right;
        difference.mul_add(difference, sum)
    };
    sum(simd, left, right, add, |left, right| (left - right) * (left - right))
}

/// Both vectors have the same length.
#[inline(always)]
fn sum<S: Simd>(
    simd: S,
    left: &[f32],
    right: &[f32],
    add: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s,
    last: impl Fn(f32, f32) -> f32,
) -> f32 {
    let lanes = S::f32s::LEN;
    let load = |numbers: &[f32]| S::f32s::from_slice(simd, numbers);
    let mut sums = [S::f32s::splat(simd, 0.0); SUMS];
    let (mut lefts, mut rights) = (left.chunks_exact(SUMS * lanes), right.chunks_exact(SUMS * lanes));
    for (left, right) in lefts.by_ref().zip(rights.by_ref()) {
        for (number, sum) in sums.iter_mut().enumerate() {
            let at = number * lanes..(number + 1) * lanes;
            *sum = add(load(&left[at.clone()]), load(&right[at]), *sum);
        }
    }
    let (mut lefts, mut rights) =
        (lefts.remainder().chunks_exact(lanes), rights.remainder().chunks_exact(lanes));
    for ((left, right), sum) in lefts.by_ref().zip(rights.by_ref()).zip(&mut sums) {
        *sum = add(load(left), load(right), *sum);
    }
    let rest = lefts.remainder().iter().zip(rights.remainder()).map(|(left, right)| last(*left, *right));
    let [first, second, third, fourth] = sums;
    ((first + second) + (third + fourth)).reduce_sum() + rest.sum::<f32>()
}

#[cfg(test)]
#[path = "sums_tests.rs"]
mod tests;
