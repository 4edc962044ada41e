//! `delete`

use serde_json::json;
use vectorizer_wire::read::read_body;
use vectorizer_wire::vectors::{DeleteSelection, Deleted};

use super::{Description, Effect};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, collection_schema, filter_schema, idempotency_schema};
use crate::failure::Failure;

pub(super) fn describe() -> Description {
    Description {
        title: "Delete records",
        text: "Deletes records by their ids, records that match a filter, or all records: give one of ids, filter and all. Missing ids are ignored. This cannot be undone. To learn how many records a filter would delete, call count with it first.",
        effect: Effect::Replaces,
        arguments: json!({
            "collection": collection_schema(),
            "ids": {"type": "array", "items": {"type": "string"}, "description": "The ids of the records to delete."},
            "filter": filter_schema(),
            "all": {"type": "boolean", "default": false, "description": "Delete every record of the collection. A filter without a condition is rejected."},
            "idempotency_key": idempotency_schema()
        }),
        required: &["collection"],
        answer: json!({
            "seq": {"type": "integer", "description": "The number of the write's record in the audit log."},
            "deleted": {"type": "integer", "description": "The number of records that existed and were deleted."}
        }),
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    let key = arguments.idempotency()?;
    let depth_max = call.service().limits().json_depth_max;
    let read = move |sent: &[u8]| read_body::<DeleteSelection>(sent)?.into_selection(depth_max);
    let request = ("POST", format!("/api/v1/collections/{name}/vectors/delete"));
    let (input, conditions) = call.write(key, request, &arguments.remaining(), read).await?;
    let committed = call.service().delete_vectors(call.writer()?, name, input, conditions).await?;
    answer::json(&Deleted::of(&committed))
}
