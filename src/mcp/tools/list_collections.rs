//! `list_collections`

use serde::Serialize;
use serde_json::json;

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call};
use crate::mcp::failure::Failure;
use crate::mcp::page::{Cursors, Room};
use crate::wire::collections::CollectionAnswer;

const USUAL: usize = 50;
const MOST: usize = 200;

pub(super) fn describe() -> Description {
    Description {
        title: "List collections",
        text: "Lists the collections there are, with what each is for: whether its records have texts (searched by words), vectors (searched by meaning; with dimension and metric) or both, and how many records it has. Call this first.",
        effect: Effect::Reads,
        arguments: json!({
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL, "description": "How many at most."},
            "cursor": {"type": "string", "description": "next_cursor of the answer before, to go on behind it."}
        }),
        needed: &[],
        answer: json!({
            "collections": {"type": "array", "description": "Ordered by name.", "items": {"type": "object"}},
            "next_cursor": nullable("string", "Where the next call goes on; null if this was all.")
        }),
    }
}

#[derive(Serialize)]
struct Answer {
    collections: Vec<Json>,
    next_cursor: Option<String>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let limit = arguments.limit(USUAL, MOST)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.end()?;
    let reader = call.reader()?;
    let cursors = Cursors::of(reader.log_id(), "list_collections", &[]);
    let after = cursor.as_deref().map(|cursor| cursors.read(cursor)).transpose()?;
    let (mut listed, _) = call.service().list_collections(reader).await?;
    if let Some(after) = after {
        let first = listed.partition_point(|collection| collection.name.as_str().as_bytes() <= &*after);
        listed.drain(..first);
    }
    let (count, mut last) = (listed.len(), None);
    let (mut collections, mut room) = (Vec::new(), Room::new());
    for facts in listed.into_iter().take(limit) {
        let name = facts.name.clone();
        let collection = answer::json(&CollectionAnswer::from(facts))?;
        if !room.take(&collection) {
            break;
        }
        collections.push(collection);
        last = Some(name);
    }
    let last = last.filter(|_| collections.len() < count);
    let next_cursor = last.map(|last| cursors.write(last.as_str().as_bytes()));
    answer::json(&Answer { collections, next_cursor })
}
