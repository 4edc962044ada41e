//! `count`

use serde_json::json;

use super::{Description, Effect};
use crate::mcp::answer::Json;
use crate::mcp::call::{Arguments, Call, collection_schema, filter_schema};
use crate::mcp::failure::Failure;

pub(super) fn describe() -> Description {
    Description {
        title: "Count records",
        text: "Counts the records of a collection, all of them or those that fulfil a filter.",
        effect: Effect::Reads,
        arguments: json!({"collection": collection_schema(), "filter": filter_schema()}),
        needed: &["collection"],
        answer: json!({"count": {"type": "integer", "description": "How many there are."}}),
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let path = arguments.path()?;
    call.send(&format!("{path}/count"), &arguments.rest()).await?.json()
}
