//! `list_collections`

use serde::Serialize;
use serde_json::json;
use vectorizer_wire::collections::CollectionAnswer;

use super::{Description, Effect, nullable};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call};
use crate::failure::Failure;
use crate::page::{AnswerBudget, Cursors};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

pub(super) fn describe() -> Description {
    Description {
        title: "List collections",
        text: "Lists the collections: whether their records have texts (searched by words), vectors (searched by meaning; with dimension and metric) or both, and how many records they have. Call this first.",
        effect: Effect::Reads,
        arguments: json!({
            "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT, "description": "The most collections to list."},
            "cursor": {"type": "string", "description": "next_cursor of the previous answer, to continue after it."}
        }),
        required: &[],
        answer: json!({
            "collections": {"type": "array", "description": "The collections, ordered by name.", "items": {"type": "object"}},
            "next_cursor": nullable("string", "The cursor for the next call; null if there is no more.")
        }),
    }
}

#[derive(Serialize)]
struct Answer {
    collections: Vec<Json>,
    next_cursor: Option<String>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let limit = arguments.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.finish()?;
    let reader = call.reader()?;
    let cursors = Cursors::of(reader.log_id(), "list_collections", &[]);
    let after = cursor.as_deref().map(|cursor| cursors.read(cursor)).transpose()?;
    let (mut listed, _) = call.service().list_collections(reader).await?;
    if let Some(after) = after {
        let first = listed.partition_point(|collection| collection.name.as_str().as_bytes() <= &*after);
        listed.drain(..first);
    }
    let (count, mut last) = (listed.len(), None);
    let (mut collections, mut budget) = (Vec::new(), AnswerBudget::new());
    for facts in listed.into_iter().take(limit) {
        let name = facts.name.clone();
        let collection = answer::json(&CollectionAnswer::from(facts))?;
        if !budget.take(&collection) {
            break;
        }
        collections.push(collection);
        last = Some(name);
    }
    let last = last.filter(|_| collections.len() < count);
    let next_cursor = last.map(|last| cursors.write(last.as_str().as_bytes()));
    answer::json(&Answer { collections, next_cursor })
}
