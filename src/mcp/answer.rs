//! What a tool answers: JSON that is passed on as it was written, by the operation itself wherever its answer is the
//! tool's too.

use rmcp::model::{CallToolResult, ContentBlock, ResultType};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::failure::Failure;

/// JSON as it is written.
pub(super) type Json = Box<RawValue>;

/// `value`, written down.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Json, Failure> {
    to_raw_value(value).map_err(|error| Failure::internal(&error))
}

/// What a tool has answered as rmcp's result of a call.
pub(super) fn result(answer: &RawValue) -> Result<CallToolResult, Failure> {
    let structure = serde_json::from_str(answer.get()).map_err(|error| Failure::internal(&error))?;
    let mut result = CallToolResult::success(vec![ContentBlock::text(answer.get())]);
    result.structured_content = Some(structure);
    Ok(result)
}

/// The same result, of which nothing is read again to be written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Success<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<ResultType>,
    content: [Content<'a>; 1],
    structured_content: &'a RawValue,
    is_error: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Content<'a> {
    Text { text: &'a str },
}

impl<'a> Success<'a> {
    pub(super) fn of(answer: &'a RawValue, result_type: Option<ResultType>) -> Self {
        let content = [Content::Text { text: answer.get() }];
        Self { result_type, content, structured_content: answer, is_error: false }
    }
}
