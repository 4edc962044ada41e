//! What a process lacks is no damage: a disk without room, too few descriptors, a permission that is missing. Nothing
//! is begun anew or deleted for it, what can be read is read, and all of it ends by itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::{TenantStatus, UsageEvent};
use vectorizer_log::Meter;
use vectorizer_testing::{Wait, eventually};

use crate::support::disk::{Disk, DiskFault};
use crate::support::folders::is_put_away;
use crate::support::hub_and_node::Cluster;
use crate::support::node::Answer;

const NAMES: [&str; 2] = ["acme", "globex"];

/// EIO, EPERM, ENOMEM, EACCES, ENFILE and EMFILE.
const WANTS: [i32; 6] = [5, 1, 12, 13, 23, 24];

/// A cluster on a disk of the test's own, with two tenants that have written something.
struct Stage {
    cluster: Cluster,
    keys: [ApiKey; 2],
    operator: ApiKey,
    disk: Disk,
    folder: TempDir,
}

impl Stage {
    async fn new() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let disk = Disk::mount(&folder.path().join("data"))?;
        let cluster = Cluster::start(folder.path(), &[]).await;
        let keys = NAMES.map(|name| {
            cluster.tenant(name);
            cluster.key(Some(name), None)
        });
        let operator = cluster.key(None, None);
        let stage = Self { cluster, keys, operator, disk, folder };
        for key in &stage.keys {
            let collection = json!({"name": "words", "dimension": 2, "metric": "dot"});
            stage.cluster.send(key, "POST", "/collections", &collection).await.expect(201);
            stage.write(key).await.expect(200);
        }
        Some(stage)
    }

    async fn write(&self, key: &ApiKey) -> Answer {
        let vectors: Vec<Value> =
            (0..20).map(|id| json!({"id": format!("{id}"), "vector": [id, 1]})).collect();
        self.cluster.send(key, "PUT", "/collections/words/vectors", &json!({ "vectors": vectors })).await
    }

    async fn count(&self, key: &ApiKey) -> Answer {
        self.cluster.send(key, "POST", "/collections/words/count", &json!({})).await
    }

    async fn health(&self) -> Value {
        self.cluster.send(&self.operator, "GET", "/cluster/health", &Value::Null).await.expect(200)
    }

    /// Whether the node says that it keeps notes in memory, in both places.
    async fn keeps_notes_in_memory(&self) -> bool {
        let client = self.cluster.node.keyless();
        let series = async || {
            let request = client.request_at(Method::GET, "/metrics").bearer_auth(self.operator.expose());
            let metrics = request.send().await.unwrap().text().await.unwrap();
            metrics
                .lines()
                .find_map(|line| Some(line.strip_prefix("vectorizer_notes_in_memory ")? == "1"))
                .unwrap()
        };
        let health = async || self.health().await["problems"].to_string().contains("is not writable");
        let (before, said, after) = (series().await, health().await, series().await);
        // Unless it ended in between.
        if before == after {
            assert_eq!(said, after);
        }
        after
    }

    fn begun_anew(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("data/_node")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("unreadable") || name.contains("damaged")).collect()
    }

    /// All is as it was, and goes on.
    async fn has_recovered(&self) {
        for key in &self.keys {
            let is_taken = async || self.write(key).await.status == 200;
            // Requests that are refused count towards the limits, too.
            Wait::new("writes are accepted again").every(Duration::from_millis(100)).until(is_taken).await;
            assert_eq!(self.count(key).await.expect(200)["count"], 20);
        }
        eventually("notes are written down again", async || !self.keeps_notes_in_memory().await).await;
        assert_eq!(self.begun_anew(), <[String; 0]>::default());
        let listed =
            self.cluster.send(&self.operator, "GET", "/cluster/tenants", &Value::Null).await.expect(200);
        assert_eq!(listed["tenants"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_and_reads_on_a_full_disk_and_writes_when_there_is_room_again() {
    let Some(mut stage) = Stage::new().await else { return };
    // Logs that were closed, and those of a process that was killed.
    for signal in ["TERM", "KILL"] {
        if signal == "TERM" {
            stage.cluster.end_node(signal).await;
        }
        stage.disk.set_fault(Some(DiskFault::Full { bytes: stage.disk.bytes() }));
        if signal == "KILL" {
            stage.cluster.end_node(signal).await;
        }
        stage.cluster.node = stage.cluster.another_node(&[]).await;
        for _ in 0..2 {
            for key in &stage.keys {
                assert_eq!(stage.count(key).await.expect(200)["count"], 20, "{signal}");
                let refused = stage.write(key).await;
                assert_eq!(
                    (refused.status.as_u16(), refused.problem()),
                    (507, "storage-full"),
                    "{}",
                    refused.body
                );
                assert!(refused.headers.contains_key("retry-after"));
            }
        }
        assert!(stage.keeps_notes_in_memory().await, "{signal}");
        // A life on the full disk takes nothing away from the next one.
        stage.cluster.end_node("KILL").await;
        stage.cluster.node = stage.cluster.another_node(&[]).await;
        for key in &stage.keys {
            assert_eq!(stage.count(key).await.expect(200)["count"], 20, "{signal}");
        }
        stage.disk.set_fault(None);
        stage.has_recovered().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_files_cannot_be_opened_for_now_is_not_reported_as_damaged_and_its_bill_is_closed_later()
 {
    let Some(mut stage) = Stage::new().await else { return };
    for error in WANTS {
        stage.cluster.change_node(&[]).await;
        stage.disk.set_fault(Some(DiskFault::FailsToOpen { name: None, error }));
        for key in &stage.keys {
            for answer in [stage.count(key).await, stage.write(key).await] {
                let problem = (answer.status.as_u16(), answer.problem());
                assert_eq!(problem, (503, "storage-failed"), "error {error}: {}", answer.body);
                assert!(answer.headers.contains_key("retry-after"));
            }
        }
        stage.disk.set_fault(None);
        stage.has_recovered().await;
    }
    // A tenant that is deleted meanwhile goes when its last bill can be closed, and not before.
    stage.cluster.change_node(&[]).await;
    stage.disk.set_fault(Some(DiskFault::FailsToOpen { name: None, error: 24 }));
    let globex = "globex".parse().unwrap();
    stage.cluster.hub.set_tenant_status(&globex, TenantStatus::Deleted).unwrap();
    let is_hindered = async || stage.cluster.node.has_logged(&["\"ERROR\"", "\"tenant\":\"globex\""]);
    eventually("the deletion fails", is_hindered).await;
    assert!(stage.folder.path().join("data/globex").is_dir());
    stage.disk.set_fault(None);
    is_put_away(&stage.folder.path().join("data"), "globex", 1).await;
    let upserted = async || {
        let lines = stage.cluster.usage(&globex).await;
        let of_meter = |line: &&UsageEvent| line.data.meter == Meter::VectorsUpserted;
        lines.iter().filter(of_meter).map(|line| line.data.value).sum::<u128>()
    };
    // Once at first, and once for each want.
    let all = 20 * (1 + WANTS.len() as u128);
    eventually("the last bill is delivered", async || upserted().await == all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_store_that_cannot_be_opened_for_now_is_not_replaced() {
    let Some(mut stage) = Stage::new().await else { return };
    for error in WANTS {
        stage.cluster.end_node("TERM").await;
        stage.disk.set_fault(Some(DiskFault::FailsToOpen { name: Some("db"), error }));
        stage.cluster.node = stage.cluster.another_node(&[]).await;
        for key in &stage.keys {
            assert_eq!(stage.count(key).await.expect(200)["count"], 20, "error {error}");
        }
        assert!(stage.keeps_notes_in_memory().await, "error {error}");
        stage.disk.set_fault(None);
        stage.has_recovered().await;
    }
}

/// A cluster whose node was stopped after a tenant created a collection.
async fn stopped_with_words(folder: &Path) -> (Cluster, ApiKey) {
    let mut cluster = Cluster::start(folder, &[]).await;
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let collection = json!({"name": "words", "dimension": 2, "metric": "dot"});
    cluster.send(&key, "POST", "/collections", &collection).await.expect(201);
    cluster.end_node("TERM").await;
    (cluster, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_database_is_missing_is_damaged_and_temporary_files_of_killed_writes_are_removed() {
    let folder = TempDir::new().unwrap();
    let (mut cluster, key) = stopped_with_words(folder.path()).await;
    let data = folder.path().join("data");
    let left = [
        "acme/closed-Ab12Cd",
        "acme/closed.fresh",
        "acme/closed.aside",
        "acme/unfinished",
        "acme/manifest.json.fresh",
        "_deleted/.tmpAb12Cd",
        "_node/usage/deleted/.tmpAb12Cd",
    ];
    for file in left {
        fs::create_dir_all(data.join(file).parent().unwrap()).unwrap();
        fs::write(data.join(file), "half").unwrap();
    }
    cluster.node = cluster.another_node(&[]).await;
    cluster.send(&key, "GET", "/collections", &Value::Null).await.expect(200);
    for file in left {
        assert!(!data.join(file).exists(), "{file}");
    }
    cluster.end_node("TERM").await;
    fs::remove_file(Path::new(&data).join("acme/log/db")).unwrap();
    cluster.node = cluster.another_node(&[]).await;
    let second = json!({"name": "others", "dimension": 2, "metric": "dot"});
    let refused = cluster.send(&key, "POST", "/collections", &second).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "tenant-damaged"), "{}", refused.body);
    assert!(!data.join("acme/log/db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_place_of_the_folder_of_deleted_tenants_damages_no_tenant() {
    let folder = TempDir::new().unwrap();
    let (mut cluster, key) = stopped_with_words(folder.path()).await;
    cluster.node = cluster.another_node(&[]).await;
    let (deleted, aside) = (folder.path().join("data/_deleted"), folder.path().join("aside"));
    fs::rename(&deleted, &aside).unwrap();
    fs::write(&deleted, []).unwrap();
    let refused = cluster.send(&key, "GET", "/collections", &Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "storage-failed"), "{}", refused.body);
    fs::remove_file(&deleted).unwrap();
    fs::rename(&aside, &deleted).unwrap();
    let is_served =
        async || cluster.send(&key, "GET", "/collections", &Value::Null).await.status.as_u16() == 200;
    eventually("the tenant is served again", is_served).await;
}
