//! Sums over the numbers of two vectors, by SIMD.
//!
//! A sum in one register makes every multiplication wait for the one before it: four cycles for eight
//! numbers, which is slower than memory nearby delivers them. So there are several, added up at the end.

#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for the processor it runs on")]

use fearless_simd::{Level, dispatch, prelude::*};

/// A core has two units that take four cycles for a multiplication. Half of what would keep them busy is
/// enough, as the next vector begins meanwhile.
const SUMS: usize = 4;

/// Of the products. Whatever f32 makes of it: infinite, or no number, if it grows too large on the way.
pub(super) fn of_products(left: &[f32], right: &[f32]) -> f32 {
    dispatch!(Level::new(), simd => products(simd, left, right))
}

/// Of the squares of the differences, in the same manner.
pub(super) fn of_squares(left: &[f32], right: &[f32]) -> f32 {
    dispatch!(Level::new(), simd => squares(simd, left, right))
}

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

/// The vectors are equally long.
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
