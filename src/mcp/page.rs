//! Answers for readers with little room: cut, with the place where they go on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use vectorizer_log::LogId;

use super::failure::Failure;

/// About how many bytes of JSON a tool answers at once. A model reads no more with profit, and can ask for the rest.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How many bytes tell whether a cursor is what was given out.
const CHECK_BYTES: usize = 16;

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

/// Whether an item has more bytes than a whole answer.
pub(super) fn is_oversized(item: &RawValue) -> bool {
    item.get().len() > ANSWER_BYTES_MAX
}

/// What the cursors of one call are good for: the same call of the same tenant, and nothing else.
///
/// A cursor carries a hash over its place, the tool, the tenant's log and the question, so that one that was changed,
/// or comes with other arguments, is refused. No secret is in it: what a cursor leads to, its key may read in any case.
pub(super) struct Cursors([u8; 32]);

impl Cursors {
    /// Those of a `tool` that is asked this by the tenant with this log.
    pub(super) fn of(log: LogId, tool: &str, question: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("vectorizer mcp cursor v1");
        hasher.update(log.as_bytes());
        for field in [tool.as_bytes()].iter().chain(question) {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// A hash of the tenant's log, the tool and the question.
    pub(super) fn question(&self) -> &[u8; 32] {
        &self.0
    }

    /// The cursor that leads to a place.
    pub(super) fn write(&self, place: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([&self.check(place)[..], place].concat())
    }

    /// The place that a cursor leads to.
    pub(super) fn read(&self, cursor: &str) -> Result<Vec<u8>, Failure> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let place = bytes.as_ref().and_then(|bytes| {
            let (check, place) = bytes.split_first_chunk::<CHECK_BYTES>()?;
            (*check == self.check(place)).then(|| place.to_vec())
        });
        place.ok_or_else(Failure::cursor)
    }

    /// The place of an item in a list.
    pub(super) fn write_number(&self, number: u64) -> String {
        self.write(&number.to_le_bytes())
    }

    /// The reverse.
    pub(super) fn read_number(&self, cursor: &str) -> Result<u64, Failure> {
        let place: [u8; 8] = self.read(cursor)?.try_into().map_err(|_| Failure::cursor())?;
        Ok(u64::from_le_bytes(place))
    }

    fn check(&self, place: &[u8]) -> [u8; CHECK_BYTES] {
        let hash = blake3::keyed_hash(&self.0, place);
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_answer_has_at_least_one_item_and_no_more_than_fit() {
        let written = |bytes| to_raw_value(&"a".repeat(bytes)).unwrap();
        let (small, large) = (written(1_000), written(2 * ANSWER_BYTES_MAX));
        let (small, large) = (&*small, &*large);
        let fitting = |items: &[&RawValue]| {
            let mut room = Room::new();
            items.iter().take_while(|item| room.take(item)).count()
        };
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&[small; 10]), 10);
        assert_eq!(fitting(&[small; 100]), 65);
        assert_eq!(fitting(&[large, small]), 1);
        assert_eq!(fitting(&[small, large]), 1);
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_by_nothing_but_the_same_call() {
        let log = LogId::new(Uuid::from_u128(1));
        let cursors = Cursors::of(log, "get", &[b"a", b"b"]);
        let cursor = cursors.write("zeile 7 ü".as_bytes());
        assert_eq!(cursors.read(&cursor).unwrap(), "zeile 7 ü".as_bytes());
        assert_eq!(cursors.read_number(&cursors.write_number(17)).unwrap(), 17);
        for other in [
            Cursors::of(LogId::new(Uuid::from_u128(2)), "get", &[b"a", b"b"]),
            Cursors::of(log, "search", &[b"a", b"b"]),
            Cursors::of(log, "get", &[b"ab"]),
            Cursors::of(log, "get", &[b"a", b"c"]),
        ] {
            assert!(other.read(&cursor).is_err());
        }
        for bad in ["", "!", "a", &cursors.write(b"1234567")] {
            assert!(cursors.read_number(bad).is_err(), "{bad}");
        }
        // Any other letter anywhere.
        for at in 0..cursor.len() {
            for letter in ["A", "z", "_"] {
                let mut changed = cursor.clone();
                changed.replace_range(at..=at, letter);
                assert!(changed == cursor || cursors.read(&changed).is_err(), "{changed}");
            }
        }
    }
}
