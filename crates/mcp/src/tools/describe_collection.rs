//! `describe_collection`

use serde_json::json;
use vectorizer_wire::collections::CollectionAnswer;

use super::{Description, Effect, nullable};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, collection_schema};
use crate::failure::Failure;

pub(super) fn describe() -> Description {
    Description {
        title: "Describe a collection",
        text: "Describes a collection: whether its records have texts, vectors or both, the dimension and metric of its vectors, and the number and size of its records.",
        effect: Effect::Reads,
        arguments: json!({"collection": collection_schema()}),
        required: &["collection"],
        answer: json!({
            "name": {"type": "string"},
            "text": {"type": "boolean", "description": "Whether records may have texts, for full-text search."},
            "language": nullable("string", "The language of the texts; null if there is none, and a search finds words only in the form of the text."),
            "dimension": nullable("integer", "The number of elements of each vector; null if the collection has only texts."),
            "metric": nullable("string", "cosine, dot (higher scores are better) or euclidean (a distance: lower is better)."),
            "count": {"type": "integer", "description": "The number of records."},
            "bytes": {"type": "integer", "description": "The logical size of the records in bytes, which the storage quota limits."},
            "payload_index": {"type": "object", "description": "The payload index. paths: the number of indexed payload fields; declared: the number of declared ones; building: how many of those are still being indexed; left_out and left_out_first: the number of fields that are not indexed, and the first of them. Filters on those are slow."}
        }),
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    arguments.finish()?;
    let facts = call.service().describe_collection(call.reader()?, &name).await?;
    answer::json(&CollectionAnswer::from(facts))
}
