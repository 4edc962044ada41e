//! Exact usage counters of a tenant.

use serde::{Deserialize, Serialize};

use vectorizer_index::Change;

/// The usage counters of one tenant, folded from the changes of its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    collections: u64,
    vectors: u64,
    logical_bytes: u64,
    vectors_upserted: u64,
    vectors_deleted: u64,
}

impl Usage {
    /// How many collections exist.
    pub fn collections(&self) -> u64 {
        self.collections
    }

    /// How many vectors exist.
    pub fn vectors(&self) -> u64 {
        self.vectors
    }

    /// The logical size of the existing vectors in bytes
    /// (see [`vector_logical_bytes`](vectorizer_log::vector_logical_bytes)).
    pub fn logical_bytes(&self) -> u64 {
        self.logical_bytes
    }

    /// How many vectors were ever written, new or in place of an older one. Never decreases.
    pub fn vectors_upserted(&self) -> u64 {
        self.vectors_upserted
    }

    /// How many vectors were ever deleted, by id or with their collection, not counting replaced ones. Never decreases.
    pub fn vectors_deleted(&self) -> u64 {
        self.vectors_deleted
    }

    /// The counters of a state with these collections, vectors and bytes, as a base states it.
    pub(crate) fn restored(
        [collections, vectors, logical_bytes]: [u64; 3],
        vectors_upserted: u64,
        vectors_deleted: u64,
    ) -> Self {
        Self { collections, vectors, logical_bytes, vectors_upserted, vectors_deleted }
    }

    /// The counters after `change`. Quotas are checked against them before a record is appended.
    ///
    /// `change` must be possible in the current state: it cannot remove more than exists.
    #[must_use]
    pub fn after(&self, change: &Change) -> Self {
        Self {
            collections: self.collections + change.collections_created - change.collections_deleted,
            vectors: self.vectors + change.vectors_added - change.vectors_removed,
            logical_bytes: self.logical_bytes + change.bytes_added - change.bytes_removed,
            vectors_upserted: self.vectors_upserted + change.vectors_added + change.vectors_replaced,
            vectors_deleted: self.vectors_deleted + change.vectors_removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_vector_is_upserted_but_neither_added_nor_deleted() {
        let filled = Usage::default().after(&Change {
            collections_created: 1,
            vectors_added: 3,
            bytes_added: 300,
            ..Change::default()
        });
        let replaced = filled.after(&Change {
            vectors_replaced: 2,
            bytes_added: 250,
            bytes_removed: 200,
            ..Change::default()
        });
        assert_eq!((replaced.vectors(), replaced.logical_bytes()), (3, 350));
        assert_eq!((replaced.vectors_upserted(), replaced.vectors_deleted()), (5, 0));
    }

    #[test]
    fn deleting_a_collection_deletes_its_vectors() {
        let filled = Usage { collections: 1, vectors: 3, logical_bytes: 300, ..Usage::default() };
        let emptied = filled.after(&Change {
            collections_deleted: 1,
            vectors_removed: 3,
            bytes_removed: 300,
            ..Change::default()
        });
        assert_eq!(emptied, Usage { vectors_deleted: 3, ..Usage::default() });
    }
}
