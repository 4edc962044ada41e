//! Clients that are developed elsewhere.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// A Python that can do `import`; a message if there is none. `VECTORIZER_MCP_PYTHON` names it.
pub(crate) fn python(import: &str, package: &str) -> Option<String> {
    let python = std::env::var("VECTORIZER_MCP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_it = Command::new(&python).args(["-c", import]).output();
    if has_it.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    // Past the capture of a test's output: it has not shown what it is for.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {python:?} lacks a package (pip install '{package}')");
    None
}

/// A command of those that npm has put into the folder that `VECTORIZER_MCP_NODE` names, with a Node of its own; a word
/// about it if there is none.
pub(crate) fn program(name: &str) -> Option<Command> {
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
