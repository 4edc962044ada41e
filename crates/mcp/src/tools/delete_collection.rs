//! `delete_collection`

use serde_json::json;
use vectorizer_service::Conditions;

use super::{Description, Effect};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, collection_schema};
use crate::failure::Failure;

pub(super) fn describe() -> Description {
    Description {
        title: "Delete a collection",
        text: "Deletes a collection with all its records. This cannot be undone, so make sure that the user wants it. To delete only some records, use delete.",
        effect: Effect::Replaces,
        arguments: json!({"collection": collection_schema()}),
        required: &["collection"],
        answer: json!({
            "seq": {"type": "integer", "description": "The number of the write's record in the audit log."},
            "records_deleted": {"type": "integer", "description": "The number of records that were deleted with it."}
        }),
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    arguments.finish()?;
    let (service, nothing) = (call.service(), call.session().nothing());
    let committed =
        service.delete_collection(call.administrator()?, name, nothing, Conditions::default()).await?;
    answer::json(&json!({"seq": committed.seq.get(), "records_deleted": committed.outcome.vectors()}))
}
