//! Indexing of stored payloads, for paths that were declared or that have got room after they were left out.
//!
//! The linker does it: [`Collection::indexing`](crate::Collection::indexing) begins it, [`Indexing::gather`] reads
//! all payloads in the background, and [`Index::install_indexing`](crate::Index::install_indexing) adds the result,
//! with all writes since applied to it. Until then filters on these paths read payloads.

use std::sync::Arc;

use super::graph_cell::GraphCell;
use super::postings::{NewFields, Postings};
use super::slots::Slots;
use super::snapshot::Snapshot;
use crate::interrupted::Interrupted;

/// Indexes of some paths, built beside a collection.
#[derive(Debug)]
pub struct Indexing {
    pub(super) fields: NewFields,
    /// The slots whose payloads are indexed.
    pub(super) base: Slots,
    /// The graph of these slots. A collection that still has it also has these slots.
    pub(super) base_graph: Arc<GraphCell>,
}

impl Indexing {
    /// Begins to index all paths that are due in `postings`, which are of `snapshot`.
    pub(super) fn begin(postings: &Postings, snapshot: Snapshot) -> Self {
        let Snapshot { slots, graph, .. } = snapshot;
        Self { fields: postings.new_fields(), base: slots, base_graph: graph }
    }

    /// Reads all payloads, as of the beginning. Calls `stop` before each.
    pub fn gather(&mut self, stop: &impl Fn() -> bool) -> Result<(), Interrupted> {
        self.fields.gather(&self.base, stop)
    }

    /// Applies the changes up to a later snapshot, so that installing has little left to do. Does nothing if the
    /// collection was compacted meanwhile.
    pub fn catch_up_with(&mut self, now: &Snapshot) {
        if Arc::ptr_eq(&self.base_graph, &now.graph) {
            self.catch_up(&now.slots);
        }
    }

    pub(super) fn catch_up(&mut self, now: &Slots) {
        self.fields.catch_up(&self.base, now);
        self.base = now.clone();
    }
}

#[cfg(test)]
#[path = "indexing_tests.rs"]
mod tests;
