//! The node's state with `HiveHub`. While the disk takes no writes, it is kept in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::database::Database;
use super::error::NodeStoreError;
use super::trees::{put, read};

/// The tree of records about the node itself. Both databases have one.
pub(super) const NODE: &str = "node";

/// Records by tree and key; `None` for one that was removed.
type Unwritten = BTreeMap<(&'static str, String), Option<Vec<u8>>>;

/// The node's state with `HiveHub`.
#[derive(Debug)]
pub(super) struct NodeState {
    database: Arc<Database>,
    /// Records that could not be written yet.
    waiting: Mutex<Unwritten>,
}

impl NodeState {
    /// On this database, which is opened separately.
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database, waiting: Mutex::default() }
    }

    /// The database of it.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, NodeStoreError> {
        self.settle();
        if let Some(waiting) = self.waiting().get(&(NODE, key.to_owned())) {
            return Ok(waiting.as_ref().map(|record| serde_json::from_slice(record)).transpose()?);
        }
        self.database.with(NODE, |tree| read(tree, key))
    }

    pub(super) fn store<T: Serialize>(
        &self,
        tree: &'static str,
        key: &str,
        record: &T,
    ) -> Result<(), NodeStoreError> {
        self.put(tree, key, Some(serde_json::to_vec(record)?))
    }

    /// Writes a record, or removes it; in memory, while the database cannot be written.
    fn put(&self, tree: &'static str, key: &str, record: Option<Vec<u8>>) -> Result<(), NodeStoreError> {
        self.settle();
        match self.database.with(tree, |tree| put(tree, key, record.as_deref())) {
            Err(error) if error.is_want() => {
                self.waiting().insert((tree, key.to_owned()), record);
                Ok(())
            }
            done => done,
        }
    }

    /// Removes a record if it is the one that is meant.
    pub(super) fn remove_if(
        &self,
        tree: &'static str,
        key: &str,
        is_meant: impl Fn(&[u8]) -> Result<bool, NodeStoreError>,
    ) -> Result<(), NodeStoreError> {
        self.settle();
        if let Some(waiting) = self.waiting().get_mut(&(tree, key.to_owned())) {
            if let Some(record) = waiting
                && is_meant(record)?
            {
                *waiting = None;
            }
            return Ok(());
        }
        let removed = self.database.with(tree, |tree| {
            if let Some(record) = tree.get(key)?
                && is_meant(&record)?
            {
                let _ = tree.compare_and_swap(key, Some(&record), None::<&[u8]>)?;
            }
            Ok(())
        });
        match removed {
            Err(error) if error.is_want() => {
                self.waiting().insert((tree, key.to_owned()), None);
                Ok(())
            }
            done => done,
        }
    }

    /// All records of a tree that can be read.
    pub(super) fn all(&self, tree: &'static str) -> Result<Vec<(String, Vec<u8>)>, NodeStoreError> {
        self.settle();
        let mut all = self.database.with(tree, |tree| {
            let mut all = BTreeMap::new();
            for entry in tree {
                let (key, record) = entry?;
                if let Ok(key) = String::from_utf8(key.to_vec()) {
                    all.insert(key, record.to_vec());
                }
            }
            Ok(all)
        })?;
        for ((of, key), record) in self.waiting().iter() {
            match record {
                _ if *of != tree => {}
                Some(record) => drop(all.insert(key.clone(), record.clone())),
                None => drop(all.remove(key)),
            }
        }
        Ok(all.into_iter().collect())
    }

    pub(super) fn flush(&self) -> Result<(), NodeStoreError> {
        match self.database.with(NODE, |tree| Ok(tree.flush().map(drop)?)) {
            // The records are in memory, and written when the disk takes writes.
            Err(error) if error.is_want() => Ok(()),
            done => done,
        }
    }

    /// Writes the records that wait in memory, if the database can be written by now.
    fn settle(&self) {
        if self.database.is_wanting() {
            return;
        }
        let mut waiting = self.waiting();
        while let Some(((tree, key), record)) = waiting.pop_first() {
            if let Err(error) = self.database.with(tree, |tree| put(tree, &key, record.as_deref())) {
                if error.is_want() {
                    waiting.insert((tree, key), record);
                }
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Unwritten> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
