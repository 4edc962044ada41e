//! `describe_collection`

use serde_json::json;

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call, collection_schema};
use crate::mcp::failure::Failure;
use crate::wire::collections::CollectionAnswer;

pub(super) fn describe() -> Description {
    Description {
        title: "Describe a collection",
        text: "Shows one collection: whether its records have texts, vectors or both, the dimension and metric of the vectors, how many records there are and how many bytes they have.",
        effect: Effect::Reads,
        arguments: json!({"collection": collection_schema()}),
        needed: &["collection"],
        answer: json!({
            "name": {"type": "string"},
            "text": {"type": "boolean", "description": "Whether records may have texts, and are searched by them."},
            "language": nullable("string", "The language whose forms of words texts are found by; null if words are found as they are written."),
            "dimension": nullable("integer", "How many numbers each vector has; null if there are texts only."),
            "metric": nullable("string", "cosine, dot (higher scores are better) or euclidean (a distance: lower is better)."),
            "count": {"type": "integer", "description": "How many records it has."},
            "bytes": {"type": "integer", "description": "Their logical size, which storage quotas count."},
            "payload_index": {"type": "object", "description": "How filters are answered. paths: how many payload fields are indexed; declared: how many an administrator has declared; building: how many of those are still being indexed; left_out and left_out_first: how many others are not, and the first of them, on which filters are slow."}
        }),
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    arguments.end()?;
    let facts = call.service().describe_collection(call.reader()?, &name).await?;
    answer::json(&CollectionAnswer::from(facts))
}
