//! Handles: anonymous names of points.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::section;
use crate::event::CollectionId;
use crate::point::{PointId, TextId};

/// The secret of a log that makes the handles of its points. It stays the same for as long as the log exists: under
/// another key the same point has another handle.
///
/// A holder of the key can test whether a handle is that of a guessed id.
#[derive(Clone, PartialEq, Eq)]
pub struct HandleKey([u8; Self::BYTES]);

/// An anonymous name of a point: the first bytes of the keyed BLAKE3 hash of the collection's number and the point's
/// encoded id. It pairs the writes and the deletion of one point when the id has been erased.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointHandle([u8; Self::BYTES]);

impl HandleKey {
    /// The length of a key in bytes.
    pub const BYTES: usize = 32;

    /// A key of random bytes of the operating system, for a new log.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, to store them.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The handle of a point.
    pub fn handle(&self, collection: CollectionId, id: &PointId) -> PointHandle {
        // One piece of bytes is hashed faster than several. No id is longer.
        let mut bytes = [0; 8 + 1 + TextId::BYTES_MAX];
        bytes[..8].copy_from_slice(&collection.seq().get().to_le_bytes());
        let (kind, text) = section::id_parts(id);
        bytes[8] = kind;
        let end = 9 + text.len();
        bytes[9..end].copy_from_slice(text.as_bytes());
        let hash = blake3::keyed_hash(&self.0, &bytes[..end]);
        let mut handle = [0; PointHandle::BYTES];
        handle.copy_from_slice(&hash.as_bytes()[..PointHandle::BYTES]);
        PointHandle(handle)
    }
}

impl PointHandle {
    /// The length of a handle in bytes.
    pub const BYTES: usize = 16;

    /// The handle's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Lower-case hexadecimal, in the manifest of the history.
impl Serialize for HandleKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl<'de> Deserialize<'de> for HandleKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The error does not show the text, which is a secret.
        let key = blake3::Hash::from_hex(text).map_err(|_| D::Error::custom("it is not a key of handles"))?;
        Ok(Self(*key.as_bytes()))
    }
}

/// Without the key, which is a secret.
impl fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleKey").finish_non_exhaustive()
    }
}

/// Lower-case hexadecimal.
impl fmt::Debug for PointHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
