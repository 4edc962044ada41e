//! What users read and programs parse changes only together with a file in `tests/snapshots`.

use std::collections::BTreeSet;

use serde_json::json;
use tempfile::TempDir;

use crate::support::described::DOCUMENT;
use crate::support::metrics::metrics;
use crate::support::node::{ACME, Key, Node, vectorizer};
use crate::support::snapshots::assert_snapshot;

#[test]
fn the_openapi_document() {
    assert_snapshot("openapi", &serde_json::to_string_pretty(&*DOCUMENT).unwrap());
}

/// The help of this command and of the commands below it.
fn help(command: &[&str]) -> String {
    let output = vectorizer(command.iter().copied().chain(["--help"]));
    assert!(output.status.success(), "{command:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let names: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let below: String = names.into_iter().map(|name| self::help(&[command, &[name]].concat())).collect();
    let title = ["vectorizer"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
    format!("==== {title} --help\n\n{help}\n{below}")
}

#[test]
fn the_help_of_every_command() {
    assert_snapshot("help", &help(&[]));
}

/// The metrics without values: help, type, and the names of the labels of each series.
fn without_values(metrics: &str) -> String {
    let mut seen = BTreeSet::new();
    let lines = metrics.lines().map(|line| {
        if line.starts_with('#') {
            return line.to_owned();
        }
        let series = line.rsplit_once(' ').unwrap().0;
        let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
        let names: Vec<&str> = labels.split("\",").map(|label| label.split_once("=\"").unwrap().0).collect();
        format!("{name}{{{}}}", names.join(", "))
    });
    lines.filter(|line| seen.insert(line.clone())).map(|line| line + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 3, "dot").await;
    client.post("/collections/words/search", &json!({"vector": [1, 0, 0]})).await.expect(200);
    node.client(Key::ReadOnly(0)).delete("/collections/words").await.expect(403);
    assert_snapshot("metrics", &without_values(&metrics(&node).await));
}
