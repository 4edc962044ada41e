//! `usage`

use serde_json::json;

use super::{Description, Effect, nullable};
use crate::mcp::answer::Json;
use crate::mcp::call::{Arguments, Call};
use crate::mcp::failure::Failure;

pub(super) fn describe() -> Description {
    Description {
        title: "Usage and quota",
        text: "Shows what is used (bytes, records, collections) and what the plan allows.",
        effect: Effect::Reads,
        arguments: json!({}),
        needed: &[],
        answer: json!({
            "usage": {"type": "object", "description": "What there is now."},
            "quota": nullable("object", "What there may be; null where there is no plan.")
        }),
    }
}

pub(super) async fn call(call: &Call, arguments: Arguments) -> Result<Json, Failure> {
    arguments.end()?;
    call.ask("/api/v1/cluster/usage").await?.json()
}
