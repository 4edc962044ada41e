//! `recent_log`

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call};
use crate::mcp::failure::Failure;
use crate::mcp::page::{fitting, read_place, write_cursor};

const USUAL: usize = 20;
const MOST: usize = 100;

pub(super) fn describe() -> Description {
    Description {
        title: "Recent audit log",
        text: "Shows the last records of the tenant's audit log, newest first: what was done, when, with which key, in which request. Vectors and payloads are left out.",
        effect: Effect::Reads,
        arguments: json!({
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL, "description": "How many at most."},
            "cursor": {"type": "string", "description": "next_cursor of the answer before, for older records."}
        }),
        needed: &[],
        answer: json!({
            "records": {"type": "array", "items": {"type": "object"}, "description": "Newest first: seq, at, actor, event."},
            "next_cursor": nullable("string", "Where the next call goes on with older ones; null if there are none.")
        }),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    records: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let limit = arguments.limit(USUAL, MOST)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.end()?;
    let last = match cursor {
        Some(_) => read_place(cursor.as_deref())?,
        None => call.log_end()?,
    };
    if last == 0 {
        return answer::json(&Answer { records: Vec::new(), next_cursor: None });
    }
    let first = last.saturating_sub(limit - 1).max(1);
    let path = format!("/api/v1/log?from={first}&to={last}&limit={limit}&with_payload=false");
    let told = call.ask(&path).await?;
    let mut records = told.lines()?;
    records.reverse();
    let kept = fitting(&records);
    records.truncate(kept);
    let oldest = last.saturating_sub(kept);
    let next_cursor = (kept > 0 && oldest > 0).then(|| write_cursor(&oldest.to_string()));
    answer::json(&Answer { records, next_cursor })
}
