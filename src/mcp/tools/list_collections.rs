//! `list_collections`

use serde_json::{Value, json};

use super::{Description, Effect, nullable};
use crate::mcp::call::{Arguments, Call, list};
use crate::mcp::failure::Failure;
use crate::mcp::page::{fitting, read_cursor, write_cursor};

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

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Value, Failure> {
    let limit = arguments.limit(USUAL, MOST)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.end()?;
    let after = cursor.as_deref().map(read_cursor).transpose()?;
    let mut answer = call.ask("/api/v1/collections").await?;
    let mut collections = list(&mut answer, "collections");
    if let Some(after) = after {
        collections.retain(|collection| collection["name"].as_str() > Some(after.as_str()));
    }
    let kept = fitting(&collections).min(limit);
    let more = kept < collections.len();
    collections.truncate(kept);
    let last = collections.last().and_then(|last| last["name"].as_str()).filter(|_| more);
    let next_cursor = last.map(write_cursor);
    Ok(json!({"collections": collections, "next_cursor": next_cursor}))
}
