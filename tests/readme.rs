//! The pages with examples are true: their commands are run as they stand there.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::foreign_clients::python;
use crate::support::node::Node;

const README: &str = include_str!("../README.md");
const API: &str = include_str!("../docs/api.md");
const TEXT: &str = include_str!("../docs/text.md");
const AGENTS: &str = include_str!("../docs/agents.md");

/// The address that the pages use.
const ADDRESS: &str = "http://127.0.0.1:15002";

/// The blocks of a page in one language, in their order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let blocks = page.split(fence.as_str()).skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

/// The configuration of an MCP client, as the page on agents shows it.
pub(crate) fn client_configuration() -> String {
    blocks(AGENTS, "json").remove(0)
}

/// Runs `script` by `interpreter` in `folder`, which has the `data` of `node`, and returns its output.
fn output(interpreter: &mut Command, script: &str, node: &Node, folder: &Path) -> String {
    let script = script.replace(ADDRESS, node.url());
    let done = interpreter.arg(&script).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Runs the commands of a page in a shell. Each comment without a full stop is a part of the output, in this order.
fn expect_answers(script: &str) {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: curl is not installed");
        return;
    }
    let data = TempDir::new().unwrap();
    let node = Node::dev(&data.path().join("data"));
    let printed = output(Command::new("sh").arg("-euc"), script, &node, data.path());
    let mut rest = printed.as_str();
    let answers = script.lines().filter_map(|line| line.strip_prefix("# "));
    for answer in answers.filter(|comment| !comment.ends_with('.')) {
        let at = rest.find(answer);
        let shown = &rest[..rest.floor_char_boundary(500)];
        let at =
            at.unwrap_or_else(|| panic!("the page promises {answer}\nand the output goes on with {shown}"));
        rest = &rest[at + answer.len()..];
    }
}

#[test]
fn the_first_steps_do_what_the_readme_says() {
    let first_steps = README.split("## First steps").nth(1).unwrap();
    expect_answers(&blocks(first_steps, "sh")[0]);
}

#[test]
fn the_api_answers_curl_as_its_page_says() {
    expect_answers(&blocks(API, "sh").concat());
}

#[test]
fn the_api_answers_python_as_its_page_says() {
    let Some(python) = python("import requests", "requests") else { return };
    let data = TempDir::new().unwrap();
    let node = Node::dev(&data.path().join("data"));
    output(Command::new(python).arg("-c"), &blocks(API, "python").concat(), &node, data.path());
}

#[test]
fn texts_are_found_as_their_page_says() {
    let setting_up = blocks(API, "sh").remove(0);
    expect_answers(&(setting_up + &blocks(TEXT, "sh").concat()));
}
