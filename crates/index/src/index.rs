//! All collections of a tenant, as records change them.

mod stored;

use std::collections::{BTreeMap, HashSet};

use vectorizer_log::{
    CollectionId, CollectionName, Event, PointId, Record, TextParameters, VectorParameters,
};

use super::change::{Change, Misfit};
use super::collection::Collection;
use super::compaction::{Compaction, Removed};
use super::indexing::Indexing;
use crate::memory::{HeapBytes, HeldBytes, tree};
pub use stored::{FrozenIndex, StoredIndex};

/// All collections of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Index {
    collections: BTreeMap<CollectionId, Collection>,
    ids: BTreeMap<CollectionName, CollectionId>,
    /// What all collections take, but for themselves and their graphs.
    collections_bytes: HeapBytes,
    /// What all graphs take: linking changes it while nothing is folded. A clone has none, and counts here.
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// About how much of the heap they take, but for their graphs. Costs nothing to ask.
    pub fn memory_bytes(&self) -> usize {
        tree::<CollectionId, Collection>(self.collections.len())
            + tree::<CollectionName, CollectionId>(self.ids.len())
            + self.collections_bytes.all
    }

    /// What of that is in large allocations.
    pub fn large_bytes(&self) -> usize {
        self.collections_bytes.large
    }

    /// What the graphs take: it changes while they are linked.
    pub fn graphs_bytes(&self) -> &HeldBytes {
        &self.graphs_bytes
    }

    /// Whether `event` can happen now. A writer asks before it appends; the fold asks again.
    pub fn check(&self, event: &Event) -> Result<(), Misfit> {
        match event {
            Event::CollectionCreated { name, .. }
            | Event::TextCollectionCreated { name, .. }
            | Event::LanguageCollectionCreated { name, .. }
                if self.ids.contains_key(name) =>
            {
                Err(Misfit::NameExists { name: name.clone() })
            }
            // All but the first two are about the tenant's callers and its bill, not about its data.
            Event::CollectionCreated { .. }
            | Event::TextCollectionCreated { .. }
            | Event::LanguageCollectionCreated { .. }
            | Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. } => Ok(()),
            Event::CollectionDeleted { collection } | Event::IndexDeclared { collection, .. } => {
                self.existing(*collection).map(|_| ())
            }
            Event::IndexDropped { collection, path } if self.existing(*collection)?.has_declared(path) => {
                Ok(())
            }
            Event::IndexDropped { path, .. } => Err(Misfit::UndeclaredIndex { path: path.clone() }),
            Event::VectorsUpserted { collection, points } => {
                let collection = self.existing(*collection)?;
                for point in points {
                    collection.check(&point.into())?;
                }
                distinct(points.iter().map(|point| &point.id))
            }
            Event::DocumentsUpserted { collection, documents } => {
                let collection = self.existing(*collection)?;
                for document in documents {
                    collection.check(&document.into())?;
                }
                distinct(documents.iter().map(|document| &document.id))
            }
            Event::VectorsDeleted { collection, ids } => {
                let collection = self.existing(*collection)?;
                for id in ids {
                    collection.existing(id)?;
                }
                distinct(ids.iter())
            }
            Event::PayloadChanged { collection, id, .. } => {
                self.existing(*collection)?.existing(id).map(|_| ())
            }
        }
    }

    /// Folds in one record, or refuses it and changes nothing. A collection that it deletes is left to the
    /// caller.
    pub fn apply(&mut self, record: &Record) -> Result<(Change, Option<Removed>), Misfit> {
        // IMPORTANT: after this check nothing below can fail, so no event is applied by half.
        self.check(&record.event)?;
        match &record.event {
            Event::CollectionCreated { name, dimension, metric, index } => {
                let id = CollectionId::created_at(record.seq);
                let vectors = VectorParameters { dimension: *dimension, metric: *metric, index: *index };
                Ok((self.create(Collection::new(id, name.clone(), Some(vectors), record.at)), None))
            }
            Event::TextCollectionCreated { name, vectors } => {
                let id = CollectionId::created_at(record.seq);
                let texts = TextParameters::default();
                Ok((
                    self.create(Collection::new(id, name.clone(), *vectors, record.at).with_texts(texts)),
                    None,
                ))
            }
            Event::LanguageCollectionCreated { name, vectors, language } => {
                let id = CollectionId::created_at(record.seq);
                let texts = TextParameters { language: Some(*language) };
                Ok((
                    self.create(Collection::new(id, name.clone(), *vectors, record.at).with_texts(texts)),
                    None,
                ))
            }
            Event::CollectionDeleted { collection: id } => {
                let collection =
                    self.collections.remove(id).ok_or(Misfit::UnknownCollection { collection: *id })?;
                self.ids.remove(collection.name());
                self.collections_bytes.replace(collection.heap_bytes(), HeapBytes::default());
                let change = Change {
                    collections_deleted: 1,
                    vectors_removed: collection.len() as u64,
                    bytes_removed: collection.logical_bytes(),
                    ..Change::default()
                };
                Ok((change, Some(collection.into())))
            }
            Event::VectorsUpserted { collection, points } => {
                Ok((self.change(*collection, |collection| collection.upsert(record.seq, points))?, None))
            }
            Event::DocumentsUpserted { collection, documents } => {
                Ok((self.change(*collection, |collection| collection.upsert(record.seq, documents))?, None))
            }
            Event::VectorsDeleted { collection, ids } => {
                Ok((self.change(*collection, |collection| collection.delete(record.seq, ids))?, None))
            }
            Event::PayloadChanged { collection, id, payload } => {
                let change = |collection: &mut Collection| collection.change_payload(record.seq, id, payload);
                Ok((self.change(*collection, change)?, None))
            }
            Event::IndexDeclared { collection, path } => {
                Ok((self.change(*collection, |collection| collection.declare_index(path))?, None))
            }
            Event::IndexDropped { collection, path } => {
                let dropped = self.change(*collection, |collection| collection.drop_index(path))?;
                Ok((Change::default(), dropped))
            }
            Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. } => Ok((Change::default(), None)),
        }
    }

    /// Puts a compaction of the collection with this id in place; `false` if it came too late.
    pub fn install(&mut self, id: CollectionId, compaction: Compaction) -> (bool, Removed) {
        match self.collections.get_mut(&id) {
            Some(collection) => {
                counted(&mut self.collections_bytes, collection, |collection| collection.install(compaction))
            }
            None => (false, compaction.into()),
        }
    }

    /// Puts indexes of more paths in place in the collection with this id; `false` if they came too late.
    pub fn install_indexing(&mut self, id: CollectionId, indexing: Indexing) -> (bool, Removed) {
        match self.collections.get_mut(&id) {
            Some(collection) => counted(&mut self.collections_bytes, collection, |collection| {
                collection.install_indexing(indexing)
            }),
            None => (false, indexing.into()),
        }
    }

    fn create(&mut self, collection: Collection) -> Change {
        let collection = collection.counted_in(&self.graphs_bytes);
        self.collections_bytes.replace(HeapBytes::default(), collection.heap_bytes());
        self.ids.insert(collection.name().clone(), collection.id());
        self.collections.insert(collection.id(), collection);
        Change { collections_created: 1, ..Change::default() }
    }

    fn existing(&self, id: CollectionId) -> Result<&Collection, Misfit> {
        self.by_id(id).ok_or(Misfit::UnknownCollection { collection: id })
    }

    fn change<T>(
        &mut self,
        id: CollectionId,
        change: impl FnOnce(&mut Collection) -> T,
    ) -> Result<T, Misfit> {
        let unknown = Misfit::UnknownCollection { collection: id };
        let collection = self.collections.get_mut(&id).ok_or(unknown)?;
        Ok(counted(&mut self.collections_bytes, collection, change))
    }
}

/// Changes a collection, and with it the sum of what all of them take.
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

fn distinct<'a>(ids: impl Iterator<Item = &'a PointId> + Clone) -> Result<(), Misfit> {
    // Those that a filter has found come in order, and may be a million.
    if ids.clone().is_sorted_by(|one, next| one < next) {
        return Ok(());
    }
    let mut seen = HashSet::new();
    let mut ids = ids;
    match ids.find(|id| !seen.insert(*id)) {
        Some(id) => Err(Misfit::RepeatedPoint { id: id.clone() }),
        None => Ok(()),
    }
}
