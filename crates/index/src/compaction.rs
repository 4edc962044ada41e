//! Giving back the room of emptied slots.
//!
//! Where there is little of it, and no graph, it happens at once, within the write that makes it due. Otherwise
//! it is work for whoever links: [`Snapshot::compact`] does it behind the scenes, and
//! [`Collection::install`](super::Collection) puts the result in the place of what it was made from,
//! together with what has been written meanwhile.

use std::sync::Arc;

use super::collection::Collection;
use super::graph::LinkingStopped;
use super::indexing::Indexing;
use super::linking::GraphPlace;
use super::matches;
use super::postings::{Field, Postings};
use super::slots::{Moved, Slots};
use super::snapshot::Snapshot;
use crate::text::TextIndex;

/// A collection without its emptied slots, as of a snapshot.
#[derive(Debug)]
pub struct Compaction {
    pub(super) then: Slots,
    pub(super) slots: Slots,
    pub(super) moved: Moved,
    pub(super) postings: Postings,
    /// Of no use to a collection without texts.
    pub(super) texts: Option<TextIndex>,
    pub(super) graph: Arc<GraphPlace>,
    /// Indexes of paths that were dropped meanwhile and that there is no room for.
    pub(super) unindexed: Vec<Field>,
    /// The graph this was made from: the one who still has it has the slots that `moved` speaks of.
    pub(super) of: Arc<GraphPlace>,
}

/// What a change has taken out of a projection. Freeing it takes time in proportion to what it held, so it is
/// handed to whoever changed it, to be dropped where nobody waits.
#[derive(Debug)]
#[must_use = "it is to be dropped where nobody waits"]
pub struct Removed {
    _kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Collection { _collection: Box<Collection> },
    Compaction { _compaction: Box<Compaction> },
    Indexing { _indexing: Box<Indexing> },
    Field { _field: Box<Field> },
}

impl From<Collection> for Removed {
    fn from(collection: Collection) -> Self {
        Self { _kept: Kept::Collection { _collection: Box::new(collection) } }
    }
}

impl From<Compaction> for Removed {
    fn from(compaction: Compaction) -> Self {
        Self { _kept: Kept::Compaction { _compaction: Box::new(compaction) } }
    }
}

impl From<Indexing> for Removed {
    fn from(indexing: Indexing) -> Self {
        Self { _kept: Kept::Indexing { _indexing: Box::new(indexing) } }
    }
}

impl From<Field> for Removed {
    fn from(field: Field) -> Self {
        Self { _kept: Kept::Field { _field: Box::new(field) } }
    }
}

impl Compaction {
    /// Brings it up to what the collection holds in this later snapshot, so that little is left to do when it is
    /// put in its place. Does nothing if another compaction was, meanwhile.
    pub fn catch_up_with(&mut self, now: &Snapshot) {
        if Arc::ptr_eq(&self.of, &now.graph) {
            self.catch_up(&now.slots);
            self.then = now.slots.clone();
        }
    }

    pub(super) fn catch_up(&mut self, now: &Slots) {
        let Self { then, slots, moved, postings, texts, graph: _, unindexed: _, of: _ } = self;
        now.catch_up(then, slots, moved, |slot, before, after| {
            if let Some(before) = before {
                postings.remove(slot.number(), before.payload());
            }
            if let Some(after) = after {
                postings.add(slot.number(), after.payload());
            }
            // A point that stays where it is keeps its text.
            match (before, after) {
                (Some(before), None) => matches::remove(texts, slot, before.text()),
                (None, Some(after)) => matches::add(texts, slot, after.text()),
                (Some(_), Some(_)) | (None, None) => {}
            }
        });
    }
}

impl Snapshot {
    /// Whether emptied slots have become many.
    pub fn wants_compaction(&self) -> bool {
        self.slots.wants_compaction()
    }

    /// Moves the points together, and their graph with them, and gathers what their payloads hold. Asks
    /// `stop` all along.
    pub fn compact(&self, stop: &impl Fn() -> bool) -> Result<Compaction, LinkingStopped> {
        let (slots, moved) = self.slots.compacted(stop)?;
        let graph = self.graph.beside();
        if let Some(old) = self.graph.get() {
            let moved = old.moved(|node| moved.number(node), stop)?;
            graph.get_or_init(|| moved);
        }
        let postings = Postings::of(&slots, &self.declared, stop)?;
        let texts = Some(matches::words_of(&slots, self.texts, &|| LinkingStopped::if_asked(stop))?);
        let of = Arc::clone(&self.graph);
        let (then, graph, unindexed) = (self.slots.clone(), Arc::new(graph), Vec::new());
        Ok(Compaction { then, slots, moved, postings, texts, graph, unindexed, of })
    }
}
