//! All collections as bytes in a checkpoint, and back.

use std::io::{self, Read, Write};

use super::Index;
use super::collection::{FrozenCollection, StoredCollection};
use crate::checkpoint::{Sections, StoredSections, UnusableCheckpoint};
use crate::memory::HeapBytes;

/// All collections as of one moment.
#[derive(Debug)]
pub(crate) struct FrozenIndex(Vec<FrozenCollection>);

/// Collections that are read, of which nothing is made yet.
#[derive(Debug)]
pub(crate) struct StoredIndex(Vec<StoredCollection>);

impl Index {
    pub(crate) fn freeze(&self) -> FrozenIndex {
        FrozenIndex(self.by_creation().map(super::Collection::freeze).collect())
    }

    /// So many collections.
    pub(crate) fn read(
        sections: &mut StoredSections<impl Read>,
        collections: u64,
    ) -> Result<StoredIndex, UnusableCheckpoint> {
        (0..collections).map(|_| StoredCollection::read(sections)).collect::<Result<_, _>>().map(StoredIndex)
    }
}

impl FrozenIndex {
    pub(crate) fn write(&self, sections: &mut Sections<impl Write>) -> io::Result<()> {
        self.0.iter().try_for_each(|collection| collection.write(sections))
    }
}

impl StoredIndex {
    pub(crate) fn restored(self, stop: &impl Fn() -> bool) -> Result<Index, UnusableCheckpoint> {
        let mut index = Index::default();
        for stored in self.0 {
            let id = stored.id();
            let collection = stored.restored(stop)?.counted_in(&index.graphs_bytes);
            index.collections_bytes.replace(HeapBytes::default(), collection.heap_bytes());
            let is_new = index.ids.insert(collection.name().clone(), id).is_none();
            if !is_new || index.collections.insert(id, collection).is_some() {
                return Err(UnusableCheckpoint::Damaged);
            }
        }
        Ok(index)
    }
}
