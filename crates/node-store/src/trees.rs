//! Reading and writing single records of a tree.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::NodeStoreError;

/// Reads a record.
pub(super) fn read<T: DeserializeOwned>(tree: &sled::Tree, key: &str) -> Result<Option<T>, NodeStoreError> {
    let Some(record) = tree.get(key)? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&record)?))
}

/// Writes a record, unless it is there already.
pub(super) fn store<T: Serialize>(tree: &sled::Tree, key: &str, record: &T) -> Result<(), NodeStoreError> {
    put(tree, key, Some(&serde_json::to_vec(record)?))
}

/// Writes the bytes of a record, unless they are there already; `None` removes it.
pub(super) fn put(tree: &sled::Tree, key: &str, record: Option<&[u8]>) -> Result<(), NodeStoreError> {
    match record {
        None => drop(tree.remove(key)?),
        Some(record) if tree.get(key)?.is_none_or(|before| *before != *record) => {
            tree.insert(key, record)?;
        }
        Some(_) => {}
    }
    Ok(())
}
