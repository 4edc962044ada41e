//! CONTRIBUTING's examples hold. With the row of a new operation alone nothing compiles, and with all of it the
//! operation is served. A new event does not compile without its facts, and with them it changes no fold.
//!
//! Compiles copies of the workspace, and so runs with `VECTORIZER_SLOW_TESTS=1` only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use vectorizer_testing::is_long_run;

use crate::support::node::{Key, Node};

const CONTRIBUTING: &str = include_str!("../CONTRIBUTING.md");

/// One block of code of the example, and the file that its first line names.
struct Step {
    file: &'static str,
    code: String,
}

/// The steps of a section, in their order.
fn steps(section: &str) -> Vec<Step> {
    let heading = format!("\n## {section}\n");
    let section = CONTRIBUTING.split(&heading).nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let steps = blocks.map(|block| {
        let (first, code) = block.split_once('\n').unwrap();
        let file = first.trim().strip_prefix("// ").and_then(|name| name.split(':').next()).unwrap();
        let lines = code.lines().map(|line| line.strip_prefix("   ").unwrap_or(line));
        Step { file, code: lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n" }
    });
    steps.collect()
}

/// A copy of the workspace's sources, with a target folder that stays for the next run.
struct Workspace {
    folder: TempDir,
    target: PathBuf,
}

impl Workspace {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for entry in fs::read_dir(root).unwrap() {
            let entry = entry.unwrap();
            let (from, to) = (entry.path(), folder.path().join(entry.file_name()));
            match entry.file_name().to_str().unwrap() {
                "target" | ".git" => {}
                _ if from.is_dir() => crate::support::folders::copy(&from, &to),
                _ => drop(fs::copy(from, to).unwrap()),
            }
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contributing");
        Self { folder, target }
    }

    fn cargo(&self, arguments: &[&str]) -> Output {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).current_dir(self.folder.path());
        cargo.env("CARGO_TARGET_DIR", &self.target).output().unwrap()
    }

    fn program(&self, command: &str) -> Output {
        self.cargo(&[command, "--package", "vectorizer", "--bin", "vectorizer"])
    }

    /// Puts the code of an operation where the step says: into a new file, or behind the line that is like it.
    fn take(&self, step: &Step) {
        let path = self.folder.path().join(step.file);
        if !path.exists() {
            return fs::write(path, &step.code).unwrap();
        }
        let after = match step.code.trim_start() {
            code if code.starts_with("mod ") => "mod indexes;\n",
            code if code.contains(" => ") => "    OpenApi => openapi::serve,\n",
            code if code.contains("pub fn ") => "impl Service {\n",
            _ => "    OpenApi: \"openapi\", Get \"/api/v1/openapi.json\" with parameters, Nothing;\n",
        };
        self.insert(step, after);
    }

    /// Puts the code behind `after`, which its file has once.
    fn insert(&self, step: &Step, after: &str) {
        let path = self.folder.path().join(step.file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(after).count(), 1, "{} has {after:?}", step.file);
        fs::write(path, text.replace(after, &format!("{after}{}", step.code))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_new_operation_compiles_only_with_a_handler_and_then_it_is_served() {
    let steps = steps("Add an operation");
    assert_eq!(steps.len(), 5, "the row, the function, the handler, its module and its line");
    if !is_long_run() {
        return;
    }
    let workspace = Workspace::new();
    let (row, others) = steps.split_first().unwrap();
    workspace.take(row);
    let refused = workspace.program("check");
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && words.contains("E0004") && words.contains("Limits"), "{words}");
    for step in others {
        workspace.take(step);
    }
    let built = workspace.program("build");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let data = TempDir::new().unwrap();
    let program = Command::new(workspace.target.join("debug/vectorizer"));
    let node = Node::spawn(program, "dev", data.path(), &["--hub-listen", "127.0.0.1:0"]);
    let client = node.client(Key::ReadOnly(0));
    let answer = client.request(Method::GET, "/limits").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let limits: Value = answer.json().await.unwrap();
    assert!(limits.get("vectors").is_some(), "{limits}");
    let unknown = node.keyless().request(Method::GET, "/limits").send().await.unwrap();
    assert_eq!(unknown.status(), 401);
    let document = node.keyless().request(Method::GET, "/openapi.json").send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    assert_eq!(document["paths"]["/api/v1/limits"]["get"]["operationId"], "limits");
}

#[test]
fn the_example_of_a_new_event_compiles_only_with_its_facts_and_then_changes_no_fold() {
    let steps = steps("Add an event");
    let [variant, facts, example] = &steps[..] else { panic!("the variant, its facts and its example") };
    if !is_long_run() {
        return;
    }
    let workspace = Workspace::new();
    let fields = [
        "/// The last dropped record.",
        "through: Seq,",
        "/// Its chain hash.",
        "chain: [u8; 32],",
        "/// The hash of the base, which has the state after it.",
        "base: [u8; 32],",
    ];
    let fields = fields.map(|line| format!("        {line}\n")).concat();
    workspace.insert(variant, &format!("    HistoryDropped {{\n{fields}    }},\n"));
    let refused = workspace.cargo(&["check", "--package", "vectorizer-log"]);
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && words.contains("E0004") && words.contains("PointDeleted"),
        "{words}"
    );
    assert_eq!(words.matches("error[").count(), 1, "{words}");

    let last = "(\"history_dropped\", Effect::History(dropped))\n            }\n";
    workspace.insert(facts, last);
    let checked = workspace.program("check");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let examples = ["test", "--package", "vectorizer-testing", "every_variant_has_an_example"];
    let missing = workspace.cargo(&examples);
    let words = String::from_utf8_lossy(&missing.stdout);
    assert!(!missing.status.success() && words.contains("point_deleted"), "{words}");
    workspace
        .insert(example, "Event::HistoryDropped { through: Seq::new(7), chain: [3; 32], base: [4; 32] },\n");
    let shown = workspace.cargo(&examples);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stdout));
}
