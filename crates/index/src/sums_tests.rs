use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Codes, followed by the trailer of a row: any bytes, opposite to zeros.
fn rows() -> impl Strategy<Value = (Vec<i8>, Vec<i8>)> {
    (0_usize..300, 0_usize..40).prop_flat_map(|(codes, trailer)| {
        let rows = (vec(-127_i8..=127, codes), vec(-127_i8..=127, codes), vec(any::<i8>(), trailer));
        rows.prop_map(|(mut left, mut right, trailer)| {
            left.resize(left.len() + trailer.len(), 0);
            right.extend(trailer);
            (left, right)
        })
    })
}

fn plain(left: &[i8], right: &[i8]) -> i32 {
    left.iter().zip(right).map(|(left, right)| i32::from(*left) * i32::from(*right)).sum()
}

proptest! {
    #[test]
    fn a_sum_of_bytes_is_exact((left, right) in rows()) {
        prop_assert_eq!(of_bytes(&left, &right), plain(&left, &right));
    }
}

#[test]
fn the_largest_sums_of_bytes_do_not_overflow() {
    for (left, right) in [(127, 127), (-127, 127), (127, -127), (-127, -127)] {
        let (left, right) = (vec![left; 16_384 + 24], vec![right; 16_384 + 24]);
        assert_eq!(of_bytes(&left, &right), plain(&left, &right));
    }
}
