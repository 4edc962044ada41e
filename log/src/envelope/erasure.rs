//! Erasure: the removal of items from a stored envelope.

use super::version2::{VERSION, Version2};
use crate::damage::DamageKind;

/// Why items could not be erased.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EraseError {
    /// The envelope is not valid.
    #[error(transparent)]
    Damaged(#[from] DamageKind),
    /// The envelope is of another version. Its chain hash covers the content.
    #[error("content cannot be erased from an envelope of version {found}")]
    Version {
        /// The version.
        found: u8,
    },
    /// The record does not have so many items.
    #[error("item {item} does not exist, the record has {items}")]
    NoSuchItem {
        /// The number of the item, from zero.
        item: usize,
        /// How many items the record has.
        items: usize,
    },
    /// The envelope would be larger than any reader would take: what remains of each item has a salt of its own.
    #[error("the envelope would be too large without the erased items")]
    TooLarge,
}

/// The envelope `stored` without the content of the `items` at these positions, which are those of
/// [`Envelope::items`](super::Envelope::items). Item 0 is the request; the others are those of the event.
///
/// The header, the chain hash and the other items stay the same. An erased item leaves the hashes of its chunks.
/// Their salts are gone with the secret of the record, so they cannot be compared with guessed content. The rest of the log
/// stays valid with the returned envelope in the place of `stored`. Items that were erased before stay erased.
///
/// The caller has to replace every copy of `stored`.
pub fn erase(stored: &[u8], items: &[usize]) -> Result<Vec<u8>, EraseError> {
    match stored.first() {
        Some(&VERSION) | None => {}
        Some(&found) => return Err(EraseError::Version { found }),
    }
    let envelope = Version2::verify(stored)?;
    let mut is_erased = vec![false; envelope.header.items as usize];
    for &item in items {
        let items = is_erased.len();
        *is_erased.get_mut(item).ok_or(EraseError::NoSuchItem { item, items })? = true;
    }
    if items.is_empty() {
        return Ok(stored.to_vec());
    }
    envelope.without(&is_erased).ok_or(EraseError::TooLarge)
}
