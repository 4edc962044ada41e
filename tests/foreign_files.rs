//! A file or a folder of one tenant in the place of another's: the first goes on, the other is refused or served as it
//! was, and nothing is moved or erased that belongs to another.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;
use vectorizer_access::ApiKey;
use vectorizer_durable::copy_tree;
use vectorizer_hivehub::TenantStatus;
use vectorizer_log::{LogId, Timestamp, Tombstone};
use vectorizer_testing::eventually;

use crate::support::folders::{deleted, is_put_away, without_tenant};
use crate::support::hub_and_node::Cluster;
use crate::support::node::Answer;

/// Two tenants with points named after them, the first with the earlier incarnation, on a node that has ended.
struct Stage {
    folder: TempDir,
    cluster: Cluster,
    /// The data folder as it was.
    pristine: TempDir,
    keys: [ApiKey; 2],
}

const NAMES: [&str; 2] = ["acme", "globex"];
/// The points of each, in two records.
const POINTS: [u64; 2] = [30, 40];

fn point(name: &str, number: u64) -> Value {
    json!({"id": format!("{name}-{number}"), "vector": [number, 1]})
}

impl Stage {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut cluster = Cluster::start(folder.path(), &[]).await;
        let keys = NAMES.map(|name| {
            cluster.tenant(name);
            cluster.key(Some(name), None)
        });
        for ((name, points), key) in NAMES.iter().zip(POINTS).zip(&keys) {
            let collection = json!({"name": "words", "dimension": 2, "metric": "dot"});
            cluster.send(key, "POST", "/collections", &collection).await.expect(201);
            for half in [0..points / 2, points / 2..points] {
                let vectors: Vec<Value> = half.map(|number| point(name, number)).collect();
                let body = json!({ "vectors": vectors });
                cluster.send(key, "PUT", "/collections/words/vectors", &body).await.expect(200);
            }
        }
        cluster.end_node("TERM").await;
        let pristine = TempDir::new().unwrap();
        copy_tree(&folder.path().join("data"), pristine.path()).unwrap();
        Self { folder, cluster, pristine, keys }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn restore(&self) {
        fs::remove_dir_all(self.data()).unwrap();
        copy_tree(self.pristine.path(), &self.data()).unwrap();
    }

    async fn start(&mut self) {
        self.cluster.node = self.cluster.another_node(&[]).await;
    }

    async fn list(&self, key: &ApiKey) -> Answer {
        self.cluster.send(key, "GET", "/collections/words/vectors?limit=1000", &Value::Null).await
    }

    /// Serves this one of the two, exactly as it was written.
    async fn serves(&self, which: usize) {
        let found = self.list(&self.keys[which]).await.expect(200);
        is_own(&found, which);
        let body = json!({"vectors": [point(NAMES[which], 0)]});
        self.cluster.send(&self.keys[which], "PUT", "/collections/words/vectors", &body).await.expect(200);
    }

    /// Refuses this one, or serves what it wrote; the answer to a read is refused for certain if `is_refused`.
    async fn refuses_or_serves(&self, which: usize, is_refused: bool, what: &str) {
        let found = self.list(&self.keys[which]).await;
        if found.status == 200 {
            assert!(!is_refused, "{what}: {}", found.body);
            is_own(&found.expect(200), which);
        } else {
            is_damaged(&found, what);
        }
        let body = json!({"vectors": [point(NAMES[which], 0)]});
        let written = self.cluster.send(&self.keys[which], "PUT", "/collections/words/vectors", &body).await;
        if written.status != 200 {
            is_damaged(&written, what);
        }
        assert_eq!(deleted(&self.data()), 0, "{what}");
        assert!(NAMES.iter().all(|name| self.data().join(name).is_dir()), "{what}");
    }
}

fn is_damaged(answer: &Answer, what: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.problem()),
        (503, "tenant-damaged"),
        "{what}: {}",
        answer.body
    );
    assert!(answer.headers.contains_key("retry-after"), "{what}");
    // Whose file it is, is not the tenant's to know.
    assert!(!answer.body.to_string().contains("acme"), "{what}: {}", answer.body);
}

fn is_own(found: &Value, which: usize) {
    let vectors = found["vectors"].as_array().unwrap();
    assert_eq!(vectors.len() as u64, POINTS[which]);
    for vector in vectors {
        assert!(vector["id"].as_str().unwrap().starts_with(NAMES[which]), "{vector}");
    }
}

fn files(folder: &Path, within: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder.join(within)).unwrap() {
        let entry = entry.unwrap();
        let path = within.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            files(folder, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// The name of the same file in the other's folder: the snapshot's is another one for each log.
fn place(folder: &Path, file: &Path) -> PathBuf {
    let name = file.file_name().unwrap().to_str().unwrap();
    if !name.starts_with("snap.") {
        return folder.join(file);
    }
    let log = folder.join("log");
    let entries = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name());
    let snapshot = entries.filter_map(|name| name.into_string().ok()).find(|name| name.starts_with("snap."));
    log.join(snapshot.as_deref().unwrap_or(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_file_of_one_tenant_copied_over_anothers_stops_at_most_the_other() {
    let mut stage = Stage::new().await;
    for (from, to) in [(0, 1), (1, 0)] {
        let mut found = Vec::new();
        files(&stage.pristine.path().join(NAMES[from]), Path::new(""), &mut found);
        assert!(found.len() >= 4, "{found:?}");
        for file in found {
            stage.restore();
            let target = place(&stage.data().join(NAMES[to]), &file);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(stage.data().join(NAMES[from]).join(&file), &target).unwrap();
            let what = format!("{} of {} over {}'s", file.display(), NAMES[from], NAMES[to]);
            // A second life sees what the first has made of it.
            for signal in ["KILL", "TERM"] {
                stage.start().await;
                // The wrong one comes first, and once more after the other.
                for _ in 0..2 {
                    stage.refuses_or_serves(to, file == Path::new("manifest.json"), &what).await;
                    stage.serves(from).await;
                }
                stage.cluster.end_node(signal).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_before_it_named_its_tenant_moves_nothing_in_anothers_folder() {
    let mut stage = Stage::new().await;
    for (from, to) in [(0, 1), (1, 0)] {
        stage.restore();
        let own = stage.data().join(NAMES[to]).join("manifest.json");
        let text = without_tenant(&stage.data().join(NAMES[from]).join("manifest.json"));
        let kept = fs::read(&own).unwrap();
        fs::write(&own, text).unwrap();
        stage.start().await;
        for _ in 0..2 {
            stage.refuses_or_serves(to, true, "an older manifest").await;
            stage.serves(from).await;
        }
        stage.cluster.end_node("KILL").await;
        // With its own, it is as it was.
        fs::write(&own, kept).unwrap();
        stage.start().await;
        for which in [to, from] {
            stage.serves(which).await;
        }
        stage.cluster.end_node("TERM").await;
    }
    // An older manifest in its own folder is given the tenant's name when it is first opened.
    stage.restore();
    let own = stage.data().join("acme/manifest.json");
    let text = without_tenant(&own);
    fs::write(&own, &text).unwrap();
    stage.start().await;
    stage.serves(0).await;
    stage.cluster.end_node("KILL").await;
    let named: Value = serde_json::from_slice(&fs::read(&own).unwrap()).unwrap();
    assert_eq!(named["tenant"], "acme");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_copied_under_another_name_is_refused_and_its_deletion_is_not_that_of_the_first() {
    let mut stage = Stage::new().await;
    stage.cluster.tenant("initech");
    let initech = stage.cluster.key(Some("initech"), None);
    copy_tree(&stage.data().join("acme"), &stage.data().join("initech")).unwrap();
    let operator = stage.cluster.key(None, None);
    stage.start().await;
    for _ in 0..2 {
        is_damaged(&stage.list(&initech).await, "a folder that was copied");
        stage.serves(0).await;
    }
    // Deleting the copy deletes the copy only.
    stage.cluster.hub.set_tenant_status(&"initech".parse().unwrap(), TenantStatus::Deleted).unwrap();
    is_put_away(&stage.data(), "initech", 1).await;
    stage.serves(0).await;
    stage.cluster.end_node("KILL").await;
    stage.cluster.node = stage.cluster.another_node(&["--delete-grace", "1"]).await;
    stage.serves(0).await;
    eventually("the copy is erased", async || deleted(&stage.data()) == 0).await;
    stage.serves(0).await;
    stage.cluster.end_node("TERM").await;
    stage.start().await;
    stage.serves(0).await;
    stage.serves(1).await;
    let listed = stage.cluster.send(&operator, "GET", "/cluster/tenants", &Value::Null).await.expect(200);
    assert_eq!(listed["tenants"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_names_anothers_log_deletes_and_erases_nothing_of_it() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.cluster.hub.set_tenant_status(&"globex".parse().unwrap(), TenantStatus::Deleted).unwrap();
    is_put_away(&stage.data(), "globex", 1).await;
    stage.cluster.end_node("KILL").await;
    let folder = stage.data().join("_deleted");
    let mut tombstones = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let tombstone = tombstones.find(|path| path.extension().is_some_and(|it| it == "json")).unwrap();
    let manifest: Value =
        serde_json::from_slice(&fs::read(stage.data().join("acme/manifest.json")).unwrap()).unwrap();
    let acmes = folder.join(format!("{}.json", manifest["log_id"].as_str().unwrap()));
    let mut later: Tombstone = serde_json::from_slice(&fs::read(&tombstone).unwrap()).unwrap();
    later.deleted_at = Timestamp::from_micros(later.deleted_at.micros() + 1);
    // Under the other's name, and with its name too.
    let mut written: Value = serde_json::from_slice(&fs::read(&tombstone).unwrap()).unwrap();
    for names_it in [false, true] {
        if names_it {
            written["log_id"] = manifest["log_id"].clone();
        }
        fs::write(&acmes, written.to_string()).unwrap();
        for _ in 0..2 {
            // What is erased in one round goes in the order of deletion, so this one goes after the other.
            later.log_id = LogId::new(Uuid::new_v4());
            let path = folder.join(format!("{}.json", later.log_id));
            fs::write(&path, serde_json::to_vec(&later).unwrap()).unwrap();
            stage.cluster.node = stage.cluster.another_node(&["--delete-grace", "1"]).await;
            stage.serves(0).await;
            eventually("the later one is erased", async || !path.exists()).await;
            stage.serves(0).await;
            stage.cluster.end_node("KILL").await;
            assert!(stage.data().join("acme/log/db").exists());
        }
    }
}
