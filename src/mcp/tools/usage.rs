//! `usage`

use std::sync::Arc;

use serde_json::json;

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call};
use crate::mcp::failure::Failure;
use crate::service::UsageOf;
use crate::wire::usage::UsageAnswer;

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
    let own = UsageOf::Tenant(Arc::clone(call.reader()?));
    answer::json(&UsageAnswer::from(call.service().usage(own, None).await?))
}
