//! The logical size of a point, for quotas, for the bill and for the header of an envelope.
//!
//! It is a function of what the tenant stored: the same on every machine and in every version of the index. What a
//! point costs in memory or on disk is another matter. A change to a size here is a new version of metering.

use crate::event::Dimension;
use crate::point::{Payload, Text};

/// What every vector counts beside its numbers, its id and its payload, in bytes.
pub const VECTOR_OVERHEAD_BYTES: u64 = 32;

/// The logical size of one vector, or of a document without one, in bytes: 4 × dimension + id + payload + text +
/// [`VECTOR_OVERHEAD_BYTES`].
pub fn vector_logical_bytes(
    dimension: Option<Dimension>,
    id: &str,
    payload: Option<&Payload>,
    text: Option<&Text>,
) -> u64 {
    point_logical_bytes(dimension.map_or(0, Dimension::get), id, payload, text)
}

/// The same, by the numbers of the point's own vector. They are as many as the collection's dimension.
pub(crate) fn point_logical_bytes(
    numbers: usize,
    id: &str,
    payload: Option<&Payload>,
    text: Option<&Text>,
) -> u64 {
    let (payload, text) = (payload.map_or(0, Payload::logical_bytes), text.map_or(0, Text::logical_bytes));
    4 * numbers as u64 + id.len() as u64 + payload + text + VECTOR_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_counts_its_numbers_its_id_its_payload_its_text_and_a_fixed_overhead() {
        let dimension = Some(Dimension::try_from(3).unwrap());
        let id = "zwölf";
        let payload = Payload::new(r#"{"a": 1}"#).unwrap();
        let text = Text::new("ein Wört").unwrap();
        assert_eq!(vector_logical_bytes(dimension, id, None, None), 12 + 6 + 32);
        assert_eq!(vector_logical_bytes(dimension, id, Some(&payload), None), 12 + 6 + 8 + 32);
        assert_eq!(vector_logical_bytes(dimension, id, Some(&payload), Some(&text)), 12 + 6 + 8 + 9 + 32);
        assert_eq!(vector_logical_bytes(None, id, None, Some(&text)), 6 + 9 + 32);
    }
}
