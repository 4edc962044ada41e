//! MCP with clients that nobody here wrote.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
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

/// A command of those that npm has put into the folder that `VECTORIZER_MCP_NODE` names, with a Node of its own; a word
/// about it if there is none.
fn program(name: &str) -> Option<Command> {
    let folder = std::env::var("VECTORIZER_MCP_NODE").unwrap_or_default();
    let program = Path::new(&folder).join(name);
    if folder.is_empty() || !program.exists() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: VECTORIZER_MCP_NODE names no folder that has {name:?}");
        return None;
    }
    let mut command = Command::new(program);
    command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
    Some(command)
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
