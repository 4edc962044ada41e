//! `search`

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call, collection_schema, filter_schema};
use crate::mcp::failure::Failure;
use crate::mcp::page::{fitting, read_place, write_cursor};

const USUAL: usize = 10;
const MOST: usize = 100;
/// How far a search goes, whatever cursor it has.
const DEPTH_MAX: usize = 1_000;

pub(super) fn describe() -> Description {
    Description {
        title: "Search",
        text: "Finds the records of one collection that match best: by text (words, ranked by BM25; and by meaning where the server makes embeddings), by a vector you have computed, or by both together; among those only that fulfil a filter, if there is one. Best first.",
        effect: Effect::Reads,
        arguments: json!({
            "collection": collection_schema(),
            "text": {"type": "string", "description": "Words to look for, if the collection has texts: any of them, the more and the rarer the better. No operators."},
            "vector": {"type": "array", "items": {"type": "number"}, "description": "What to be near to: as many numbers as the collection's dimension."},
            "rank_by": {"type": "string", "enum": ["text", "vector", "both"], "description": "What the ranking is made of; usually what is given."},
            "filter": filter_schema(),
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL, "description": "How many results at most."},
            "score_threshold": {"type": "number", "description": "The least score of a result; for vectors under euclidean, the largest distance."},
            "exact": {"type": "boolean", "default": false, "description": "Compare with every vector: slower, and sure to miss none."},
            "with_payload": {"type": "boolean", "default": true, "description": "Show payloads."},
            "with_text": {"type": "boolean", "default": true, "description": "Show texts."},
            "with_vector": {"type": "boolean", "default": false, "description": "Show the numbers too, which are many."},
            "cursor": {"type": "string", "description": "next_cursor of the answer before, with the same arguments, for the results behind it."}
        }),
        needed: &["collection"],
        answer: json!({
            "results": {
                "type": "array", "description": "Best first.",
                "items": {"type": "object", "properties": {"id": {"type": "string"}, "score": {"type": "number"}}}
            },
            "next_cursor": nullable("string", "Where the next call goes on; null if nothing else was found.")
        }),
    }
}

/// What the operation tells.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Serialize)]
struct Answer<'a> {
    results: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let path = arguments.collection()?;
    let limit = arguments.limit(USUAL, MOST)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    let skipped = read_place(cursor.as_deref())?;
    if skipped >= DEPTH_MAX {
        return Err(Failure::arguments(format!(
            "cursor: a search goes {DEPTH_MAX} results deep; narrow it down by a filter"
        )));
    }
    // One more than is shown, to know whether there are more.
    arguments.put("limit", &(skipped + limit + 1).min(DEPTH_MAX))?;
    let told = call.send(&format!("{path}/search"), &arguments.rest()).await?;
    let Found { mut results } = told.read()?;
    results.drain(..skipped.min(results.len()));
    let kept = fitting(&results).min(limit);
    let more = kept < results.len();
    results.truncate(kept);
    let next_cursor = more.then(|| write_cursor(&(skipped + kept).to_string()));
    answer::json(&Answer { results, next_cursor })
}
