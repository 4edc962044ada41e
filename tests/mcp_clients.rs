//! MCP with clients that nobody here wrote.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::readme;
use crate::support::foreign_clients::{program, python};
use crate::support::node::{ACME, Key, Node};

#[test]
fn an_agent_with_the_official_python_sdk_keeps_finds_and_deletes_texts() {
    let Some(python) = python("import mcp; mcp.Client", "mcp>=2,<3") else { return };
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (url, key) = (format!("{}/mcp", node.url()), node.key(ACME));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/session.py");
    // As it is today, as it was before, and as both sides find out by themselves.
    for mode in ["2026-07-28", "legacy", "auto"] {
        let output = Command::new(&python).args([script, &url, &key, mode]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), format!("ok {mode}"), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_conformance_suite_finds_nothing_but_what_is_explained() {
    /// What of it is expected to fail, and why.
    const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/conformance.yml");
    /// It has no flag for a key.
    const WITH_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/with_key.mjs");

    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let mut failed = BTreeSet::new();
    for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let Some(mut suite) = program("conformance") else { return };
        suite.args(["server", "--suite", "all", "--spec-version", version, "--expected-failures", EXPECTED]);
        suite.args(["--url", &format!("{}/mcp", node.url())]).current_dir(data.path());
        suite.env("NODE_OPTIONS", format!("--import {WITH_KEY}")).env("VECTORIZER_KEY", node.key(ACME));
        let output = suite.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let summary = said.split("=== SUMMARY ===").last().unwrap();
        assert!(output.status.success(), "{version}: {summary}{}", String::from_utf8_lossy(&output.stderr));
        failed.extend(
            said.lines()
                .filter_map(|line| line.trim().strip_prefix("~ ").map(|check| format!("  - {check}"))),
        );
    }
    // The list has nothing that was not looked at: the suite passes over names that it does not know.
    let expected = std::fs::read_to_string(EXPECTED).unwrap();
    let expected = expected.lines().filter(|line| line.starts_with("  - "));
    let expected = expected.map(|line| line.split(" #").next().unwrap().to_owned());
    assert_eq!(expected.collect::<BTreeSet<_>>(), failed);
}

#[test]
fn the_inspectors_command_line_is_shown_what_its_key_may_use() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    // What the inspector says, and how it ends.
    let inspect = |key: &str, arguments: &[&str]| -> Option<(Option<i32>, Value)> {
        // First: without it there is to be no file with a key either.
        let mut inspector = program("mcp-inspector")?;
        // As it stands in the README.
        let config = readme::client_configuration();
        let config = config.replace("http://127.0.0.1:15002", node.url()).replace("hh_live_…", key);
        std::fs::write(data.path().join("mcp.json"), config).unwrap();
        inspector.args(["--cli", "--config", "mcp.json", "--server", "vectorizer"]).args(arguments);
        inspector.args(["--format", "json", "--quiet", "--stored-auth-only"]);
        // What it keeps of its own belongs to the test.
        inspector
            .current_dir(data.path())
            .env("HOME", data.path())
            .env("MCP_INSPECTOR_SECRET_STORE", "memory");
        let output = inspector.output().unwrap();
        let warned = String::from_utf8_lossy(&output.stderr);
        assert!(!warned.contains("Warning: tool"), "{warned}");
        let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        Some((output.status.code(), serde_json::from_slice(said).unwrap_or_default()))
    };
    let (admin, reader) = (node.key(ACME), node.key(Key::ReadOnly(0)));
    let try_call = |key: &str, tool: &str, arguments: &Value| {
        let arguments = arguments.to_string();
        inspect(key, &["--method", "tools/call", "--tool-name", tool, "--tool-args-json", &arguments])
    };
    let tools = |key: &str, era: &str| {
        // No schema is one that a client could not read.
        let (code, answer) = inspect(key, &["--method", "tools/list", "--strict", "--protocol-era", era])?;
        let names = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
        Some((code, names.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()))
    };
    let Some((code, all)) = tools(&admin, "auto") else { return };
    assert_eq!((code, all.len()), (Some(0), 11), "{all:?}");
    for era in ["legacy", "modern"] {
        let (code, shown) = tools(&reader, era).unwrap();
        assert_eq!(code, Some(0));
        assert_eq!(
            shown,
            ["list_collections", "describe_collection", "search", "get", "count", "usage"],
            "{era}"
        );
    }
    let call = |key: &str, tool: &str, arguments: &Value| {
        let (code, mut answer) = try_call(key, tool, arguments).unwrap();
        assert_eq!(code, Some(0), "{tool}: {answer}");
        answer["result"]["structuredContent"].take()
    };
    let made = call(&admin, "create_collection", &json!({"collection": "notes", "text": true}));
    assert_eq!(made["name"], "notes");
    let records = json!([{"id": "a", "text": "The queen wears the crown."}]);
    let written = call(&admin, "upsert", &json!({"collection": "notes", "records": records}));
    assert_eq!(written["upserted"], 1);
    let found = call(&reader, "search", &json!({"collection": "notes", "text": "crown"}));
    assert_eq!(found["results"][0]["id"], "a", "{found}");
    // 5: the tool has said that it failed, or there is none; 3: the server wants another key.
    let (code, refused) =
        try_call(&reader, "search", &json!({"collection": "other", "text": "crown"})).unwrap();
    let problem = &refused["result"]["structuredContent"]["problem"];
    assert_eq!((code, problem), (Some(5), &json!("no-such-collection")), "{refused}");
    let (code, refused) = try_call(&reader, "delete_collection", &json!({"collection": "notes"})).unwrap();
    assert_eq!((code, &refused["error"]["code"]), (Some(5), &json!("tool_not_found")), "{refused}");
    let (code, refused) = inspect("hh_live_wrong", &["--method", "tools/list"]).unwrap();
    assert_eq!((code, &refused["error"]["code"]), (Some(3), &json!("auth_required")), "{refused}");
}
