//! A collection in a checkpoint.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use vectorizer_log::{
    BaseCollection, BaseItem, CollectionId, CollectionName, PayloadPath, Seq, TextParameters, Timestamp,
    VectorParameters,
};

use super::super::graph_cell::CollectionGraph;
use super::super::ids::Ids;
use super::super::postings::{Declared, Postings};
use super::super::slots::{Slot, Slots};
use super::super::texts;
use super::Collection;
use crate::checkpoint::{SectionKind, SectionReader, SectionWriter, UnusableCheckpoint, le_bytes};
use crate::interrupted::Interrupted;

const COLLECTION: SectionKind = SectionKind { tag: *b"COLL", version: 2 };
const ORDER: SectionKind = SectionKind { tag: *b"ORDR", version: 1 };
const PATHS: SectionKind = SectionKind { tag: *b"PATH", version: 1 };

/// The parts of a collection besides its slots.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    id: CollectionId,
    name: CollectionName,
    vectors: Option<VectorParameters>,
    texts: Option<TextParameters>,
    created_at: Timestamp,
    last_change: Seq,
    logical_bytes: u64,
    blocks: u64,
}

/// A collection as of one moment, to be written to a checkpoint.
#[derive(Debug)]
pub(in super::super) struct FrozenCollection {
    about: About,
    slots: Slots,
    declared: Declared,
}

/// A collection as it was read from a checkpoint, not yet rebuilt.
#[derive(Debug)]
pub(in super::super) struct StoredCollection {
    about: About,
    slots: Slots,
    order: Vec<u32>,
    declared: Declared,
}

impl Collection {
    pub(in super::super) fn freeze(&self) -> FrozenCollection {
        let about = About {
            id: self.id,
            name: self.name.clone(),
            vectors: self.vectors,
            texts: self.text_parameters(),
            created_at: self.created_at,
            last_change: self.last_change,
            logical_bytes: self.logical_bytes,
            blocks: self.slots.blocks().len() as u64,
        };
        FrozenCollection { about, slots: self.slots.clone(), declared: self.postings.declared().clone() }
    }
}

impl FrozenCollection {
    pub(in super::super) fn write(&self, sections: &mut SectionWriter<impl Write>) -> io::Result<()> {
        sections.write_value(COLLECTION, &self.about)?;
        self.slots.write(sections)?;
        sections.write(ORDER, &[&le_bytes(&self.slots.in_order())])?;
        if self.declared.is_empty() {
            return Ok(());
        }
        sections.write_value(PATHS, &self.declared.iter().collect::<Vec<_>>())
    }
}

impl FrozenCollection {
    /// Calls `push` with the collection, and then with each point.
    pub(in super::super) fn each_item(
        &self,
        push: &mut impl FnMut(BaseItem) -> io::Result<()>,
    ) -> io::Result<()> {
        let About { id, ref name, vectors, texts, created_at, last_change, .. } = self.about;
        let (name, declared) = (name.clone(), self.declared.iter().cloned().collect());
        push(BaseItem::Collection(BaseCollection {
            id,
            name,
            created_at,
            last_change,
            vectors,
            texts,
            declared,
        }))?;
        let points = self.slots.blocks().iter().flat_map(|block| block.points().flatten());
        for point in points {
            push(BaseItem::Point(point.stored().document(vectors.is_some()).map_err(io::Error::other)?))?;
        }
        Ok(())
    }
}

impl StoredCollection {
    pub(in super::super) fn read(
        sections: &mut SectionReader<impl Read>,
    ) -> Result<Self, UnusableCheckpoint> {
        let about: About = sections.expect_value(COLLECTION)?;
        let blocks = usize::try_from(about.blocks).map_err(|_| UnusableCheckpoint::Damaged)?;
        let slots = Slots::read(sections, about.vectors, blocks)?;
        let mut body = sections.expect(ORDER)?;
        let order = body.numbers(slots.live())?;
        body.end()?;
        let paths: Vec<PayloadPath> = sections.optional_value(PATHS)?.unwrap_or_default();
        Ok(Self { about, slots, order, declared: paths.into_iter().collect() })
    }

    pub(in super::super) fn restored(
        self,
        stop: &impl Fn() -> bool,
    ) -> Result<Collection, UnusableCheckpoint> {
        let Self { about, slots, order, declared } = self;
        let order = order.into_iter().map(|number| slots.occupied(number)).collect::<Option<Vec<Slot>>>();
        let ids =
            order.and_then(|order| Ids::of_ordered(&slots, &order)).ok_or(UnusableCheckpoint::Damaged)?;
        let postings = Postings::of(&slots, &declared, stop)?;
        let going = || Interrupted::check(stop);
        let words = about.texts.map(|texts| texts::index(&slots, texts, &going)).transpose()?;
        let About { id, name, vectors, texts: _, created_at, last_change, logical_bytes, blocks: _ } = about;
        Ok(Collection {
            id,
            name,
            vectors,
            created_at,
            last_change,
            logical_bytes,
            ids,
            slots,
            postings,
            texts: words,
            graph: CollectionGraph::default(),
        })
    }

    pub(in super::super) fn id(&self) -> CollectionId {
        self.about.id
    }
}
