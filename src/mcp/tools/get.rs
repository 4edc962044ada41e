//! `get`

use serde::Serialize;
use serde_json::json;

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call, collection_schema, encoded};
use crate::mcp::failure::Failure;
use crate::mcp::page::{Room, read_place, write_cursor};

const IDS_MAX: usize = 100;

pub(super) fn describe() -> Description {
    Description {
        title: "Get records by id",
        text: "Shows records whose ids you know, in the order in which you name them. Ids that no record has are listed in missing. To find records by what they say, use search.",
        effect: Effect::Reads,
        arguments: json!({
            "collection": collection_schema(),
            "ids": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": IDS_MAX, "description": "The records' ids."},
            "with_vector": {"type": "boolean", "default": false, "description": "Show the numbers too, which are many."},
            "cursor": {"type": "string", "description": "next_cursor of the answer before, with the same ids, to go on behind it."}
        }),
        needed: &["collection", "ids"],
        answer: json!({
            "records": {"type": "array", "items": {"type": "object"}, "description": "id, text, payload and, if asked for, vector."},
            "missing": {"type": "array", "items": {"type": "string"}, "description": "Ids that no record has, as far as this answer goes."},
            "next_cursor": nullable("string", "Where the next call goes on; null if this was all.")
        }),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    records: Vec<Json>,
    missing: Vec<&'a String>,
    next_cursor: Option<String>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let path = arguments.collection()?;
    let ids: Vec<String> = arguments.need("ids")?;
    let with_vector = arguments.take::<bool>("with_vector")?.unwrap_or(false);
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.end()?;
    if !(1..=IDS_MAX).contains(&ids.len()) {
        return Err(Failure::arguments(format!("ids: there are {}, it takes 1 to {IDS_MAX}", ids.len())));
    }
    let first = read_place(cursor.as_deref())?.min(ids.len());
    let (mut records, mut missing, mut room) = (Vec::<Json>::new(), Vec::new(), Room::new());
    let mut next = first;
    for id in &ids[first..] {
        let asked = call.ask(&format!("{path}/vectors/{}?with_vector={with_vector}", encoded(id)?)).await;
        match asked.and_then(|told| told.json()) {
            Ok(record) if room.take(&record) => records.push(record),
            Ok(_) => break,
            Err(failure) if failure.is("no-such-vector") => missing.push(id),
            Err(failure) => return Err(failure),
        }
        next += 1;
    }
    let next_cursor = (next < ids.len()).then(|| write_cursor(&next.to_string()));
    answer::json(&Answer { records, missing, next_cursor })
}
