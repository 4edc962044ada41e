//! Answers for readers with little room: cut, with the place where they go on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use super::failure::Failure;

/// About how many bytes of JSON a tool answers at once. A model reads no more with profit, and can ask for the rest.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is left of the room of one answer.
pub(super) struct Room {
    bytes_left: usize,
    is_empty: bool,
}

impl Room {
    /// All of it.
    pub(super) const fn new() -> Self {
        Self { bytes_left: ANSWER_BYTES_MAX, is_empty: true }
    }

    /// Whether there is room for this item, which is taken up then. For the first there always is.
    pub(super) fn take(&mut self, item: &RawValue) -> bool {
        let bytes = item.get().len();
        let fits = self.is_empty || bytes <= self.bytes_left;
        if fits {
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.is_empty = false;
        }
        fits
    }
}

/// How many of the first `items` fit into one answer: at least one.
pub(super) fn fitting(items: &[&RawValue]) -> usize {
    let mut room = Room::new();
    items.iter().take_while(|item| room.take(item)).count()
}

/// A place that only this tool understands.
pub(super) fn write_cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

pub(super) fn read_cursor(cursor: &str) -> Result<String, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Failure::arguments("cursor: it is none that this tool gave out; call it without one to begin again")
    })
}

/// The number in a cursor that holds one.
pub(super) fn read_place(cursor: Option<&str>) -> Result<usize, Failure> {
    let Some(cursor) = cursor else { return Ok(0) };
    read_cursor(cursor)?.parse().map_err(|_| {
        Failure::arguments("cursor: it is none that this tool gave out; call it without one to begin again")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;

    #[test]
    fn an_answer_has_at_least_one_item_and_no_more_than_fit() {
        let written = |bytes| to_raw_value(&"a".repeat(bytes)).unwrap();
        let (small, large) = (written(1_000), written(2 * ANSWER_BYTES_MAX));
        let (small, large) = (&*small, &*large);
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&[small; 10]), 10);
        assert_eq!(fitting(&[small; 100]), 65);
        assert_eq!(fitting(&[large, small]), 1);
        assert_eq!(fitting(&[small, large]), 1);
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        assert_eq!(read_cursor(&write_cursor("zeile 7 ü")).unwrap(), "zeile 7 ü");
        assert_eq!(read_place(Some(&write_cursor("17"))).unwrap(), 17);
        assert_eq!(read_place(None).unwrap(), 0);
        for bad in ["!", "a", &write_cursor("x"), &write_cursor("-1")] {
            assert!(read_place(Some(bad)).is_err(), "{bad}");
        }
    }
}
