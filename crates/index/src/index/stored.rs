//! All collections in a checkpoint.

use std::io::{self, Read, Write};

use vectorizer_log::{BaseCollection, BaseItem, CollectionId, Document, WrittenPoints};

use super::Index;
use crate::change::InvalidEvent;
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
    /// Calls `push` with each collection followed by its points, oldest collection first.
    pub fn each_item(&self, mut push: impl FnMut(BaseItem) -> io::Result<()>) -> io::Result<()> {
        self.0.iter().try_for_each(|collection| collection.each_item(&mut push))
    }

    /// Writes a few sections for each collection. Sorts all ids, so it takes a while.
    pub fn write(&self, sections: &mut SectionWriter<impl Write>) -> io::Result<()> {
        self.0.iter().try_for_each(|collection| collection.write(sections))
    }
}

impl Index {
    /// Restores a collection of a base, without its points.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent::NameExists`] if there is one of this name.
    pub fn restore_collection(&mut self, base: BaseCollection) -> Result<(), InvalidEvent> {
        let BaseCollection { id, name, created_at, last_change, vectors, texts, declared } = base;
        if self.collection(&name).is_some() || self.by_id(id).is_some() {
            return Err(InvalidEvent::NameExists { name });
        }
        let collection = Collection::new(id, name, vectors, created_at);
        let mut collection = match texts {
            Some(texts) => collection.with_texts(texts),
            None => collection,
        };
        for path in &declared {
            collection.declare_index(path);
        }
        collection.set_last_change(last_change);
        self.create(collection);
        Ok(())
    }

    /// Restores points of a collection of a base.
    ///
    /// # Errors
    ///
    /// Points that the collection cannot have, and ids that it has.
    pub fn restore_points(&mut self, id: CollectionId, points: &[Document]) -> Result<(), InvalidEvent> {
        let collection = self.existing(id)?;
        let last_change = collection.last_change();
        for point in points {
            collection.check(&point.into())?;
        }
        let change =
            self.change(id, |collection| collection.upsert(last_change, WrittenPoints::Documents(points)))?;
        match points.first() {
            Some(first) if change.vectors_replaced > 0 => {
                Err(InvalidEvent::RepeatedPoint { id: first.id.clone() })
            }
            _ => Ok(()),
        }
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
