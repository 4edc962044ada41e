//! All collections of a tenant, changed by records.

mod stored;

use std::collections::{BTreeMap, HashSet};

use vectorizer_log::{CollectionContent, CollectionId, CollectionName, DataChange, Event, PointId, Record};

use super::change::{Change, InvalidEvent};
use super::collection::Collection;
use super::compaction::Compaction;
use super::indexing::Indexing;
use super::removed::Removed;
use crate::memory::{HeapBytes, HeldBytes, tree};
pub use stored::{FrozenIndex, StoredIndex};

/// The collections of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Index {
    collections: BTreeMap<CollectionId, Collection>,
    ids: BTreeMap<CollectionName, CollectionId>,
    /// The memory of all collections, without `Self` and the graphs.
    collections_bytes: HeapBytes,
    /// The memory of all graphs. Linking changes it between records. Clones have no graphs, and count theirs here.
    graphs_bytes: HeldBytes,
}

impl Index {
    /// The collection of this name.
    pub fn collection(&self, name: &CollectionName) -> Option<&Collection> {
        self.by_id(*self.ids.get(name)?)
    }

    /// The collection with this id.
    pub fn by_id(&self, id: CollectionId) -> Option<&Collection> {
        self.collections.get(&id)
    }

    /// Every collection, ordered by name.
    pub fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.ids.values().filter_map(|id| self.by_id(*id))
    }

    /// Every collection, oldest first.
    pub fn by_creation(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    /// How many collections there are.
    pub fn len(&self) -> usize {
        self.collections.len()
    }

    /// Whether there are no collections.
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// The heap bytes, without the graphs, estimated in constant time.
    pub fn memory_bytes(&self) -> usize {
        tree::<CollectionId, Collection>(self.collections.len())
            + tree::<CollectionName, CollectionId>(self.ids.len())
            + self.collections_bytes.all
    }

    /// The part of that in large allocations.
    pub fn large_bytes(&self) -> usize {
        self.collections_bytes.large
    }

    /// The memory of all graphs. It changes while they are linked.
    pub fn graphs_bytes(&self) -> &HeldBytes {
        &self.graphs_bytes
    }

    /// Checks that `event` can be applied now. A writer calls it before it appends the event.
    pub fn check(&self, event: &Event) -> Result<(), InvalidEvent> {
        // The other effects concern callers and the bill, not data.
        event.effect().data().map_or(Ok(()), |change| self.check_change(change))
    }

    fn check_change(&self, change: DataChange<'_>) -> Result<(), InvalidEvent> {
        match change {
            DataChange::CreateCollection { name, .. } if self.ids.contains_key(name) => {
                Err(InvalidEvent::NameExists { name: name.clone() })
            }
            DataChange::CreateCollection { .. } => Ok(()),
            DataChange::DeleteCollection { collection } | DataChange::DeclareIndex { collection, .. } => {
                self.existing(collection).map(|_| ())
            }
            DataChange::DropIndex { collection, path } if self.existing(collection)?.has_declared(path) => {
                Ok(())
            }
            DataChange::DropIndex { path, .. } => Err(InvalidEvent::UndeclaredIndex { path: path.clone() }),
            DataChange::WritePoints { collection, points } => {
                let collection = self.existing(collection)?;
                for point in points.each() {
                    collection.check(&point)?;
                }
                distinct(points.each().map(|point| point.id))
            }
            DataChange::DeletePoints { collection, ids } => {
                let collection = self.existing(collection)?;
                for id in ids {
                    collection.existing(id)?;
                }
                distinct(ids.iter())
            }
            DataChange::ChangePayload { collection, id, .. } => {
                self.existing(collection)?.existing(id).map(|_| ())
            }
        }
    }

    /// Applies a record, or returns an error and changes nothing. Returns what it has changed, and memory that the
    /// caller drops.
    pub fn apply(&mut self, record: &Record) -> Result<(Change, Option<Removed>), InvalidEvent> {
        let Some(data) = record.event.effect().data() else { return Ok((Change::default(), None)) };
        // IMPORTANT: nothing after this check can fail, so no event is applied in part.
        self.check_change(data)?;
        let change = match data {
            DataChange::CreateCollection { name, content } => {
                let id = CollectionId::created_at(record.seq);
                let new = |vectors| Collection::new(id, name.clone(), vectors, record.at);
                self.create(match content {
                    CollectionContent::Vectors(vectors) => new(Some(vectors)),
                    CollectionContent::Texts { vectors, texts } => new(vectors).with_texts(texts),
                })
            }
            DataChange::DeleteCollection { collection: id } => {
                let collection =
                    self.collections.remove(&id).ok_or(InvalidEvent::UnknownCollection { collection: id })?;
                self.ids.remove(collection.name());
                self.collections_bytes.replace(collection.heap_bytes(), HeapBytes::default());
                let change = Change {
                    collections_deleted: 1,
                    vectors_removed: collection.len() as u64,
                    bytes_removed: collection.logical_bytes(),
                    ..Change::default()
                };
                return Ok((change, Some(Removed::new(collection))));
            }
            DataChange::WritePoints { collection, points } => {
                self.change(collection, |collection| collection.upsert(record.seq, points))?
            }
            DataChange::DeletePoints { collection, ids } => {
                self.change(collection, |collection| collection.delete(record.seq, ids))?
            }
            DataChange::ChangePayload { collection, id, payload } => {
                self.change(collection, |collection| collection.change_payload(record.seq, id, payload))?
            }
            DataChange::DeclareIndex { collection, path } => {
                self.change(collection, |collection| collection.declare_index(path))?
            }
            DataChange::DropIndex { collection, path } => {
                let dropped = self.change(collection, |collection| collection.drop_index(path))?;
                return Ok((Change::default(), dropped));
            }
        };
        Ok((change, None))
    }

    /// Installs a compaction of the collection with this id. Returns `false` if the collection has changed its slots
    /// since.
    pub fn install(&mut self, id: CollectionId, compaction: Compaction) -> (bool, Removed) {
        match self.collections.get_mut(&id) {
            Some(collection) => {
                counted(&mut self.collections_bytes, collection, |collection| collection.install(compaction))
            }
            None => (false, Removed::new(compaction)),
        }
    }

    /// Installs payload indexes in the collection with this id. Returns `false` if the collection has changed its slots
    /// since.
    pub fn install_indexing(&mut self, id: CollectionId, indexing: Indexing) -> (bool, Removed) {
        match self.collections.get_mut(&id) {
            Some(collection) => counted(&mut self.collections_bytes, collection, |collection| {
                collection.install_indexing(indexing)
            }),
            None => (false, Removed::new(indexing)),
        }
    }

    fn create(&mut self, collection: Collection) -> Change {
        let collection = collection.with_counter(&self.graphs_bytes);
        self.collections_bytes.replace(HeapBytes::default(), collection.heap_bytes());
        self.ids.insert(collection.name().clone(), collection.id());
        self.collections.insert(collection.id(), collection);
        Change { collections_created: 1, ..Change::default() }
    }

    fn existing(&self, id: CollectionId) -> Result<&Collection, InvalidEvent> {
        self.by_id(id).ok_or(InvalidEvent::UnknownCollection { collection: id })
    }

    fn change<T>(
        &mut self,
        id: CollectionId,
        change: impl FnOnce(&mut Collection) -> T,
    ) -> Result<T, InvalidEvent> {
        let unknown = InvalidEvent::UnknownCollection { collection: id };
        let collection = self.collections.get_mut(&id).ok_or(unknown)?;
        Ok(counted(&mut self.collections_bytes, collection, change))
    }
}

/// Changes a collection and updates the sum of all collections' memory.
fn counted<T>(
    collections_bytes: &mut HeapBytes,
    collection: &mut Collection,
    change: impl FnOnce(&mut Collection) -> T,
) -> T {
    let before = collection.heap_bytes();
    let changed = change(collection);
    collections_bytes.replace(before, collection.heap_bytes());
    changed
}

fn distinct<'a>(ids: impl Iterator<Item = &'a PointId> + Clone) -> Result<(), InvalidEvent> {
    // Ids found by a filter are sorted, and there may be a million of them.
    if ids.clone().is_sorted_by(|one, next| one < next) {
        return Ok(());
    }
    let mut seen = HashSet::new();
    let mut ids = ids;
    match ids.find(|id| !seen.insert(*id)) {
        Some(id) => Err(InvalidEvent::RepeatedPoint { id: id.clone() }),
        None => Ok(()),
    }
}
