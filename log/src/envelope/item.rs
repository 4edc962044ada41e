//! The items of a record: its content, in pieces that can be erased one by one.
//!
//! The first item is the request. The others are those of the event, in a fixed order: one for each point, and one for
//! each other value that a client may have chosen. [`each`] is the one place that names the items of every effect, and
//! [`decode`] the one place that makes an event of them.

use serde::{Deserialize, Serialize};

use super::facts::{KnownEvent, PointSize, RecordFacts};
use super::section::{self, SectionKind, TEXT_ID, id_parts};
use crate::billing::RejectedLine;
use crate::damage::{DamageKind, InvalidItem};
use crate::document::Document;
use crate::event::{
    BillStep, CollectionContent, CollectionId, CollectionName, DataChange, Effect, Event, EventKind,
    RefusedRequests, VectorParameters, WrittenPoint,
};
use crate::language::TextParameters;
use crate::path::PayloadPath;
use crate::point::{DenseVector, Payload, Point, PointId, Text, TextId, Vector};
use crate::record::{Actor, Idempotency, Record};

/// An item, before it is encoded.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    Request(&'a Record),
    Name(&'a CollectionName),
    Parameters(CollectionContent),
    Point(WrittenPoint<'a>),
    Id(&'a PointId),
    Payload { id: &'a PointId, payload: &'a Payload },
    Path(&'a PayloadPath),
    Refusal(RefusedRequests<'a>),
    Reason(&'a str),
}

/// At least what the kinds and lengths of an item's sections take.
const SECTIONS_BYTES: usize = 32;

/// Calls `visit` with each item of the record, in the order of the format.
pub(super) fn each<'a>(record: &'a Record, mut visit: impl FnMut(Item<'a>)) {
    visit(Item::Request(record));
    match record.event.effect() {
        Effect::Data(change) => match change {
            DataChange::CreateCollection { name, content } => {
                visit(Item::Name(name));
                visit(Item::Parameters(content));
            }
            DataChange::DeleteCollection { .. } => {}
            DataChange::WritePoints { points, .. } => points.each().map(Item::Point).for_each(visit),
            DataChange::DeletePoints { ids, .. } => ids.iter().map(Item::Id).for_each(visit),
            DataChange::ChangePayload { id, payload, .. } => visit(Item::Payload { id, payload }),
            DataChange::DeclareIndex { path, .. } | DataChange::DropIndex { path, .. } => {
                visit(Item::Path(path));
            }
        },
        // The facts say everything: the operations, the position and the totals are of the server.
        Effect::Usage(_) | Effect::Bill(BillStep::Close(_)) | Effect::History(_) => {}
        Effect::Bill(BillStep::Correct { reason, .. }) => visit(Item::Reason(reason)),
        Effect::Bill(BillStep::Acknowledge { rejected, .. }) => {
            rejected.iter().map(|line| Item::Reason(&line.reason)).for_each(visit);
        }
        Effect::Refusals(refused) => visit(Item::Refusal(refused)),
    }
}

impl Item<'_> {
    /// About how many bytes the encoded item has, to allocate them at once. Small items count nothing.
    pub(super) fn encoded_bytes_hint(self) -> usize {
        match self {
            Self::Point(point) => {
                let WrittenPoint { id, vector, payload, text } = point;
                let (payload, text) =
                    (payload.map_or(0, |it| it.as_str().len()), text.map_or(0, |it| it.as_str().len()));
                SECTIONS_BYTES + id.as_str().len() + 4 * vector.map_or(0, Vector::dimension) + payload + text
            }
            Self::Id(id) => SECTIONS_BYTES + id.as_str().len(),
            Self::Payload { id, payload } => SECTIONS_BYTES + id.as_str().len() + payload.as_str().len(),
            Self::Request(_)
            | Self::Name(_)
            | Self::Parameters(_)
            | Self::Path(_)
            | Self::Refusal(_)
            | Self::Reason(_) => SECTIONS_BYTES,
        }
    }

    /// Appends the sections of the item.
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Request(Record { actor, request_id, idempotency, .. }) => {
                let key_id = actor.key_id.as_deref();
                encode_postcard(SectionKind::Request, &(key_id, request_id.as_str(), idempotency), out);
            }
            Self::Name(name) => encode(SectionKind::Name, name.as_str().as_bytes(), out),
            Self::Parameters(content) => {
                encode_postcard(SectionKind::Parameters, &StoredContent::from(content), out);
            }
            Self::Point(WrittenPoint { id, vector, payload, text }) => {
                encode_id(id, out);
                if let Some(vector) = vector {
                    encode_vector(vector, out);
                }
                if let Some(payload) = payload {
                    encode(SectionKind::Payload, payload.as_str().as_bytes(), out);
                }
                if let Some(text) = text {
                    encode(SectionKind::Text, text.as_str().as_bytes(), out);
                }
            }
            Self::Id(id) => encode_id(id, out),
            Self::Payload { id, payload } => {
                encode_id(id, out);
                encode(SectionKind::Payload, payload.as_str().as_bytes(), out);
            }
            Self::Path(path) => encode(SectionKind::Path, path.as_str().as_bytes(), out),
            Self::Refusal(RefusedRequests { key_id, what, why, from, .. }) => {
                encode(SectionKind::Name, what.as_bytes(), out);
                encode(SectionKind::Reason, why.as_bytes(), out);
                if let Some(key_id) = key_id {
                    encode(SectionKind::KeyId, key_id.as_bytes(), out);
                }
                if let Some(from) = from {
                    encode(SectionKind::Address, from.as_bytes(), out);
                }
            }
            Self::Reason(reason) => encode(SectionKind::Reason, reason.as_bytes(), out),
        }
    }
}

fn encode(kind: SectionKind, content: &[u8], out: &mut Vec<u8>) {
    section::begin(kind, content.len(), out);
    out.extend_from_slice(content);
}

fn encode_postcard(kind: SectionKind, content: &impl Serialize, out: &mut Vec<u8>) {
    let content = postcard::to_stdvec(content).expect("it has no map or sequence of unknown length");
    encode(kind, &content, out);
}

fn encode_id(id: &PointId, out: &mut Vec<u8>) {
    let (kind, text) = id_parts(id);
    section::begin(SectionKind::PointId, 1 + text.len(), out);
    out.push(kind);
    out.extend_from_slice(text.as_bytes());
}

fn encode_vector(vector: &Vector, out: &mut Vec<u8>) {
    match vector {
        Vector::Dense(_) => {
            let numbers = vector.as_dense();
            section::begin(SectionKind::DenseF32, 4 * numbers.len(), out);
            let start = out.len();
            out.resize(start + 4 * numbers.len(), 0);
            for (bytes, number) in out[start..].as_chunks_mut().0.iter_mut().zip(numbers) {
                *bytes = number.to_le_bytes();
            }
        }
    }
}

/// The parameters of a collection, of all kinds of collections.
#[derive(Serialize, Deserialize)]
struct StoredContent {
    vectors: Option<VectorParameters>,
    texts: Option<TextParameters>,
}

impl From<CollectionContent> for StoredContent {
    fn from(content: CollectionContent) -> Self {
        match content {
            CollectionContent::Vectors(vectors) => Self { vectors: Some(vectors), texts: None },
            CollectionContent::Texts { vectors, texts } => Self { vectors, texts: Some(texts) },
        }
    }
}

/// Makes the record of its facts and the bytes of all its items.
pub(super) fn decode(facts: &RecordFacts, items: &[&[u8]]) -> Result<Record, DamageKind> {
    let mut items = Items { items, next: 0 };
    let mut request = items.next()?;
    let (key_id, request_id, idempotency): (Option<String>, String, Option<Idempotency>) =
        request.postcard(SectionKind::Request)?;
    request.end()?;
    let event = decode_event(facts, &mut items)?;
    if items.next < items.items.len() {
        return Err(DamageKind::Facts);
    }
    let RecordFacts { log_id, seq, at, via, .. } = *facts;
    let change = event.effect().data();
    let concerned = change.map(|change| change.collection().unwrap_or(CollectionId::created_at(seq)));
    if facts.collection != concerned {
        return Err(DamageKind::Facts);
    }
    Ok(Record { log_id, seq, at, actor: Actor { key_id, via }, request_id, idempotency, event })
}

fn decode_event(facts: &RecordFacts, items: &mut Items<'_, '_>) -> Result<Event, DamageKind> {
    // The collection of an event that concerns one.
    let collection = || facts.collection.ok_or(DamageKind::Facts);
    let known = &facts.event;
    Ok(match facts.kind {
        EventKind::CollectionCreated => {
            let (name, content) = decode_creation(facts, items)?;
            let StoredContent { vectors: Some(vectors), texts: None } = content else {
                return Err(DamageKind::Facts);
            };
            let VectorParameters { dimension, metric, index } = vectors;
            Event::CollectionCreated { name, dimension, metric, index }
        }
        EventKind::CollectionDeleted => {
            expect_known(known, &KnownEvent::CollectionDeleted)?;
            Event::CollectionDeleted { collection: collection()? }
        }
        EventKind::VectorsUpserted => {
            let points = decode_points(known, items, |item| {
                let point = Point {
                    id: item.id()?,
                    vector: item.vector()?.ok_or(item.missing(SectionKind::DenseF32))?,
                    payload: item.payload()?,
                };
                let size = PointSize::of(WrittenPoint::from(&point));
                Ok((point, size))
            })?;
            Event::VectorsUpserted { collection: collection()?, points }
        }
        EventKind::VectorsDeleted => {
            let KnownEvent::PointsDeleted { points } = known else { return Err(DamageKind::Facts) };
            let ids = points.iter().map(|_| items.only(Contents::id)).collect::<Result<_, _>>()?;
            Event::VectorsDeleted { collection: collection()?, ids }
        }
        EventKind::PayloadChanged => decode_payload_change(facts.collection, known, items)?,
        EventKind::AccessDenied => decode_refusal(known, items)?,
        EventKind::UsageObserved => {
            let KnownEvent::UsageObserved { operations, since, through, journal } = known else {
                return Err(DamageKind::Facts);
            };
            let (operations, since, through, journal) = (operations.clone(), *since, *through, *journal);
            Event::UsageObserved { operations, since, through, journal }
        }
        EventKind::BillingClosed => {
            let KnownEvent::BillingClosed { metering, since, through, first_seq, totals } = known else {
                return Err(DamageKind::Facts);
            };
            let (metering, since, through, first_seq) = (*metering, *since, *through, *first_seq);
            Event::BillingClosed { metering, since, through, first_seq, totals: totals.clone() }
        }
        EventKind::BillingCorrected => {
            let KnownEvent::BillingCorrected { corrects, meter, by } = *known else {
                return Err(DamageKind::Facts);
            };
            let reason = items.only(|item| item.string(SectionKind::Reason))?;
            Event::BillingCorrected { corrects, meter, by, reason }
        }
        EventKind::BillingAcknowledged => decode_acknowledgement(known, items)?,
        EventKind::TextCollectionCreated => {
            let (name, content) = decode_creation(facts, items)?;
            let StoredContent { vectors, texts: Some(TextParameters { language: None }) } = content else {
                return Err(DamageKind::Facts);
            };
            Event::TextCollectionCreated { name, vectors }
        }
        EventKind::DocumentsUpserted => {
            let documents = decode_points(known, items, |item| {
                let (id, vector, payload) = (item.id()?, item.vector()?, item.payload()?);
                let document = Document { id, vector, payload, text: item.text()? };
                let size = PointSize::of(WrittenPoint::from(&document));
                Ok((document, size))
            })?;
            Event::DocumentsUpserted { collection: collection()?, documents }
        }
        EventKind::LanguageCollectionCreated => {
            let (name, content) = decode_creation(facts, items)?;
            let StoredContent { vectors, texts: Some(TextParameters { language: Some(language) }) } = content
            else {
                return Err(DamageKind::Facts);
            };
            Event::LanguageCollectionCreated { name, vectors, language }
        }
        EventKind::IndexDeclared => {
            expect_known(known, &KnownEvent::Other)?;
            Event::IndexDeclared { collection: collection()?, path: items.only(Contents::path)? }
        }
        EventKind::IndexDropped => {
            expect_known(known, &KnownEvent::Other)?;
            Event::IndexDropped { collection: collection()?, path: items.only(Contents::path)? }
        }
        EventKind::HistoryDropped => {
            let KnownEvent::HistoryDropped { through, chain, base } = *known else {
                return Err(DamageKind::Facts);
            };
            Event::HistoryDropped { through, chain, base }
        }
    })
}

fn decode_payload_change(
    collection: Option<CollectionId>,
    known: &KnownEvent,
    items: &mut Items<'_, '_>,
) -> Result<Event, DamageKind> {
    let KnownEvent::PayloadChanged { point: _, payload_bytes } = *known else {
        return Err(DamageKind::Facts);
    };
    let mut item = items.next()?;
    let (id, payload) = (item.id()?, item.payload()?.ok_or(item.missing(SectionKind::Payload))?);
    item.end()?;
    if payload.logical_bytes() != payload_bytes {
        return Err(DamageKind::Facts);
    }
    Ok(Event::PayloadChanged { collection: collection.ok_or(DamageKind::Facts)?, id, payload })
}

fn decode_refusal(known: &KnownEvent, items: &mut Items<'_, '_>) -> Result<Event, DamageKind> {
    let KnownEvent::Refused { count, since, through } = *known else {
        return Err(DamageKind::Facts);
    };
    let mut item = items.next()?;
    let (what, why) = (item.string(SectionKind::Name)?, item.string(SectionKind::Reason)?);
    let key_id = item.optional_string(SectionKind::KeyId)?;
    let from = item.optional_string(SectionKind::Address)?;
    item.end()?;
    Ok(Event::AccessDenied { key_id, what, why, from, count, since, through })
}

fn decode_acknowledgement(known: &KnownEvent, items: &mut Items<'_, '_>) -> Result<Event, DamageKind> {
    let KnownEvent::BillingAcknowledged { through, rejected } = known else {
        return Err(DamageKind::Facts);
    };
    let rejected = rejected.iter().map(|line| {
        let reason = items.only(|item| item.string(SectionKind::Reason))?;
        Ok(RejectedLine { seq: line.seq, meter: line.meter, reason })
    });
    Ok(Event::BillingAcknowledged { through: *through, rejected: rejected.collect::<Result<_, _>>()? })
}

/// The name and the parameters of a collection that the record creates.
fn decode_creation(
    facts: &RecordFacts,
    items: &mut Items<'_, '_>,
) -> Result<(CollectionName, StoredContent), DamageKind> {
    expect_known(&facts.event, &KnownEvent::CollectionCreated)?;
    let name = items.only(|item| {
        item.required(SectionKind::Name, |content| Box::<str>::from(utf8(content)?).try_into().ok())
    })?;
    let content = items.only(|item| item.postcard(SectionKind::Parameters))?;
    Ok((name, content))
}

fn decode_points<'a, P>(
    known: &KnownEvent,
    items: &mut Items<'a, '_>,
    decode: impl Fn(&mut Contents<'a>) -> Result<(P, PointSize), DamageKind>,
) -> Result<Vec<P>, DamageKind> {
    let KnownEvent::PointsWritten { points } = known else { return Err(DamageKind::Facts) };
    let point = |facts: &super::facts::PointFacts| {
        let mut item = items.next()?;
        let (point, size) = decode(&mut item)?;
        item.end()?;
        if size == facts.size { Ok(point) } else { Err(DamageKind::Facts) }
    };
    points.iter().map(point).collect()
}

fn expect_known(found: &KnownEvent, expected: &KnownEvent) -> Result<(), DamageKind> {
    if found == expected { Ok(()) } else { Err(DamageKind::Facts) }
}

/// The items that are not decoded yet.
struct Items<'a, 'items> {
    items: &'items [&'a [u8]],
    next: usize,
}

impl<'a> Items<'a, '_> {
    fn next(&mut self) -> Result<Contents<'a>, DamageKind> {
        let number = self.next;
        self.next += 1;
        Contents::of(number, self.items.get(number).ok_or(DamageKind::Facts)?)
    }

    /// Decodes the next item, which has nothing else than what `decode` takes.
    fn only<T>(
        &mut self,
        decode: impl FnOnce(&mut Contents<'a>) -> Result<T, DamageKind>,
    ) -> Result<T, DamageKind> {
        let mut item = self.next()?;
        let decoded = decode(&mut item)?;
        item.end()?;
        Ok(decoded)
    }
}

/// The contents of the sections of an item, by kind.
struct Contents<'a> {
    item: usize,
    found: [Option<&'a [u8]>; SectionKind::END],
    /// How many of them are not taken yet.
    left: usize,
}

impl<'a> Contents<'a> {
    fn of(item: usize, bytes: &'a [u8]) -> Result<Self, DamageKind> {
        let mut contents = Self { item, found: [None; SectionKind::END], left: 0 };
        for section in section::sections(bytes) {
            let section = section.map_err(|reason| DamageKind::Item { item, reason })?;
            let is_repeated = contents.found[section.kind as usize].replace(section.content).is_some();
            contents.left += 1;
            // No event has sections with names yet.
            if is_repeated || section.name.is_some() {
                return Err(contents.unexpected(section.kind as u8));
            }
        }
        Ok(contents)
    }

    fn unexpected(&self, found: u8) -> DamageKind {
        DamageKind::Item { item: self.item, reason: InvalidItem::UnexpectedSection { found } }
    }

    fn missing(&self, kind: SectionKind) -> DamageKind {
        DamageKind::Item { item: self.item, reason: InvalidItem::MissingSection { expected: kind as u8 } }
    }

    /// Takes the content of a section, if there is one; `decode` returns `None` if the content is not valid.
    fn optional<T>(
        &mut self,
        kind: SectionKind,
        decode: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Result<Option<T>, DamageKind> {
        let Some(content) = self.found[kind as usize].take() else { return Ok(None) };
        self.left -= 1;
        let invalid =
            DamageKind::Item { item: self.item, reason: InvalidItem::Content { section: kind as u8 } };
        decode(content).map(Some).ok_or(invalid)
    }

    fn required<T>(
        &mut self,
        kind: SectionKind,
        decode: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Result<T, DamageKind> {
        self.optional(kind, decode)?.ok_or_else(|| self.missing(kind))
    }

    fn optional_string(&mut self, kind: SectionKind) -> Result<Option<String>, DamageKind> {
        self.optional(kind, |content| utf8(content).map(str::to_owned))
    }

    fn string(&mut self, kind: SectionKind) -> Result<String, DamageKind> {
        self.required(kind, |content| utf8(content).map(str::to_owned))
    }

    fn postcard<T: Deserialize<'a>>(&mut self, kind: SectionKind) -> Result<T, DamageKind> {
        self.required(kind, |content| match postcard::take_from_bytes(content) {
            Ok((value, [])) => Some(value),
            Ok(_) | Err(_) => None,
        })
    }

    fn id(&mut self) -> Result<PointId, DamageKind> {
        self.required(SectionKind::PointId, |content| match content.split_first()? {
            (&TEXT_ID, text) => TextId::new(utf8(text)?).ok().map(PointId::Text),
            _ => None,
        })
    }

    fn vector(&mut self) -> Result<Option<Vector>, DamageKind> {
        self.optional(SectionKind::DenseF32, |content| {
            DenseVector::from_le_bytes(content).ok().map(Vector::Dense)
        })
    }

    fn payload(&mut self) -> Result<Option<Payload>, DamageKind> {
        self.optional(SectionKind::Payload, |content| Payload::restored(utf8(content)?))
    }

    fn text(&mut self) -> Result<Option<Text>, DamageKind> {
        self.optional(SectionKind::Text, |content| Text::new(utf8(content)?).ok())
    }

    fn path(&mut self) -> Result<PayloadPath, DamageKind> {
        self.required(SectionKind::Path, |content| Box::<str>::from(utf8(content)?).try_into().ok())
    }

    /// Ends the item, whose sections all have been taken.
    fn end(&self) -> Result<(), DamageKind> {
        if self.left == 0 {
            return Ok(());
        }
        let (found, _) = (0..).zip(&self.found).find(|(_, content)| content.is_some()).unwrap_or((0, &None));
        Err(self.unexpected(found))
    }
}

fn utf8(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content).ok()
}
