//! `recent_log`

use std::pin::pin;

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use vectorizer_log::{ExportDetail, ExportRange, Seq};
use vectorizer_service::LogRequest;

use super::{Description, Effect, nullable};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call};
use crate::failure::Failure;
use crate::page::{AnswerBudget, Cursors, is_oversized};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;

pub(super) fn describe() -> Description {
    Description {
        title: "Recent audit log",
        text: "Returns the last records of the tenant's audit log, newest first: what was done, when, with which key, in which request. They have no vectors and payloads.",
        effect: Effect::Reads,
        arguments: json!({
            "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT, "description": "The most records to return."},
            "cursor": {"type": "string", "description": "next_cursor of the previous answer, for older records."}
        }),
        required: &[],
        answer: json!({
            "records": {"type": "array", "items": {"type": "object"}, "description": "The records, newest first: seq, at, actor, event. A record that is larger than an answer is shortened and has the field cut, which says how to get all of it."},
            "next_cursor": nullable("string", "The cursor for older records; null if there are none.")
        }),
    }
}

#[derive(Serialize)]
struct Answer {
    records: Vec<Json>,
    next_cursor: Option<String>,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let limit = arguments.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    arguments.finish()?;
    let administrator = call.administrator()?;
    let cursors = Cursors::of(administrator.log_id(), "recent_log", &[]);
    let last = match cursor {
        Some(cursor) => cursors.read_number(&cursor)?,
        None => call.service().log_head(administrator).0.seq.get(),
    };
    if last == 0 {
        return answer::json(&Answer { records: Vec::new(), next_cursor: None });
    }
    let first = last.saturating_sub(limit as u64 - 1).max(1);
    let request = LogRequest {
        range: ExportRange {
            from: Some(Seq::new(first)),
            to: Some(Seq::new(last)),
            ..ExportRange::default()
        },
        limit: Some(limit as u64),
        detail: ExportDetail { payload: false, ..ExportDetail::default() },
        ..LogRequest::default()
    };
    let readmission = call.session().readmission().clone();
    let mut stream = pin!(call.service().read_log(administrator, request, readmission).await?);
    let mut lines = Vec::new();
    while let Some(slice) = stream.next().await {
        lines.extend_from_slice(&slice.map_err(|broken| Failure::internal(&broken))?);
    }
    let (mut records, mut budget) = (Vec::new(), AnswerBudget::new());
    for line in lines.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
        let line: &RawValue = serde_json::from_slice(line).map_err(|error| Failure::internal(&error))?;
        let record = shortened(line)?;
        if !budget.take(&record) {
            break;
        }
        records.push(record);
    }
    let oldest = last.saturating_sub(records.len() as u64);
    let next_cursor = (!records.is_empty() && oldest > 0).then(|| cursors.write_number(oldest));
    answer::json(&Answer { records, next_cursor })
}

/// Shortens a record that is larger than an answer: it keeps only the type of its event.
fn shortened(record: &RawValue) -> Result<Json, Failure> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        seq: u64,
        #[serde(borrow)]
        at: &'a RawValue,
        #[serde(borrow)]
        actor: &'a RawValue,
        event: Kind,
    }
    #[derive(Deserialize, Serialize)]
    struct Kind {
        r#type: String,
    }
    #[derive(Serialize)]
    struct Short<'a> {
        seq: u64,
        at: &'a RawValue,
        actor: &'a RawValue,
        event: Kind,
        cut: String,
    }
    if !is_oversized(record) {
        return Ok(record.to_owned());
    }
    let Whole { seq, at, actor, event } =
        serde_json::from_str(record.get()).map_err(|error| Failure::internal(&error))?;
    let cut = format!(
        "This record has {} bytes of JSON, more than an answer may have. GET /api/v1/log?from={seq}&to={seq} returns all of it.",
        record.get().len()
    );
    answer::json(&Short { seq, at, actor, event, cut })
}
