//! `usage`

use std::sync::Arc;

use serde_json::json;
use vectorizer_service::UsageOf;
use vectorizer_wire::usage::UsageAnswer;

use super::{Description, Effect, nullable};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call};
use crate::failure::Failure;

pub(super) fn describe() -> Description {
    Description {
        title: "Usage and quota",
        text: "Returns the usage (bytes, records, collections) and the limits of the plan.",
        effect: Effect::Reads,
        arguments: json!({}),
        required: &[],
        answer: json!({
            "usage": {"type": "object", "description": "The current usage."},
            "quota": nullable("object", "The limits; null if there is no plan.")
        }),
    }
}

pub(super) async fn call(call: &Call, arguments: Arguments) -> Result<Json, Failure> {
    arguments.finish()?;
    let own = UsageOf::Tenant(Arc::clone(call.reader()?));
    answer::json(&UsageAnswer::from(call.service().usage(own, None).await?))
}
