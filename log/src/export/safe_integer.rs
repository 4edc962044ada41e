//! Integers in JSON: many readers parse numbers as doubles, which are exact up to 2^53. Larger ones are written as
//! strings.

use std::fmt::Display;

use serde::{Serialize, Serializer};

/// An integer that is written as a string if a double would round it.
pub(super) struct SafeInteger<N>(pub(super) N);

impl<N: Copy + Display + TryInto<i64>> Serialize for SafeInteger<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT_MAX: i64 = 1 << 53;
        match self.0.try_into() {
            Ok(number) if (-EXACT_MAX..=EXACT_MAX).contains(&number) => serializer.serialize_i64(number),
            Ok(_) | Err(_) => serializer.collect_str(&self.0),
        }
    }
}
