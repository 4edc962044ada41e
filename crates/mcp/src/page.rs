//! Bounded answers, with a cursor to the next one.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use vectorizer_log::LogId;

use super::failure::Failure;

/// The approximate limit of an answer, in bytes of JSON. More is of little use to a model, and it can request the rest.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The bytes of a cursor's check value.
const CHECK_BYTES: usize = 16;

/// The bytes that are left in an answer.
pub(super) struct AnswerBudget {
    bytes_left: usize,
    is_empty: bool,
}

impl AnswerBudget {
    /// The budget of an empty answer.
    pub(super) const fn new() -> Self {
        Self { bytes_left: ANSWER_BYTES_MAX, is_empty: true }
    }

    /// Takes an item's bytes, if they fit. The first item always fits.
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

/// Whether an item is larger than a whole answer.
pub(super) fn is_oversized(item: &RawValue) -> bool {
    item.get().len() > ANSWER_BYTES_MAX
}

/// Writes and reads the cursors of one call, which are valid only for the same call of the same tenant.
///
/// A cursor has a hash of its position, the tool, the tenant's log and the query, so a cursor that was changed, or that
/// is used with other arguments, is invalid. It needs no secret: the caller's key permits reading every position.
pub(super) struct Cursors([u8; 32]);

impl Cursors {
    /// The cursors of a call of `tool` with this query, by the tenant with this log.
    pub(super) fn of(log: LogId, tool: &str, query: &[&[u8]]) -> Self {
        // Deriving the key takes as long as hashing a whole query.
        static KEYED: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key("vectorizer mcp cursor v1"));
        let fields = || [tool.as_bytes()].into_iter().chain(query.iter().copied());
        let bytes = fields().map(|field| 8 + field.len()).sum::<usize>() + log.as_bytes().len();
        // Hashing many small pieces takes longer than copying them together.
        let mut hashed = Vec::with_capacity(bytes);
        hashed.extend_from_slice(log.as_bytes());
        for field in fields() {
            hashed.extend_from_slice(&(field.len() as u64).to_le_bytes());
            hashed.extend_from_slice(field);
        }
        Self(*KEYED.clone().update(&hashed).finalize().as_bytes())
    }

    /// A hash of the tenant's log, the tool and the query.
    pub(super) fn query(&self) -> &[u8; 32] {
        &self.0
    }

    /// The cursor of a position.
    pub(super) fn write(&self, position: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([&self.check(position)[..], position].concat())
    }

    /// The position of a cursor.
    pub(super) fn read(&self, cursor: &str) -> Result<Vec<u8>, Failure> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let position = bytes.as_ref().and_then(|bytes| {
            let (check, position) = bytes.split_first_chunk::<CHECK_BYTES>()?;
            (*check == self.check(position)).then(|| position.to_vec())
        });
        position.ok_or_else(Failure::cursor)
    }

    /// The cursor of the item with this number.
    pub(super) fn write_number(&self, number: u64) -> String {
        self.write(&number.to_le_bytes())
    }

    /// The number of the item of a cursor.
    pub(super) fn read_number(&self, cursor: &str) -> Result<u64, Failure> {
        let position: [u8; 8] = self.read(cursor)?.try_into().map_err(|_| Failure::cursor())?;
        Ok(u64::from_le_bytes(position))
    }

    fn check(&self, position: &[u8]) -> [u8; CHECK_BYTES] {
        let hash = blake3::keyed_hash(&self.0, position);
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_answer_has_at_least_one_item_and_otherwise_only_items_that_fit() {
        let written = |bytes| to_raw_value(&"a".repeat(bytes)).unwrap();
        let (small, large) = (written(1_000), written(2 * ANSWER_BYTES_MAX));
        let (small, large) = (&*small, &*large);
        let fitting = |items: &[&RawValue]| {
            let mut budget = AnswerBudget::new();
            items.iter().take_while(|item| budget.take(item)).count()
        };
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&[small; 10]), 10);
        assert_eq!(fitting(&[small; 100]), 65);
        assert_eq!(fitting(&[large, small]), 1);
        assert_eq!(fitting(&[small, large]), 1);
    }

    #[test]
    fn a_cursor_is_valid_only_unchanged_and_for_the_same_call() {
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
        // Another letter at any position.
        for at in 0..cursor.len() {
            for letter in ["A", "z", "_"] {
                let mut changed = cursor.clone();
                changed.replace_range(at..=at, letter);
                assert!(changed == cursor || cursors.read(&changed).is_err(), "{changed}");
            }
        }
    }
}
