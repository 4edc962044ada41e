//! The description, held by tools that others made: a validator, a generator of clients, and one that sends what the
//! description says is right and what it says is wrong.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;

use crate::support::node::{ACME, Key, Node};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// A program of those that `VECTORIZER_OPENAPI_TOOLS`, a folder, has; a word about it if there is none.
fn program(name: &str) -> Option<Command> {
    let folder = std::env::var("VECTORIZER_OPENAPI_TOOLS").unwrap_or_default();
    let program = Path::new(&folder).join(name);
    if !folder.is_empty() && program.exists() {
        return Some(Command::new(program));
    }
    // Past the capture of a test's output: it has not shown what it is for.
    let _ =
        writeln!(std::io::stderr(), "SKIPPED: VECTORIZER_OPENAPI_TOOLS names no folder that has {name:?}");
    None
}

/// What it has said, if it ended well.
#[track_caller]
fn ended_well(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The served description as a file in `folder`.
async fn description(node: &Node, folder: &Path) -> String {
    let document = node.keyless().get("/openapi.json").await.expect(200);
    let path = folder.join("openapi.json");
    std::fs::write(&path, document.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validator_takes_the_served_description_and_hivehubs() {
    let Some(mut validator) = program("openapi-spec-validator") else { return };
    let data = TempDir::new().unwrap();
    let served = description(&Node::serve(&data.path().join("data")), data.path()).await;
    let hub = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hivehub.openapi.yaml");
    ended_well(
        &validator.args(["--validation-errors", "all", "--schema", "3.1", &served, hub]).output().unwrap(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_generated_from_the_description_takes_the_first_steps() {
    let (Some(mut generator), Some(mut python)) = (program("openapi-python-client"), program("python"))
    else {
        return;
    };
    let data = TempDir::new().unwrap();
    let node = Node::dev(&data.path().join("data"));
    let served = description(&node, data.path()).await;
    let client = data.path().join("vectorizer_client");
    generator.args(["generate", "--path", &served, "--meta", "none", "--fail-on-warning", "--config"]);
    generator.arg(format!("{CLIENTS}/openapi-python-client.yml")).arg("--output-path").arg(&client);
    ended_well(&generator.output().unwrap());
    python.arg(format!("{CLIENTS}/first_steps.py")).arg(data.path()).args([node.url(), &node.key(ACME)]);
    assert_eq!(ended_well(&python.output().unwrap()).trim(), "ok");
}

/// Sends to the node what the description says is right, and what it says is wrong; and asks for no finding.
async fn try_everything(node: &Node, key: Option<Key>, arguments: &[&str]) {
    let Some(program) = program("schemathesis") else { return };
    let mut schemathesis = Command::new("timeout");
    schemathesis.arg("240").arg(program.get_program());
    let tenant = if key.is_some() { node.client(ACME) } else { node.keyless() };
    tenant.create("words", 3, "cosine").await;
    let vectors = json!({"vectors": [{"id": "king", "vector": [0.9, 0.1, 0.3], "payload": {"reign": 40}}]});
    tenant.put("/collections/words/vectors", &vectors).await.expect(200);
    let folder = TempDir::new().unwrap();
    schemathesis.arg("--config-file").arg(format!("{CLIENTS}/schemathesis.toml")).arg("run");
    schemathesis.arg(format!("{}/api/v1/openapi.json", node.url())).args(arguments);
    match key {
        Some(key) => schemathesis.env("VECTORIZER_KEY", node.key(key)),
        None => schemathesis.envs([("VECTORIZER_WITHOUT_KEYS", "1"), ("VECTORIZER_KEY", "none")]),
    };
    // The hooks are found by the name of their module, and what it remembers belongs to the test.
    schemathesis.env("SCHEMATHESIS_HOOKS", "schemathesis_hooks").env("PYTHONPATH", CLIENTS);
    schemathesis.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder.path());
    ended_well(&schemathesis.output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_on_a_server_without_keys() {
    let data = TempDir::new().unwrap();
    try_everything(&Node::serve(data.path()), None, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_with_a_tenants_key() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    try_everything(&node, Some(ACME), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_with_the_operators_key() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let tags = ["--include-tag", "cluster", "--include-tag", "server"];
    try_everything(&node, Some(Key::Operator), &tags).await;
}
