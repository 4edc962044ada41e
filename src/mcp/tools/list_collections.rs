//! `list_collections`

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call};
use crate::mcp::failure::Failure;
use crate::mcp::page::{Cursors, fitting};

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

/// What the operation tells.
#[derive(Deserialize)]
struct Listed<T> {
    collections: Vec<T>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    collections: &'a [&'a RawValue],
    next_cursor: Option<String>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let limit = arguments.limit(USUAL, MOST)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.end()?;
    let cursors = Cursors::of(call.log_id()?, "list_collections", &[]);
    let after = cursor.as_deref().map(|cursor| cursors.read(cursor)).transpose()?;
    let told = call.ask("/api/v1/collections").await?;
    let Listed::<&RawValue> { collections } = told.read()?;
    let Listed::<Named> { collections: named } = told.read()?;
    let first =
        after.map_or(0, |after| named.partition_point(|collection| collection.name.as_bytes() <= &*after));
    let next = first + fitting(&collections[first..]).min(limit);
    let last = named[..next].last().filter(|_| next < named.len());
    let next_cursor = last.map(|last| cursors.write(last.name.as_bytes()));
    answer::json(&Answer { collections: &collections[first..next], next_cursor })
}
