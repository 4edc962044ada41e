//! MCP with clients that nobody here wrote.

use std::io::Write as _;
use std::process::Command;

use tempfile::TempDir;

use crate::node::{ACME, Node};

/// A Python that has the official SDK (`mcp`, 2.x); a word about it if there is none. `VECTORIZER_MCP_PYTHON` names it.
fn python() -> Option<String> {
    let python = std::env::var("VECTORIZER_MCP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_it = Command::new(&python).args(["-c", "import mcp; mcp.Client"]).output();
    if has_it.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    // Past the capture of a test's output: it has not shown what it is for.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {python:?} has no MCP SDK (pip install 'mcp>=2,<3')");
    None
}

#[test]
fn an_agent_with_the_official_python_sdk_keeps_finds_and_deletes_texts() {
    let Some(python) = python() else { return };
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
