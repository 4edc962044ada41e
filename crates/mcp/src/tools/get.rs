//! `get`

use std::fmt;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use vectorizer_json::{AtMost, Limit};
use vectorizer_log::PointId;
use vectorizer_service::{Error, Show};
use vectorizer_wire::vectors::PointAnswer;

use super::{Description, Effect, nullable};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, collection_schema};
use crate::failure::Failure;
use crate::page::{AnswerBudget, Cursors, is_oversized};

const IDS_MAX: usize = 100;
/// The bytes of each part of a record that is larger than an answer.
const PART_BYTES: usize = 24 * 1024;

pub(super) fn describe() -> Description {
    Description {
        title: "Get records by id",
        text: "Returns records by their ids, in the order of the ids. Ids without a record are listed in missing. A record that is larger than an answer is returned in parts. To find records by their content, use search.",
        effect: Effect::Reads,
        arguments: json!({
            "collection": collection_schema(),
            "ids": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": IDS_MAX, "description": "The ids of the records."},
            "with_payload": {"type": "boolean", "default": true, "description": "Include payloads."},
            "with_text": {"type": "boolean", "default": true, "description": "Include texts."},
            "with_vector": {"type": "boolean", "default": false, "description": "Include vectors, which have many numbers."},
            "cursor": {"type": "string", "description": "next_cursor of the previous answer, with the same arguments, to continue after it."}
        }),
        required: &["collection", "ids"],
        answer: json!({
            "records": {"type": "array", "items": {"type": "object"}, "description": "id, payload, text and, with with_vector, vector. For a record that is larger than an answer: id, part (a part of its JSON), from (the offset of the part, in bytes) and bytes (the size of the whole JSON). next_cursor continues with the next part."},
            "missing": {"type": "array", "items": {"type": "string"}, "description": "The ids without a record, among those that this answer covers."},
            "next_cursor": nullable("string", "The cursor for the next call; null if there is no more.")
        }),
    }
}

/// The limit on the ids of a call.
struct IdLimit;

impl Limit for IdLimit {
    const MAX: usize = IDS_MAX;
    const CODE: &'static str = "invalid-argument";

    fn refuse(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are more than {IDS_MAX}, the most of one call")
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    records: Vec<Json>,
    missing: Vec<&'a String>,
    next_cursor: Option<String>,
}

/// The start of an answer: the id's number, the offset within its record, and the record's hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    number: usize,
    from: usize,
    hash: [u8; 8],
}

impl Position {
    fn bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&(self.number as u64).to_le_bytes());
        bytes[8..16].copy_from_slice(&(self.from as u64).to_le_bytes());
        bytes[16..].copy_from_slice(&self.hash);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
        let (ids, rest) = bytes.split_first_chunk()?;
        let (from, hash) = rest.split_first_chunk()?;
        Some(Self { number: number(ids)?, from: number(from)?, hash: hash.try_into().ok()? })
    }
}

/// A part of a record.
#[derive(Serialize)]
struct Piece<'a> {
    id: &'a str,
    part: &'a str,
    from: usize,
    bytes: usize,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    let AtMost::<String, IdLimit> { elements: ids, .. } = arguments.require("ids")?;
    let show = Show::with_defaults(
        arguments.take("with_payload")?,
        arguments.take("with_text")?,
        arguments.take("with_vector")?,
    );
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.finish()?;
    if ids.is_empty() {
        return Err(Failure::arguments(format!("ids: the list is empty, it must have 1 to {IDS_MAX}")));
    }
    let Show { payload, text, vector } = show;
    let shown = format!("with_payload={payload}&with_text={text}&with_vector={vector}");
    let query: Vec<&[u8]> = [name.as_str().as_bytes(), shown.as_bytes()]
        .into_iter()
        .chain(ids.iter().map(String::as_bytes))
        .collect();
    let reader = call.reader()?;
    let cursors = Cursors::of(reader.log_id(), "get", &query);
    let position = match cursor {
        Some(cursor) => Position::read(&cursors.read(&cursor)?).ok_or_else(Failure::cursor)?,
        None => Position::default(),
    };
    let (mut records, mut missing, mut budget) = (Vec::<Json>::new(), Vec::new(), AnswerBudget::new());
    let mut next = Position { number: position.number.min(ids.len()), ..Position::default() };
    let left = &ids[next.number..];
    let points = left.iter().map(|id| point_id(id)).collect::<Result<Vec<_>, _>>()?;
    let (_, points) = call.service().get_vectors(reader, &name, &points).await?;
    for (id, point) in left.iter().zip(points) {
        let is_continued = next.number == position.number && position.from > 0;
        match point.map(|point| answer::json(&PointAnswer::of(&point, show))).transpose()? {
            // The record was deleted, or has changed since its first part.
            None if is_continued => return Err(Failure::record_changed(id)),
            Some(record) if is_continued && position.hash != hash(&record) => {
                return Err(Failure::record_changed(id));
            }
            None => missing.push(id),
            Some(record) if is_oversized(&record) => {
                if records.is_empty() {
                    let from = if next.number == position.number { position.from } else { 0 };
                    let (part, end) = part(id, &record, from)?;
                    records.push(part);
                    next = match end {
                        Some(from) => Position { from, hash: hash(&record), ..next },
                        None => Position { number: next.number + 1, ..Position::default() },
                    };
                }
                break;
            }
            Some(record) if budget.take(&record) => records.push(record),
            Some(_) => break,
        }
        next.number += 1;
    }
    let next_cursor = (next.number < ids.len()).then(|| cursors.write(&next.bytes()));
    answer::json(&Answer { records, missing, next_cursor })
}

fn point_id(id: &str) -> Result<PointId, Failure> {
    if id.is_empty() {
        return Err(Failure::arguments("ids: it must not be empty"));
    }
    Ok(PointId::text(id).map_err(Error::from)?)
}

/// The part of a record's JSON that begins at an offset, and the offset of the next part, if there is one.
fn part(id: &str, record: &RawValue, from: usize) -> Result<(Json, Option<usize>), Failure> {
    let json = record.get();
    let from = json.floor_char_boundary(from);
    let end = json.floor_char_boundary(from.saturating_add(PART_BYTES));
    let part = Piece { id, part: &json[from..end], from, bytes: json.len() };
    Ok((answer::json(&part)?, (end < json.len()).then_some(end)))
}

fn hash(record: &RawValue) -> [u8; 8] {
    blake3::hash(record.get().as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default()
}
