//! What an agent is told when a tool fails: what was wrong, and what it can do about it.

use rmcp::model::CallToolResult;
use serde_json::json;

use crate::service::{Error, ErrorKind};

/// Why a tool did not do what it was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    code: &'static str,
    detail: String,
}

impl Failure {
    /// The arguments make no sense.
    pub(super) fn arguments(detail: impl Into<String>) -> Self {
        Self { code: "invalid-argument", detail: detail.into() }
    }

    /// A cursor leads nowhere.
    pub(super) fn cursor() -> Self {
        let detail = "cursor: it was not given out for this tool with these arguments";
        Self { code: "invalid-cursor", detail: detail.to_owned() }
    }

    /// A ranking can not be continued.
    pub(super) fn ranking_gone(why: &str) -> Self {
        let detail = format!("cursor: the ranking that it continues is no longer kept, and {why} since");
        Self { code: "ranking-gone", detail }
    }

    /// A record that comes in parts is another one now.
    pub(super) fn record_changed(id: &str) -> Self {
        let detail = format!("cursor: record {id:?} has changed since its first part was shown");
        Self { code: "record-changed", detail }
    }

    /// What is nobody's fault but the server's; what it was is in the log.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a tool has failed");
        Self { code: "internal", detail: "the server has failed at this call".to_owned() }
    }

    /// The same about an argument that agents know by another name.
    pub(super) fn renamed(mut self, from: &str, to: &str) -> Self {
        if let Some(rest) = self.detail.strip_prefix(from) {
            self.detail = format!("{to}{rest}");
        }
        self
    }

    pub(super) fn into_result(self) -> CallToolResult {
        let Self { code, detail } = self;
        CallToolResult::structured_error(
            json!({"problem": code, "detail": detail, "what_to_do": advice(code)}),
        )
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = match (error.code(), error.kind()) {
            ("insufficient-permission", _) => format!("{}: this key may not use the tool", error.detail()),
            (_, ErrorKind::Internal) => "the server has failed at this call".to_owned(),
            (_, _) => match error.detail().strip_prefix("body: ") {
                // What REST calls a body are the arguments of the tool.
                Some(detail) => format!("arguments: {detail}"),
                None => error.detail().to_owned(),
            },
        };
        Self { code: error.code(), detail }
    }
}

/// What an agent can do about a problem of this kind.
fn advice(code: &str) -> &'static str {
    match code {
        "no-such-collection" => {
            "Call list_collections for the names there are, or create_collection if you may."
        }
        "no-such-vector" => "Call get without ids, or search, for the ids there are.",
        "collection-exists" => "Use the collection as it is (describe_collection), or choose another name.",
        "insufficient-permission" => {
            "Ask the user for a key that reaches further; do not try again with this one."
        }
        "quota-exceeded" | "larger-than-quota" => {
            "Delete what is not needed, or tell the user that the plan's limit is reached; usage shows both."
        }
        "text-unexpected" => {
            "This collection has no texts: send vectors, or use a collection made with text: true."
        }
        "vector-unexpected" => "This collection has texts only: leave vector out and send text.",
        "vector-missing" | "wrong-dimension" => {
            "Call describe_collection for the dimension, and send a vector of exactly so many numbers."
        }
        "idempotency-key-reused" => "Use a new idempotency_key for a different request.",
        "invalid-cursor" => {
            "Pass next_cursor as it is, with the arguments of the call before; or call the tool without cursor to begin anew."
        }
        "ranking-gone" => "Call the tool again without cursor: the ranking begins anew.",
        "record-changed" => "Call the tool again without cursor: the record is shown as it is now.",
        "filter-selects-all" => {
            "Give the filter a condition; only if every record is to be deleted, call the tool with all: true and no filter."
        }
        "invalid-filter" => "Correct the filter: the schema of this tool describes its grammar.",
        "tenant-damaged" | "tenant-deleted" => {
            "Tell the user to ask the operator; trying again does not help."
        }
        "storage-full"
        | "storage-failed"
        | "embedding-unavailable"
        | "busy"
        | "stopping"
        | "tenant-unavailable"
        | "linking-failed"
        | "too-many-readers"
        | "internal" => "Wait some seconds and try again a few times.",
        _ => "Correct the arguments as the detail says and call the tool again.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_inside_is_not_told() {
        for error in [
            Error::internal(),
            Error::new(ErrorKind::Internal, "internal", "/var/lib/data: permission denied"),
        ] {
            let told = Failure::from(error);
            assert_eq!((told.code, told.detail.as_str()), ("internal", "the server has failed at this call"));
        }
        let told = Failure::internal(&std::io::Error::other("/var/lib/data: permission denied"));
        assert!(!told.detail.contains("/var"));
        let told = Failure::arguments("vectors[2]: it has no text").renamed("vectors", "records");
        assert_eq!(told.detail, "records[2]: it has no text");
    }
}
