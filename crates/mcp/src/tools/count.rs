//! `count`

use serde_json::json;
use vectorizer_wire::read::read_body;
use vectorizer_wire::search::{CountAnswer, CountInput};

use super::{Description, Effect};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, collection_schema, filter_schema};
use crate::failure::Failure;

pub(super) fn describe() -> Description {
    Description {
        title: "Count records",
        text: "Counts the records of a collection: all of them, or those that match a filter.",
        effect: Effect::Reads,
        arguments: json!({"collection": collection_schema(), "filter": filter_schema()}),
        required: &["collection"],
        answer: json!({"count": {"type": "integer", "description": "The number of records."}}),
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    let depth_max = call.service().limits().json_depth_max;
    let read = move |sent: &[u8]| read_body::<CountInput>(sent)?.into_filter(depth_max);
    let input = call.session().input(answer::json_bytes(&arguments.remaining(), 0)?, read);
    let count = call.service().count(call.reader()?, &name, input).await?;
    answer::json(&CountAnswer::of(count))
}
