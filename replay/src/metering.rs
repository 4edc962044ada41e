//! How large a vector is, for quotas and for the bill, and what a window of the bill counts.
//!
//! The size is *logical*: a function of what the tenant stored, the same on every machine and in
//! every version of the index. What a vector costs in memory or on disk is another matter.
//!
//! A window of the bill ([`Billing`](crate::Billing)) counts vectors written, each time anew; vectors deleted,
//! also with their collection; the requests and searches that were observed; and logical bytes times the
//! seconds they were held for, to the microsecond, whole byte-seconds only, the rest in the next window.

use vectorizer_log::{Dimension, Payload};

/// The version of the rules on this page. A close of the bill names the version it was computed with, so a
/// change to any size below is a new version.
pub const METERING_VERSION: u16 = 1;

/// What every vector counts beside its numbers, its id and its payload, in bytes.
pub const VECTOR_OVERHEAD_BYTES: u64 = 32;

/// The logical size of one vector in bytes: 4 × dimension + id + payload +
/// [`VECTOR_OVERHEAD_BYTES`].
pub fn vector_logical_bytes(dimension: Dimension, id: &str, payload: Option<&Payload>) -> u64 {
    let payload = payload.map_or(0, Payload::logical_bytes);
    4 * dimension.get() as u64 + id.len() as u64 + payload + VECTOR_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_counts_its_numbers_its_id_its_payload_and_a_fixed_overhead() {
        let dimension = Dimension::try_from(3).unwrap();
        let id = "zwölf";
        let payload = Payload::new(r#"{"a": 1}"#).unwrap();
        assert_eq!(vector_logical_bytes(dimension, id, None), 12 + 6 + 32);
        assert_eq!(vector_logical_bytes(dimension, id, Some(&payload)), 12 + 6 + 8 + 32);
    }
}
