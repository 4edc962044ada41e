//! The key of a string in an index.

/// The longest string that is its own key, in bytes.
const OWN_BYTES_MAX: usize = 15;
/// Marks the key of a longer string, in place of its length.
const HASHED: u8 = u8::MAX;

/// A string of up to fifteen bytes, or 120 bits of the BLAKE3 hash of a longer one, for which no collision is known. So
/// every string is indexed whole and takes the same memory, whatever its length.
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
