//! The answers of tools: JSON that is serialized once and then passed on without being parsed.

use rmcp::model::{CallToolResult, ContentBlock, ResultType};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::failure::Failure;

/// Serialized JSON.
pub(super) type Json = Box<RawValue>;

/// Serializes `value`.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Json, Failure> {
    to_raw_value(value).map_err(|error| Failure::internal(&error))
}

/// The answer of a tool as rmcp's result of a call.
pub(super) fn result(answer: &RawValue) -> Result<CallToolResult, Failure> {
    let structure = serde_json::from_str(answer.get()).map_err(|error| Failure::internal(&error))?;
    let mut result = CallToolResult::success(vec![ContentBlock::text(answer.get())]);
    result.structured_content = Some(structure);
    Ok(result)
}

/// The same result, which serializes without parsing the answer again.
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
