//! `upsert`

use serde::Serialize;
use serde_json::{Value, json};

use super::{Description, Effect};
use crate::mcp::answer::Json;
use crate::mcp::call::{Arguments, Call, collection_schema, idempotency_schema};
use crate::mcp::failure::Failure;

const RECORDS_MAX: usize = 1_000;

pub(super) fn describe() -> Description {
    Description {
        title: "Write records",
        text: "Writes records into a collection: new ones, or in place of those with the same id, whole. Either all are written or none. When the call returns, they are stored for good and found by the next search.",
        effect: Effect::Replaces,
        arguments: json!({
            "collection": collection_schema(),
            "records": {
                "type": "array", "minItems": 1, "maxItems": RECORDS_MAX,
                "description": "With distinct ids.",
                "items": {
                    "type": "object", "additionalProperties": false, "required": ["id"],
                    "properties": {
                        "id": {"type": "string", "minLength": 1, "maxLength": 256, "description": "What you know it by."},
                        "text": {"type": "string", "description": "Up to 64 KiB, if the collection has texts."},
                        "vector": {"type": "array", "items": {"type": "number"}, "description": "As many numbers as the collection's dimension. May be left out where the server makes embeddings of texts."},
                        "payload": {"type": "object", "description": "Any fields of your own, up to 64 KiB of JSON. Searches can filter by them, and show them."}
                    }
                }
            },
            "idempotency_key": idempotency_schema()
        }),
        needed: &["collection", "records"],
        answer: json!({
            "seq": {"type": "integer", "description": "The place in the audit log of what was done."},
            "upserted": {"type": "integer", "description": "How many records were written."}
        }),
    }
}

#[derive(Serialize)]
struct Body {
    vectors: Vec<Value>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let path = arguments.path()?;
    let key = arguments.idempotency()?;
    let records: Vec<Value> = arguments.need("records")?;
    arguments.end()?;
    if records.len() > RECORDS_MAX {
        let detail = format!("records: there are {}, one call writes at most {RECORDS_MAX}", records.len());
        return Err(Failure::arguments(detail));
    }
    let body = Body { vectors: records };
    let written = call.write(&format!("{path}/vectors"), key.as_deref(), &body).await;
    written.map_err(|failure| failure.renamed("vectors", "records"))?.json()
}
