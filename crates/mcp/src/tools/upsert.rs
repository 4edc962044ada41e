//! `upsert`

use std::fmt;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use vectorizer_json::{AtMost, Limit};
use vectorizer_wire::vectors::{Upserted, parse_batch};

use super::{Description, Effect};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, collection_schema, idempotency_schema, read};
use crate::failure::Failure;

const RECORDS_MAX: usize = 1_000;

pub(super) fn describe() -> Description {
    Description {
        title: "Write records",
        text: "Inserts records into a collection, or replaces those with the same id as a whole. Either all are written or none. When the call returns, they are durable and the next search finds them.",
        effect: Effect::Replaces,
        arguments: json!({
            "collection": collection_schema(),
            "records": {
                "type": "array", "minItems": 1, "maxItems": RECORDS_MAX,
                "description": "The records, with distinct ids.",
                "items": {
                    "type": "object", "additionalProperties": false, "required": ["id"],
                    "properties": {
                        "id": {"type": "string", "minLength": 1, "maxLength": 256, "description": "The id of the record."},
                        "text": {"type": "string", "description": "The text, up to 64 KiB, if the collection has texts."},
                        "vector": {"type": "array", "items": {"type": "number"}, "description": "The vector, with as many numbers as the collection's dimension. Optional if the server makes embeddings of texts."},
                        "payload": {"type": "object", "description": "Any fields, up to 64 KiB of JSON. Searches can filter by them and return them."}
                    }
                }
            },
            "idempotency_key": idempotency_schema()
        }),
        required: &["collection", "records"],
        answer: json!({
            "seq": {"type": "integer", "description": "The number of the write's record in the audit log."},
            "upserted": {"type": "integer", "description": "The number of records that were written."}
        }),
    }
}

#[derive(Serialize)]
struct Body {
    vectors: Box<RawValue>,
}

/// The limit on the records of a call.
struct RecordLimit;

impl Limit for RecordLimit {
    const MAX: usize = RECORDS_MAX;
    const CODE: &'static str = "invalid-argument";

    fn refuse(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are more than {RECORDS_MAX}, the most of one call")
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let renamed = |failure: Failure| failure.renamed("vectors", "records");
    let name = arguments.collection()?;
    let key = arguments.idempotency()?;
    let records = arguments.require_raw("records")?;
    arguments.finish()?;
    let bytes = records.get().len();
    let counted = move || {
        let AtMost { .. }: AtMost<&RawValue, RecordLimit> = read("records", &records)?;
        Ok::<_, Failure>(records)
    };
    let vectors = call.session().work(bytes, counted).await?;
    let depth_max = call.service().limits().json_depth_max;
    let request = ("PUT", format!("/api/v1/collections/{name}/vectors"));
    let read = move |sent: &[u8]| parse_batch(sent, depth_max);
    let (input, conditions) = call.write(key, request, &Body { vectors }, read).await?;
    let written = call.service().upsert_vectors(call.writer()?, name, input, conditions).await;
    answer::json(&Upserted::of(&written.map_err(|error| renamed(error.into()))?))
}
