//! Indexing payloads that are there already: for paths that were declared or have got room after they were left out.
//!
//! It is work for whoever links: [`Collection::indexing`] begins it, [`Indexing::gather`] reads all payloads behind the
//! scenes, and [`Projection::install_indexing`](crate::Index::install_indexing) puts the result in place, together
//! with what has been written meanwhile. Until then filters on these paths look at payloads.

use std::sync::Arc;

use super::collection::Collection;
use super::graph::LinkingStopped;
use super::linking::GraphPlace;
use super::postings::NewFields;
use super::slots::Slots;
use super::snapshot::Snapshot;

/// Indexes of some paths, made beside a collection.
#[derive(Debug)]
pub struct Indexing {
    pub(super) fields: NewFields,
    /// What is gathered.
    pub(super) then: Slots,
    /// The graph of these slots: the collection that still has it has them too.
    pub(super) of: Arc<GraphPlace>,
}

impl Collection {
    /// Whether there are paths to index in payloads that are there already.
    pub fn wants_indexing(&self) -> bool {
        self.postings().wants_fields()
    }

    /// Begins to index what is to be indexed now. Cheap.
    pub fn indexing(&self) -> Indexing {
        let Snapshot { slots, graph, .. } = self.snapshot();
        Indexing { fields: self.postings().new_fields(), then: slots, of: graph }
    }
}

impl Indexing {
    /// Reads all payloads as of the beginning. Asks `stop` between two of them.
    pub fn gather(&mut self, stop: &impl Fn() -> bool) -> Result<(), LinkingStopped> {
        self.fields.gather(&self.then, stop)
    }

    /// Brings it up to what the collection holds in this later snapshot, so that little is left to do when it is put
    /// in place. Does nothing if the collection has been compacted since.
    pub fn catch_up_with(&mut self, now: &Snapshot) {
        if Arc::ptr_eq(&self.of, &now.graph) {
            self.catch_up(&now.slots);
        }
    }

    pub(super) fn catch_up(&mut self, now: &Slots) {
        self.fields.catch_up(&self.then, now);
        self.then = now.clone();
    }
}

#[cfg(test)]
#[path = "indexing_tests.rs"]
mod tests;
