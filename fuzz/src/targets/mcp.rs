//! MCP messages.

use super::server::{answer, request};

/// A message. Whatever is answered is JSON, or nothing.
pub(super) fn run(bytes: &[u8]) {
    let request = request("POST", "/mcp", bytes).expect("any body makes a request");
    let (status, body) = answer(request);
    if status.is_success() && !body.is_empty() {
        let said: serde_json::Value = serde_json::from_slice(&body).expect("an answer is JSON");
        assert!(said.get("result").is_some() || said.get("error").is_some(), "{said}");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let call = |tool: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {{"name": "{tool}", "arguments": {arguments}}}}}"#
        )
    };
    [
        r#"{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}}"#.to_owned(),
        r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#.to_owned(),
        r#"{"jsonrpc": "2.0", "id": "x", "method": "tools/list", "params": {"cursor": "a"}}"#.to_owned(),
        r#"{"jsonrpc": "2.0", "id": 1, "method": "ping"}"#.to_owned(),
        call("list_collections", "{}"),
        call("describe_collection", r#"{"collection": "points"}"#),
        call("search", r#"{"collection": "points", "vector": [1, 2, 3], "limit": 2, "filter": {"must": []}}"#),
        call("search", r#"{"collection": "texts", "text": "blue"}"#),
        call("get", r#"{"collection": "points", "ids": ["a"]}"#),
        call("count", r#"{"collection": "points", "filter": {}}"#),
        call("upsert", r#"{"collection": "points", "records": [{"id": "m", "vector": [1, 2, 3], "payload": {"a": 1}}]}"#),
        call("delete", r#"{"collection": "points", "ids": ["m"]}"#),
        call("create_collection", r#"{"collection": "made", "dimension": 3, "metric": "dot"}"#),
        call("delete_collection", r#"{"collection": "made"}"#),
        call("recent_log", r#"{"limit": 3, "cursor": "1"}"#),
        call("usage", "{}"),
    ]
    .map(String::into_bytes)
    .to_vec()
}
