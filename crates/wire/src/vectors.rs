//! The JSON of vectors.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use vectorizer_engine::tenancy::{Committed, MergePatch};
use vectorizer_index::StoredPoint;
use vectorizer_json::{AtMost, Limit, Unreadable};
use vectorizer_log::{Document, Payload, PointId, Text};
use vectorizer_service::{Error, Selection, Show, VECTORS_MAX, too_many_vectors};

use super::read::{read_body, refused};
use super::schema;
use super::values::{VectorInput, expect_plain, filter, given, payload};

/// The limit on the vectors or ids of a request.
#[derive(Debug)]
pub struct WriteLimit;

impl Limit for WriteLimit {
    const MAX: usize = VECTORS_MAX;
    const CODE: &'static str = "write-too-large";

    fn refuse(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it holds more than {VECTORS_MAX}, the most of one request; send several requests")
    }
}

/// Vectors to upsert.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Upsert {
    /// The vectors, 1 to 100,000, with distinct ids.
    #[schema(value_type = Vec<PointInput>, min_items = 1, max_items = 100_000)]
    vectors: AtMost<PointInput, WriteLimit>,
}

/// A vector to upsert.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PointInput {
    /// The id: 1 to 256 bytes without control characters.
    #[schema(value_type = schema::VectorId)]
    id: String,
    /// The vector: numbers, or base64 of little-endian f32. A collection with a dimension requires it, unless the
    /// server makes embeddings of texts. A collection without a dimension does not allow it.
    #[schema(value_type = Option<schema::Vector>, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    vector: Option<VectorInput>,
    /// The text, 1 byte to 64 KiB, for full-text search. Only a collection with texts allows it, and one without a
    /// dimension requires it.
    #[schema(nullable = false, min_length = 1, max_length = 65536)]
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    /// The payload: a JSON object of up to 64 KiB.
    #[schema(value_type = Option<schema::Payload>)]
    payload: Option<Box<RawValue>>,
}

impl PointInput {
    fn into_document(self, depth_max: usize) -> Result<Document, Error> {
        let id = PointId::text(self.id)?;
        let of = |error: Error| error.at(format_args!("vector {:?}", id.as_str()));
        let vector = self.vector.map(VectorInput::into_vector).transpose().map_err(of)?;
        let payload = payload(self.payload, depth_max).map_err(of)?;
        let text = self.text.map(Text::new).transpose().map_err(|invalid| of(invalid.into()))?;
        Ok(Document { id, vector, payload, text })
    }
}

/// Vectors were upserted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Upserted {
    /// The seq of the record.
    seq: u64,
    /// The number of vectors that were inserted or replaced.
    upserted: u64,
}

/// Vectors were deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// The seq of the record; the last record of the log if no vector existed.
    seq: u64,
    /// The number of vectors that existed and were deleted.
    deleted: u64,
}

/// A payload was changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayloadChanged {
    /// The seq of the record.
    seq: u64,
}

/// A vector.
#[derive(Debug, Serialize, ToSchema)]
pub struct PointAnswer<'a> {
    /// Its id.
    #[schema(value_type = schema::VectorId)]
    pub id: &'a str,
    /// Its payload, if it has one and the request includes payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Payload>, nullable = false)]
    pub payload: Option<&'a RawValue>,
    /// Its text as it was written, if it has one and the request includes texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub text: Option<&'a str>,
    /// Its vector, bit for bit as it was written, if it has one and the request includes vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub vector: Option<&'a [f32]>,
}

impl<'a> PointAnswer<'a> {
    /// What the answer shows of this point.
    pub fn of(point: &'a StoredPoint, show: Show) -> Self {
        Self {
            id: point.id(),
            payload: point.payload().filter(|_| show.payload).and_then(raw),
            text: point.text().filter(|_| show.text).map(Text::as_str),
            vector: Some(point.vector()).filter(|vector| show.vector && !vector.is_empty()),
        }
    }
}

fn raw(payload: &Payload) -> Option<&RawValue> {
    serde_json::from_str(payload.as_str()).ok()
}

/// A page of vectors, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<'a> {
    /// The vectors.
    vectors: Vec<PointAnswer<'a>>,
    /// The cursor of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// Which vectors to delete: `ids`, `filter` or `all`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSelection {
    /// Delete the vectors with these ids, up to 100,000. Missing ones are ignored.
    #[schema(value_type = Option<Vec<schema::VectorId>>, max_items = 100_000)]
    ids: Option<AtMost<String, WriteLimit>>,
    /// Delete the vectors that match this filter, which must have a condition.
    #[schema(value_type = Option<schema::Filter>)]
    filter: Option<Box<RawValue>>,
    /// If true, delete every vector of the collection.
    all: Option<bool>,
}

impl<'a> Page<'a> {
    /// The answer with this page.
    pub fn of(page: &'a vectorizer_service::Page, show: Show) -> Self {
        let last = page.points.last().filter(|_| page.has_more);
        Self {
            vectors: page.points.iter().map(|point| PointAnswer::of(point, show)).collect(),
            next_cursor: last.map(|point| write_cursor(point.id())),
        }
    }
}

impl Upserted {
    /// The answer to this write.
    pub fn of(committed: &Committed) -> Self {
        Self { seq: committed.seq.get(), upserted: committed.outcome.vectors() }
    }
}

impl Deleted {
    /// The answer to this write.
    pub fn of(committed: &Committed) -> Self {
        Self { seq: committed.seq.get(), deleted: committed.outcome.vectors() }
    }
}

impl PayloadChanged {
    /// The answer to this write.
    pub fn of(committed: &Committed) -> Self {
        Self { seq: committed.seq.get() }
    }
}

impl DeleteSelection {
    /// The selection, if exactly one of the fields is given.
    pub fn into_selection(self, depth_max: usize) -> Result<Selection, Error> {
        let Self { ids, filter: selection, all } = self;
        match (ids, filter(selection.as_deref(), depth_max)?, all.unwrap_or(false)) {
            (Some(ids), None, false) => {
                let id = |(number, id): (usize, String)| {
                    PointId::text(id)
                        .map_err(|invalid| Error::from(invalid).at(format_args!("ids[{number}]")))
                };
                let ids = ids.elements.into_iter().enumerate().map(id);
                Ok(Selection::Ids(ids.collect::<Result<_, _>>()?))
            }
            (None, Some(filter), false) => Ok(Selection::Matching(filter)),
            (None, None, true) => Ok(Selection::All),
            (Some(_), _, _) | (_, Some(_), _) | (None, None, false) => {
                let detail = "give either ids or filter, or `\"all\": true` to delete every vector";
                Err(Error::invalid("invalid-selection", detail))
            }
        }
    }
}

/// Parses a JSON merge patch.
pub fn merge_patch(bytes: &[u8], depth_max: usize) -> Result<MergePatch, Error> {
    let patch: Box<RawValue> = read_body(bytes)?;
    expect_plain(&patch, depth_max)?;
    Ok(MergePatch::new(&patch)?)
}

/// Parses the vectors of an upsert.
pub fn parse_batch(bytes: &[u8], depth_max: usize) -> Result<Vec<Document>, Error> {
    let Upsert { vectors } = read_body(bytes)?;
    let point = |(number, point): (usize, PointInput)| {
        point.into_document(depth_max).map_err(|error| error.at(format_args!("vectors[{number}]")))
    };
    vectors.elements.into_iter().enumerate().map(point).collect()
}

/// Parses NDJSON: one vector on each line.
pub fn parse_lines(bytes: &[u8], depth_max: usize) -> Result<Vec<Document>, Error> {
    let mut points = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if points.len() == VECTORS_MAX {
            return Err(too_many_vectors(&format!("line {number}")));
        }
        let parse = || parse_line(line)?.into_document(depth_max);
        points.push(parse().map_err(|error| error.at(format_args!("line {number}")))?);
    }
    Ok(points)
}

fn parse_line(line: &[u8]) -> Result<PointInput, Error> {
    vectorizer_json::read(line)
        .map_err(|unreadable| match unreadable {
            // The caller adds the number of the line.
            Unreadable::NotJson(why) => {
                Unreadable::NotJson(why.replace(", at line 1, column", ", at column"))
            }
            Unreadable::Wrong(wrong) => Unreadable::Wrong(wrong),
        })
        .map_err(|unreadable| refused(&unreadable))
}

/// A cursor is the last id of its page. It is a position in the order of ids, so writes do not invalidate it. It has no
/// meaning for another tenant.
pub fn write_cursor(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

/// The id after which the page of a cursor begins.
pub fn read_cursor(cursor: &str) -> Result<PointId, Error> {
    let invalid =
        || Error::invalid("invalid-cursor", format!("cursor {cursor:?} was not issued by this server"));
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
    let id = String::from_utf8(bytes).map_err(|_| invalid())?;
    PointId::text(id).map_err(|_| invalid())
}
