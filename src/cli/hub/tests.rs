//! Tests of the operator's commands, on a folder and with a running hub.

use clap::Parser as _;
use serde_json::Value;
use tempfile::TempDir;
use vectorizer_hub::demo::{Demo, DemoKeys};
use vectorizer_hub::router;

use crate::cli::test_support::{Outcome, vectorizer};
use crate::cli::{Arguments, Exit};

struct Fixture {
    data: TempDir,
    keys: DemoKeys,
}

impl Fixture {
    /// The demo's hub, not running.
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let Demo { hub, keys } = Demo::open(data.path()).unwrap();
        let keys = keys.unwrap();
        drop(hub);
        Self { data, keys }
    }

    async fn run(&self, command: &str) -> Outcome {
        let mut words: Vec<_> = std::iter::once("hub").chain(command.split_whitespace()).collect();
        words.extend(["--data-dir", self.data.path().to_str().unwrap()]);
        vectorizer(&words).await
    }

    /// Runs the hub. Returns its address.
    fn serve(&self) -> String {
        let listener = crate::server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(Demo::open(self.data.path()).unwrap().hub);
        let grace = std::time::Duration::from_secs(1);
        tokio::spawn(crate::server::serve(listener, router, grace, std::future::pending()));
        url
    }
}

async fn run_on_hub(url: &str, key: &str, command: &str) -> Outcome {
    let mut words: Vec<_> = std::iter::once("hub").chain(command.split_whitespace()).collect();
    words.extend(["--url", url, "--key", key]);
    vectorizer(&words).await
}

#[tokio::test]
async fn a_folder_and_a_running_hub_give_the_same_answers() {
    let fixture = Fixture::new();
    let commands = [
        "tenants list",
        "tenants list --json",
        "tenants list --deleted",
        "service-key list --json",
        "tenants show acme",
        "plans list",
        "plans show generous --json",
        "keys list",
        "keys list --tenant globex --json",
        "usage list --tenant acme",
        "usage totals --tenant acme --meter searches --from 2026-01-01T00:00:00+01:00",
        "tenants show nobody",
        "plans show none",
        "keys show none",
        "keys list --tenant nobody",
    ];
    let mut offline = Vec::new();
    for command in commands {
        offline.push(fixture.run(command).await);
    }
    let url = fixture.serve();
    let operator = fixture.keys.operator.expose();
    for (command, offline) in commands.iter().zip(offline) {
        let online = run_on_hub(&url, operator, command).await;
        assert_eq!(online.exit, offline.exit, "{command}");
        assert_eq!((online.output, online.remarks), (offline.output, offline.remarks), "{command}");
    }
}

#[tokio::test]
async fn a_tenant_with_a_key_is_three_commands() {
    let fixture = Fixture::new();
    assert_eq!(fixture.run("plans set small --vectors 10 --collections 2").await.exit, Exit::Success);
    assert_eq!(fixture.run("tenants create initech --plan small --log-bytes 5").await.exit, Exit::Success);
    let made = fixture.run("keys create --tenant initech --permission READ_WRITE").await;
    assert_eq!(made.exit, Exit::Success, "{}", made.remarks);
    // The output is the key and nothing else.
    let key = vectorizer_access::ApiKey::parse(made.output.trim_end()).unwrap();
    assert!(!made.remarks.contains(key.expose()) && made.remarks.contains(key.id().as_str()));

    let shown = fixture.run("tenants show initech").await.output;
    assert!(shown.contains("vectors              10\n"), "{shown}");
    assert!(shown.contains("log_bytes            5  (its own)\n"), "{shown}");
    fixture.run("plans set small --vectors default").await;
    fixture.run("tenants set initech --log-bytes default --collections 7").await;
    let shown: Value =
        serde_json::from_str(&fixture.run("tenants show initech --json").await.output).unwrap();
    let quota = &shown["quota"];
    assert!(
        quota["vectors"].is_null() && quota["log_bytes"].is_null() && quota["collections"] == 7,
        "{shown}"
    );

    let listed = fixture.run("keys list --tenant initech").await.output;
    assert!(
        listed.starts_with("key ") && listed.contains(key.id().as_str()) && !listed.contains(key.expose())
    );
    let rotated = fixture.run(&format!("keys rotate {} --overlap 60 --environment test", key.id())).await;
    assert!(rotated.output.starts_with("hh_test_"));
    assert_eq!(fixture.run(&format!("keys revoke {}", key.id())).await.exit, Exit::Success);
    let listed = fixture.run("keys list --tenant initech --json").await.output;
    let status = |id: &str| {
        let keys = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        keys.filter(|key| key["id"] == id).map(|key| key["status"].as_str().unwrap().to_owned()).next()
    };
    assert_eq!(listed.lines().count(), 2);
    assert_eq!(status(key.id().as_str()).as_deref(), Some("revoked"));
}

#[tokio::test]
async fn rejected_requests_and_errors_have_different_exit_codes() {
    let fixture = Fixture::new();
    for (command, exit) in [
        ("tenants create acme --plan generous", Exit::CheckFailed),
        ("tenants create new --plan none", Exit::CheckFailed),
        ("tenants suspend nobody", Exit::CheckFailed),
        ("keys create --tenant nobody --permission MCP", Exit::CheckFailed),
        ("keys create --cluster --permission MCP", Exit::Error),
        ("tenants suspend acme", Exit::Success),
        ("tenants resume acme", Exit::Success),
        ("tenants delete acme", Exit::Success),
        ("tenants resume acme", Exit::CheckFailed),
        ("tenants undelete globex", Exit::CheckFailed),
        ("tenants undelete acme", Exit::Success),
        ("tenants undelete acme", Exit::CheckFailed),
        ("tenants set acme --deployment eu-1", Exit::Success),
        ("tenants set acme --any-deployment", Exit::Success),
    ] {
        let outcome = fixture.run(command).await;
        assert_eq!(outcome.exit, exit, "{command}: {}", outcome.remarks);
        assert_eq!(outcome.remarks.is_empty(), exit == Exit::Success, "{command}: {}", outcome.remarks);
    }
    let url = fixture.serve();
    let running = fixture.run("tenants list").await;
    assert_eq!(running.exit, Exit::Error);
    assert!(
        running.remarks.contains("stop it, or connect to it with --url and --key"),
        "{}",
        running.remarks
    );
    let tenants_key = fixture.keys.tenants[1].keys.admin.expose();
    for key in [tenants_key, "", fixture.keys.hivehub_api_key.expose(), "a\nb"] {
        let outcome = run_on_hub(&url, key, "tenants list").await;
        assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::Error, ""), "{}", outcome.remarks);
        assert!(key.is_empty() || !outcome.remarks.contains(key));
    }
    let nobody = run_on_hub("http://127.0.0.1:9", "k", "tenants list").await;
    assert_eq!(nobody.exit, Exit::Error);
    let empty = tempfile::tempdir().unwrap();
    let data = empty.path().to_str().unwrap();
    let none = vectorizer(&["hub", "tenants", "list", "--data-dir", data]).await;
    assert_eq!(none.exit, Exit::Error);
    assert!(none.remarks.contains("there is no hub in"), "{}", none.remarks);
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "the command created something");
}

#[test]
fn an_incomplete_or_contradictory_command_line_is_an_error() {
    for line in [
        "hub tenants list",
        "hub tenants list --data-dir d --url http://h",
        "hub keys create --permission ADMIN --data-dir d",
        "hub keys create --permission ADMIN --tenant t --cluster --data-dir d",
        "hub keys create --permission admin --tenant t --data-dir d",
        "hub keys rotate k --overlap 2592001 --data-dir d",
        "hub tenants create UPPER --plan p --data-dir d",
        "hub tenants create t --plan p --vectors -1 --data-dir d",
        "hub plans set p --vectors many --data-dir d",
        "hub usage list --tenant t --meter moonlight --data-dir d",
        "hub tenants set t --deployment eu --any-deployment --data-dir d",
        "hub tenants set t --deployment e/u --data-dir d",
        "hub service-key rotate --overlap 2592001 --data-dir d",
        "hub --listen 127.0.0.1:1 tenants list --data-dir d",
    ] {
        let words = std::iter::once("vectorizer").chain(line.split_whitespace());
        assert!(Arguments::try_parse_from(words).is_err(), "{line}");
    }
    let words = ["vectorizer", "hub", "--data-dir", "d", "--listen", "127.0.0.1:1"];
    assert!(Arguments::try_parse_from(words).is_ok());
}
