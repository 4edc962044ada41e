//! The failures of tools: the problem, and advice for the agent.

use rmcp::model::CallToolResult;
use serde_json::json;
use vectorizer_service::{Error, ErrorKind};

/// Why a tool failed.
#[derive(Debug)]
pub(super) struct Failure {
    code: &'static str,
    detail: String,
}

impl Failure {
    /// The arguments are invalid.
    pub(super) fn arguments(detail: impl Into<String>) -> Self {
        Self { code: "invalid-argument", detail: detail.into() }
    }

    /// The cursor is invalid.
    pub(super) fn cursor() -> Self {
        let detail = "cursor: it was not issued for this tool with these arguments";
        Self { code: "invalid-cursor", detail: detail.to_owned() }
    }

    /// The ranking of a cursor cannot be continued.
    pub(super) fn ranking_gone(why: &str) -> Self {
        let detail = format!("cursor: its ranking is not cached any more, and {why} since");
        Self { code: "ranking-gone", detail }
    }

    /// A record that is returned in parts has changed.
    pub(super) fn record_changed(id: &str) -> Self {
        let detail = format!("cursor: record {id:?} has changed since its first part was returned");
        Self { code: "record-changed", detail }
    }

    /// The server failed. The cause is only in the log.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a tool failed");
        Self { code: "internal", detail: "the server failed to process this call".to_owned() }
    }

    /// Replaces the name of a field at the start of the detail by the name of the tool's argument.
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
            ("insufficient-permission", _) => {
                format!("{}: this key does not permit the tool", error.detail())
            }
            (_, ErrorKind::Internal) => "the server failed to process this call".to_owned(),
            (_, _) => match error.detail().strip_prefix("body: ") {
                // The body of a REST request corresponds to the arguments of a tool.
                Some(detail) => format!("arguments: {detail}"),
                None => error.detail().to_owned(),
            },
        };
        Self { code: error.code(), detail }
    }
}

/// What an agent can do about a problem with this code.
fn advice(code: &str) -> &'static str {
    match code {
        "no-such-collection" => {
            "Call list_collections for the existing names, or create_collection if your key permits it."
        }
        "no-such-vector" => "Call search for the existing ids.",
        "collection-exists" => "Use the collection as it is (describe_collection), or choose another name.",
        "insufficient-permission" => {
            "Ask the user for a key with more permissions. Do not try again with this one."
        }
        "quota-exceeded" | "larger-than-quota" => {
            "Delete records that are not needed, or tell the user that the plan's limit is reached. The tool usage shows both."
        }
        "text-unexpected" => {
            "This collection has no texts: send vectors, or use a collection that was created with text: true."
        }
        "vector-unexpected" => "This collection has only texts: omit vector and send text.",
        "vector-missing" | "wrong-dimension" => {
            "Call describe_collection for the dimension, and send a vector with exactly that many numbers."
        }
        "idempotency-key-reused" => "Use a new idempotency_key for a different request.",
        "invalid-cursor" => {
            "Pass next_cursor unchanged, with the arguments of the previous call, or start again by calling the tool without cursor."
        }
        "ranking-gone" => "Call the tool again without cursor to start a new ranking.",
        "record-changed" => "Call the tool again without cursor to get the current record.",
        "filter-selects-all" => {
            "Give the filter a condition. To delete every record, call the tool with all: true and no filter."
        }
        "invalid-filter" => "Correct the filter: the schema of this tool describes its grammar.",
        "tenant-damaged" | "tenant-deleted" => {
            "Tell the user to contact the operator. Trying again does not help."
        }
        "storage-full"
        | "storage-failed"
        | "embedding-unavailable"
        | "busy"
        | "stopping"
        | "tenant-unavailable"
        | "linking-failed"
        | "too-many-readers"
        | "internal" => "Wait a few seconds and try again, a few times.",
        _ => "Correct the arguments as the detail says, and call the tool again.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_an_internal_failure_is_not_shown() {
        for error in [
            Error::internal(),
            Error::new(ErrorKind::Internal, "internal", "/var/lib/data: permission denied"),
        ] {
            let shown = Failure::from(error);
            assert_eq!(
                (shown.code, shown.detail.as_str()),
                ("internal", "the server failed to process this call")
            );
        }
        let shown = Failure::internal(&std::io::Error::other("/var/lib/data: permission denied"));
        assert!(!shown.detail.contains("/var"));
        let shown = Failure::arguments("vectors[2]: it has no text").renamed("vectors", "records");
        assert_eq!(shown.detail, "records[2]: it has no text");
    }
}
