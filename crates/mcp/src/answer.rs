//! The answers of tools: JSON that is serialized once and then passed on without being parsed.

use rmcp::model::{CallToolResult, ContentBlock, ResultType};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::escaped;
use super::failure::Failure;

/// Serialized JSON.
pub(super) type Json = Box<RawValue>;

/// Serializes `value`.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Json, Failure> {
    to_raw_value(value).map_err(|error| Failure::internal(&error))
}

/// The bytes of the JSON.
pub(super) fn bytes(json: Json) -> Vec<u8> {
    String::from(Box::<str>::from(json)).into_bytes()
}

/// Serializes `value`, whose JSON has about `expected` bytes.
pub(super) fn json_bytes<T: Serialize>(value: &T, expected: usize) -> Result<Vec<u8>, Failure> {
    let mut json = Vec::with_capacity(expected);
    serde_json::to_writer(&mut json, value).map_err(|error| Failure::internal(&error))?;
    Ok(json)
}

/// The answer of a tool as rmcp's result of a call.
pub(super) fn result(answer: Vec<u8>) -> Result<CallToolResult, Failure> {
    let structure = serde_json::from_slice(&answer).map_err(|error| Failure::internal(&error))?;
    let text = String::from_utf8(answer).map_err(|error| Failure::internal(&error))?;
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(structure);
    Ok(result)
}

/// Appends the JSON of the same result, without parsing the answer again.
pub(super) fn write_result(
    answer: &[u8],
    result_type: Option<&ResultType>,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    out.push(b'{');
    if let Some(result_type) = result_type {
        out.extend_from_slice(b"\"resultType\":");
        serde_json::to_writer(&mut *out, result_type)?;
        out.push(b',');
    }
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":\"");
    escaped::write(answer, out);
    out.extend_from_slice(b"\"}],\"structuredContent\":");
    out.extend_from_slice(answer);
    out.extend_from_slice(b",\"isError\":false}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_serialized_as_rmcp_does_it() {
        for answer in [r#"{"a":"ü\n\"","b":[1.5,null]}"#, "{\"a\" :\n\t{}}"] {
            for result_type in [None, Some(ResultType::COMPLETE)] {
                let mut expected = result(answer.into()).unwrap();
                expected.result_type = result_type.clone();
                let mut written = Vec::new();
                write_result(answer.as_bytes(), result_type.as_ref(), &mut written).unwrap();
                let written = String::from_utf8(written).unwrap();
                // White space stays only in the answer that is not parsed.
                let compact: serde_json::Value = serde_json::from_str(answer).unwrap();
                let written = written.replace(
                    &format!("\"structuredContent\":{answer}"),
                    &format!("\"structuredContent\":{compact}"),
                );
                assert_eq!(written, serde_json::to_string(&expected).unwrap());
            }
        }
    }
}
