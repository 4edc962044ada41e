//! The README is true: its first steps are run as they stand there.

use std::process::Command;

use tempfile::TempDir;

use crate::node::Node;

/// The commands of the README's first steps, as a shell script.
fn first_steps() -> String {
    let readme = include_str!("../README.md");
    let section = readme.split("## First steps").nth(1).unwrap();
    section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// What it says to paste into the configuration of an MCP client.
pub(crate) fn client_configuration() -> String {
    let readme = include_str!("../README.md");
    let section = readme.split("## Agents (MCP)").nth(1).unwrap();
    section.split("```json\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

#[test]
fn the_first_steps_do_what_the_readme_says() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: curl is not installed");
        return;
    }
    let data = TempDir::new().unwrap();
    let node = Node::dev(&data.path().join("data"));
    let steps = first_steps();
    let script = steps.replace("http://127.0.0.1:15002", node.url());
    let done = Command::new("sh").args(["-euc", &script]).current_dir(data.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let printed = String::from_utf8(done.stdout).unwrap();
    // Comments that look like an answer are one, or a piece of one, in this order.
    let mut rest = printed.as_str();
    let expected =
        steps.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.starts_with(['{', '"']));
    for answer in expected {
        let at = rest.find(answer);
        let at = at.unwrap_or_else(|| panic!("the README promises {answer}\nbut what follows is {rest}"));
        rest = &rest[at + answer.len()..];
    }
}
