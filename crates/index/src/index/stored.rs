//! All collections in a checkpoint.

use std::io::{self, Read, Write};

use super::Index;
use crate::checkpoint::{SectionReader, SectionWriter, UnusableCheckpoint};
use crate::collection::{Collection, FrozenCollection, StoredCollection};
use crate::memory::HeapBytes;

/// All collections as of one moment, to be written to a checkpoint.
#[derive(Debug)]
pub struct FrozenIndex(Vec<FrozenCollection>);

/// All collections as they were read from a checkpoint, not yet rebuilt.
#[derive(Debug)]
pub struct StoredIndex(Vec<StoredCollection>);

impl Index {
    /// The collections as of now, to be written to a checkpoint. Cheap: what is large is shared.
    pub fn freeze(&self) -> FrozenIndex {
        FrozenIndex(self.by_creation().map(Collection::freeze).collect())
    }

    /// Reads the sections of `collections` collections from a checkpoint.
    pub fn read(
        sections: &mut SectionReader<impl Read>,
        collections: u64,
    ) -> Result<StoredIndex, UnusableCheckpoint> {
        (0..collections).map(|_| StoredCollection::read(sections)).collect::<Result<_, _>>().map(StoredIndex)
    }
}

impl FrozenIndex {
    /// Writes a few sections for each collection. Sorts all ids, so it takes a while.
    pub fn write(&self, sections: &mut SectionWriter<impl Write>) -> io::Result<()> {
        self.0.iter().try_for_each(|collection| collection.write(sections))
    }
}

impl StoredIndex {
    /// Rebuilds the collections: their postings and full-text indexes, which no checkpoint has. Calls `stop` now and
    /// then, and ends with [`UnusableCheckpoint::Unreadable`] once that is true.
    pub fn restored(self, stop: &impl Fn() -> bool) -> Result<Index, UnusableCheckpoint> {
        let mut index = Index::default();
        for stored in self.0 {
            let id = stored.id();
            let collection = stored.restored(stop)?.with_counter(&index.graphs_bytes);
            index.collections_bytes.replace(HeapBytes::default(), collection.heap_bytes());
            let is_new = index.ids.insert(collection.name().clone(), id).is_none();
            if !is_new || index.collections.insert(id, collection).is_some() {
                return Err(UnusableCheckpoint::Damaged);
            }
        }
        Ok(index)
    }
}
