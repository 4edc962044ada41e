//! The documents are true, as far as a program can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use vectorizer_access::{ApiKey, Level, Operation, Requirement};
use vectorizer_rest::location;

use crate::support::node::{Node, vectorizer};
use crate::support::secrets;

const ALERTS: &str = include_str!("../deploy/prometheus/alerts.yml");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The documents for people, by their paths: every page in the root and in `docs`. The changelog names what is no more.
fn documents() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for folder in ["", "docs", "docs/adr", "docs/benchmarks"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if Path::new(&name).extension().is_some_and(|it| it == "md") && name != "CHANGELOG.md" {
                pages.insert(path.clone(), read(&path));
            }
        }
    }
    pages
}

/// All files of Rust in these folders, as far as they exist.
fn source_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The text of these files.
fn sources(files: &[PathBuf]) -> String {
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// What stands in backquotes on a line.
fn quoted(text: &str) -> Vec<&str> {
    let of_line = |line| str::split(line, '`').skip(1).step_by(2);
    text.lines().filter(|line| !line.starts_with("```")).flat_map(of_line).collect()
}

/// Lines within blocks of shell, where those that a backslash ends are one with the next.
fn shell(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let joined = blocks.map(|block| block.replace("\\\n", " ")).collect::<String>();
    joined.lines().map(str::to_owned).collect()
}

/// The program's commands in a text: in blocks of shell, and in backquotes.
fn commands(text: &str) -> Vec<String> {
    let shell = shell(text);
    let all = shell.iter().map(String::as_str).chain(quoted(text));
    all.filter_map(|line| {
        let at = line.strip_prefix("vectorizer ").or_else(|| line.strip_prefix("cargo run --release -- "))?;
        Some(at.split(" #").next().unwrap().to_owned())
    })
    .collect()
}

#[test]
fn every_command_in_the_documents_is_one_and_knows_the_flags_it_is_given() {
    let mut helps: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut checked = 0;
    for (path, text) in documents() {
        for command in commands(&text) {
            let words: Vec<&str> = command.split_whitespace().collect();
            // What comes before the first flag, without arguments: as much of it as is a command.
            let named: Vec<&str> = words
                .iter()
                .copied()
                .take_while(|word| word.chars().all(|it| it.is_ascii_lowercase() || it == '-'))
                .take_while(|word| !word.starts_with('-'))
                .take(3)
                .collect();
            let help = (1..=named.len()).rev().find_map(|depth| {
                let command = &named[..depth];
                let help = helps.entry(command.join(" ")).or_insert_with(|| {
                    let output = vectorizer(command.iter().copied().chain(["--help"]));
                    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
                });
                help.clone()
            });
            let help = help.or_else(|| {
                // `vectorizer --help` itself.
                words[0].starts_with("--").then(|| String::from_utf8(vectorizer(["--help"]).stdout).unwrap())
            });
            let help = help.unwrap_or_else(|| panic!("{path}: there is no command `{command}`"));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                assert!(help.contains(flag), "{path}: `{command}` does not know {flag}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 30, "{checked}");
}

/// The shell of one section of a document.
fn shell_of(path: &str, section: &str) -> String {
    let text = read(path);
    let section = text.split(&format!("\n## {section}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    shell(section).join("\n")
}

/// What the program says when a shell runs this in `folder`, where it does not end before its end.
fn said_by(script: &str, folder: &Path) -> String {
    let program = format!("vectorizer() {{ '{}' \"$@\"; }}\n{script}", env!("CARGO_BIN_EXE_vectorizer"));
    let done = Command::new("sh").args(["-euc", &program]).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let remarks = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!remarks.contains("warning"), "{remarks}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_hub_its_keys_and_its_first_tenant_are_made_as_the_guides_say() {
    let folder = TempDir::new().unwrap();
    let begins = shell_of("docs/cluster.md", "1. HiveHub");
    let runs = |line: &&str| line.starts_with("vectorizer hub --data-dir hub --listen");
    assert_eq!(begins.lines().filter(runs).count(), 1);
    let (before, after): (Vec<&str>, Vec<&str>) = {
        let at = begins.lines().position(|line| runs(&line)).unwrap();
        let lines: Vec<&str> = begins.lines().collect();
        (lines[..at].to_vec(), lines[at + 1..].to_vec())
    };
    assert_eq!(said_by(&before.join("\n"), folder.path()), "");
    let keys = std::fs::read_to_string(folder.path().join("hub.env")).unwrap();
    let key = |name: &str| keys.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap();
    let (service, operator) = (key("HIVEHUB_API_KEY"), key("VECTORIZER_KEY"));
    [service, operator].into_iter().for_each(secrets::watch);
    std::fs::remove_file(folder.path().join("hub.env")).unwrap();
    let hub = Node::start("hub", &folder.path().join("hub"), &[]);
    let with_hub = |script: &str| {
        let script = script.replace("http://127.0.0.1:12000", hub.url());
        let script = script.replace("=...", &format!("={operator}")).replace("<operator>", operator);
        said_by(&script, folder.path())
    };
    let rotated = with_hub(&after.join("\n"));
    secrets::watch(rotated.lines().next().unwrap());
    assert!(rotated.starts_with("hh_service_") && rotated.contains("active"), "it is rotated and listed");

    let first = shell_of("docs/cluster.md", "4. The first tenant");
    let at_hub: Vec<&str> = first.lines().filter(|line| !line.starts_with("curl")).collect();
    let made = with_hub(&at_hub.join("\n"));
    let key = ApiKey::parse(made.lines().last().unwrap()).unwrap();
    secrets::watch(key.expose());

    let looked_after = shell_of("docs/operating.md", "Running a HiveHub of one's own");
    let looked_after = looked_after.replace("KEY_ID", key.id().as_str()).replace("initech", "umbrella");
    // The key that is rotated is the one that was made above.
    for line in with_hub(&looked_after).lines() {
        line.split_whitespace().filter(|word| ApiKey::parse(word).is_ok()).for_each(secrets::watch);
    }
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    let files = source_files(&["tests", "src", "log", "replay", "crates"]);
    let sources = sources(&files);
    // A module is a file, or a folder of files.
    let modules: BTreeSet<&str> = files
        .iter()
        .flat_map(|path| path.strip_prefix(root()).unwrap().iter())
        .filter_map(|part| Some(part.to_str()?.trim_end_matches(".rs")))
        .collect();
    let mut checked = 0;
    let pages = ["docs/security.md", "docs/invariants.md", "docs/formats.md"];
    for path in pages {
        let text = read(path);
        // `module::test`, or `path/of/a/file.rs: test`; a star stands for the rest of a name.
        let names =
            quoted(&text).into_iter().filter_map(|it| it.rsplit_once("::").or(it.rsplit_once(".rs: ")));
        for (module, test) in names.filter(|(module, _)| !module.contains(' ')) {
            let module = module.rsplit('/').next().unwrap();
            let is_there = match test.strip_suffix('*') {
                None => sources.contains(&format!("fn {test}(")) || sources.contains(&format!("fn {test}<")),
                Some("") => module.split("::").all(|it| it.is_empty() || modules.contains(it)),
                Some(begin) => sources.contains(&format!("fn {begin}")),
            };
            assert!(is_there, "{path} names `{module}::{test}`, which is not there");
            checked += 1;
        }
    }
    assert!(checked >= 130, "{checked}");
}

#[test]
fn every_alert_has_its_paragraph_in_the_operations_guide_and_the_other_way_round() {
    let alerts: BTreeSet<&str> =
        ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let guide = read("docs/operating.md");
    let mut told = BTreeSet::new();
    for section in guide.split("\n### Vectorizer").skip(1) {
        let (name, rest) = section.split_once('\n').unwrap();
        let paragraph = rest.split("\n#").next().unwrap();
        assert!(paragraph.split_whitespace().count() >= 20, "Vectorizer{name} has hardly a word");
        told.insert(format!("Vectorizer{name}"));
    }
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), alerts);
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut checked = 0;
    for (path, text) in documents() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, part) = link.split_once('#').map_or((link, None), |(file, part)| (file, Some(part)));
            let target: PathBuf = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            assert!(target.exists(), "{path} links to {link}");
            if let Some(part) = part {
                let text = std::fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#').trim()) == part);
                assert!(found, "{path} links to {link}, and there is no such heading");
            }
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}

#[test]
fn every_key_of_the_configuration_that_the_documents_name_is_a_flag() {
    let help = String::from_utf8(vectorizer(["serve", "--help"]).stdout).unwrap();
    let flags: BTreeSet<&str> = help.split_whitespace().filter_map(|word| word.strip_prefix("--")).collect();
    let mut checked = 0;
    for (path, text) in documents() {
        for name in quoted(&text) {
            let name = name.split([':', ' ']).next().unwrap();
            let Some((section, key)) = name.split_once('.') else { continue };
            let of_configuration =
                ["server", "cluster", "auth", "rate_limiting", "embedding"].contains(&section);
            if !of_configuration || !key.chars().all(|it| it.is_ascii_lowercase() || "_.".contains(it)) {
                continue;
            }
            let flag = match section {
                "embedding" => format!("embedding-{key}"),
                "cluster" if key == "enabled" => "cluster-enabled".to_owned(),
                _ => key.replace(['_', '.'], "-"),
            };
            // `server.tls` has two.
            let known = flags.contains(flag.as_str()) || flags.contains(format!("{flag}-cert").as_str());
            assert!(known, "{path} names `{name}`");
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}

#[test]
fn every_problem_that_the_documents_name_is_one_that_the_server_has() {
    let sources = sources(&source_files(&["src", "crates"]));
    let mut checked = 0;
    for (path, text) in documents() {
        for status in [
            "400", "401", "403", "404", "405", "406", "408", "409", "410", "412", "413", "415", "421", "422",
            "429", "431", "500", "503", "507",
        ] {
            for rest in text.split(&format!("{status} `")).skip(1) {
                let code = rest.split('`').next().unwrap();
                let quoted = sources.contains(&format!("\"{code}\""));
                let known = quoted || sources.contains(&format!("urn:vectorizer:problem:{code}\""));
                assert!(known, "{path} names {status} `{code}`");
                checked += 1;
            }
        }
    }
    assert!(checked >= 100, "{checked}");
}

#[test]
fn the_page_of_the_api_has_every_operation_with_the_key_that_it_needs() {
    let page = read("docs/api.md");
    for operation in Operation::ALL {
        let (method, path) = location(operation);
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let needs = match operation.requirement() {
            Requirement::Nothing => "nothing",
            Requirement::Tenant(Level::Read) => "`READ_ONLY`",
            Requirement::Tenant(Level::Write) => "`READ_WRITE`",
            Requirement::Tenant(Level::Admin) => "`ADMIN`",
            Requirement::Cluster => "operator",
            Requirement::TenantOrCluster | Requirement::AnyKey | Requirement::AnyTenant => "any ",
        };
        let row = format!("| `{method} {path}` | {needs}");
        assert!(page.contains(&row), "docs/api.md has no row {row}");
    }
}

#[test]
fn the_page_of_the_api_says_what_to_do_about_every_problem() {
    let page = read("docs/api.md");
    let mut checked = 0;
    for line in read("tests/snapshots/messages.snap").lines().filter(|line| !line.starts_with("MCP")) {
        let Some((_, answer)) = line.split_once("  =>  ") else { continue };
        let (status, code) = answer.split(':').next().unwrap().split_once(' ').unwrap();
        assert!(
            page.contains(&format!("| {status} `{code}` |")),
            "docs/api.md does not name {status} `{code}`"
        );
        checked += 1;
    }
    assert!(checked >= 100, "{checked}");
}
