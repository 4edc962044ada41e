//! What a text is found by.

/// The longest text that is its own key.
const OWN_BYTES_MAX: usize = 15;
/// In place of the length of a text that is longer.
const HASHED: u8 = u8::MAX;

/// A text of up to fifteen bytes, or 120 bits of a longer one's BLAKE3 hash, in which no two texts were ever found to
/// agree. So every text is indexed whole, whatever its length, and takes the same room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TextKey([u8; 16]);

impl TextKey {
    pub(super) fn of(text: &str) -> Self {
        let mut key = [0; 16];
        let length = text.len();
        if length <= OWN_BYTES_MAX {
            key[..length].copy_from_slice(text.as_bytes());
            key[OWN_BYTES_MAX] = u8::try_from(length).unwrap_or(HASHED);
        } else {
            let hash = blake3::hash(text.as_bytes());
            key[..OWN_BYTES_MAX].copy_from_slice(&hash.as_bytes()[..OWN_BYTES_MAX]);
            key[OWN_BYTES_MAX] = HASHED;
        }
        Self(key)
    }
}
