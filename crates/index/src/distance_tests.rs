#![expect(clippy::float_cmp, reason = "what is compared for equality is exact")]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Twice the rounding error of an `f32` sum of `terms` products.
fn tolerance(terms: usize, magnitude: f64) -> f64 {
    let roundings = u32::try_from(terms).map_or(f64::NAN, f64::from) + 2.0;
    2.0 * f64::from(f32::EPSILON) * roundings * magnitude + f64::from(f32::MIN_POSITIVE)
}

fn magnitude(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| (f64::from(*left) * f64::from(*right)).abs()).sum()
}

fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1_usize..200).prop_flat_map(|dimension| {
        let number = -100.0_f32..100.0;
        (vec(number.clone(), dimension), vec(number, dimension))
    })
}

fn quick_cosine(left: &[f32], right: &[f32]) -> f32 {
    cosine(&unit(left).unwrap().collect::<Vec<_>>(), right, inverse_norm(right))
}

proptest! {
    #[test]
    fn scores_equal_a_plain_loop_in_f64((left, right) in pair()) {
        let product = dot_in_f64(&left, &right);
        let magnitude = magnitude(&left, &right);
        prop_assert!((f64::from(dot(&left, &right)) - product).abs() <= tolerance(left.len(), magnitude));

        let distance = euclidean_in_f64(&left, &right);
        let found = f64::from(euclidean(&left, &right));
        prop_assert!((found - distance).abs() <= tolerance(left.len(), distance));

        prop_assume!(norm(&left) > 1e-3 && norm(&right) > 1e-3);
        let angle = product / norm(&left) / norm(&right);
        prop_assert!((f64::from(quick_cosine(&left, &right)) - angle).abs() <= tolerance(left.len(), 1.0));
    }
}

#[test]
fn a_score_beyond_f32_is_the_largest_f32() {
    let large = [f32::MAX; 20];
    let opposite = [f32::MIN; 20];
    assert_eq!(dot(&large, &large), f32::MAX);
    assert_eq!(dot(&large, &opposite), f32::MIN);
    assert_eq!(euclidean(&large, &opposite), f32::MAX);
}

#[test]
fn overflowing_sums_still_give_the_right_score() {
    let left = [1e30, 1e30, 3.0];
    let right = [1e30, -1e30, 2.0];
    assert_eq!(dot(&left, &right), 6.0);
    assert_eq!(euclidean(&[3e30, 0.0], &[0.0, 4e30]), 5e30);
}

#[test]
fn an_angle_does_not_depend_on_length() {
    for scale in [1e-44, 1e-30, 1e-15, 1.0, 1e15, 1e30, 1e38] {
        let vector = [scale, scale, 0.0];
        assert!((quick_cosine(&[1.0, 1.0, 0.0], &vector) - 1.0).abs() < 1e-6, "at {scale}");
        assert!((quick_cosine(&vector, &[-1.0, -1.0, 0.0]) + 1.0).abs() < 1e-6, "at {scale}");
        assert!(quick_cosine(&vector, &[0.0, 0.0, 1.0]).abs() < 1e-6, "at {scale}");
    }
}

#[test]
fn small_distances_do_not_vanish() {
    assert_eq!(euclidean(&[3e-30, 0.0], &[0.0, 4e-30]), 5e-30);
    assert_eq!(euclidean(&[0.1, 0.2], &[0.1, 0.2]), 0.0);
}

#[test]
fn the_cosine_with_a_zero_vector_is_zero() {
    assert_eq!(cosine(&[1.0, 0.0], &[0.0, 0.0], inverse_norm(&[0.0, 0.0])), 0.0);
    assert!(unit(&[0.0, -0.0]).is_none());
}

#[test]
fn there_is_one_zero() {
    // Products that underflow round to minus zero in every lane of a kernel.
    assert!(dot(&[-1e-30; 16], &[1e-30; 16]).is_sign_positive());
    assert!(narrow(-0.0).is_sign_positive() && narrow(-1e-60).is_sign_positive());
}
