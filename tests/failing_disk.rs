//! A disk that takes no more: nothing acknowledged is lost, reads go on, and writes come back only after
//! the log was copied into fresh files.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_log::storage::StorageFailure;
use vectorizer_log::{Error, TenantFolder};
use vectorizer_testing::events::{at, commit, created_words, draft, open, upserted};
use vectorizer_testing::{Random, Wait};

use crate::support::disk::{Disk, DiskFault, Survival};
use crate::support::hub_and_node::Cluster;
use crate::support::node::{ACME, Answer, Client, GLOBEX, Node};

fn batch(number: usize) -> Value {
    let vectors: Vec<Value> =
        (0..50).map(|id| json!({"id": format!("{number}-{id}"), "vector": vec![number; 64]})).collect();
    json!({ "vectors": vectors })
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_a_failing_disk_and_are_readable_all_the_while() {
    let data = TempDir::new().unwrap();
    // No file of the server may grow beyond two megabytes: a write then fails as on a full disk.
    let node = Node::dev_with_file_limit(data.path(), 2 << 20);
    let client = node.client(ACME);
    client.create("words", 64, "dot").await;
    node.client(GLOBEX).create("others", 2, "dot").await;
    let mut acknowledged = 0;
    let failure = loop {
        let answer = client.put("/collections/words/vectors", &batch(acknowledged)).await;
        if answer.status != 200 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 2_000, "the limit is not felt");
    };
    assert!(acknowledged > 10);
    assert_eq!((failure.status.as_u16(), failure.problem()), (503, "storage-failed"), "{}", failure.body);
    for _ in 0..5 {
        let count = client.post("/collections/words/count", &json!({})).await.expect(200)["count"].clone();
        // The write that failed may have been durable before it failed.
        assert!([acknowledged * 50, (acknowledged + 1) * 50].contains(&(count.as_u64().unwrap() as usize)));
        client.get("/collections/words/vectors/0-0").await.expect(200);
    }
    // The neighbour has files of its own, and room in them.
    let other = json!({"vectors": [{"id": "a", "vector": [1, 2]}]});
    node.client(GLOBEX).put("/collections/others/vectors", &other).await.expect(200);
    node.kill();

    let node = Node::dev(data.path());
    let client = node.client(ACME);
    let log = client.log("?from=2").await;
    assert!([acknowledged, acknowledged + 1].contains(&log.len()), "{} of {acknowledged}", log.len());
    for (number, line) in log.iter().enumerate() {
        assert_eq!(line["event"]["points"][0]["id"], format!("{number}-0"));
    }
    assert!(!data.path().join("acme/condemned").exists());
    client.put("/collections/words/vectors", &batch(acknowledged)).await.expect(200);
    node.stop();
    let folder = data.path().to_str().unwrap();
    let verified =
        crate::support::node::vectorizer(["log", "verify", "--data-dir", folder, "--tenant", "acme"]);
    assert_eq!(verified.status.code(), Some(0));
}

/// What a tenant was told of the writes it made.
struct Writer {
    client: Client,
    key: ApiKey,
    acknowledged: usize,
}

impl Writer {
    async fn start(cluster: &Cluster, name: &str) -> Self {
        cluster.tenant(name);
        let writer =
            Self { client: cluster.node.keyless(), key: cluster.key(Some(name), None), acknowledged: 0 };
        let body = json!({"name": "words", "dimension": 64, "metric": "dot"});
        writer.send("POST", "/collections", &body).await.expect(201);
        writer
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.client.request(method.parse().unwrap(), path).bearer_auth(self.key.expose());
        self.client.send(if body.is_null() { request } else { request.json(body) }).await
    }

    async fn write(&mut self) -> Answer {
        let answer = self.send("PUT", "/collections/words/vectors", &batch(self.acknowledged)).await;
        self.acknowledged += usize::from(answer.status == 200);
        answer
    }

    /// Everything that was acknowledged is found, and at most what was being written when the disk failed, too.
    async fn reads(&self) {
        let count =
            self.send("POST", "/collections/words/count", &json!({})).await.expect(200)["count"].as_u64();
        assert!(
            [self.acknowledged, self.acknowledged + 1].contains(&(count.unwrap() as usize / 50)),
            "{count:?}"
        );
        let search = json!({"vector": vec![1; 64], "limit": 1});
        let found = self.send("POST", "/collections/words/search", &search).await.expect(200);
        assert_eq!(found["results"].as_array().unwrap().len(), 1);
        self.send("GET", "/collections/words/vectors/0-0", &Value::Null).await.expect(200);
    }

    /// Writes until it is refused; with what.
    async fn write_until_refused(&mut self) -> Answer {
        for _ in 0..2_000 {
            let answer = self.write().await;
            if answer.status != 200 {
                return answer;
            }
        }
        panic!("the disk takes all that is written");
    }

    /// Writes until it is taken again.
    async fn write_until_taken(&mut self) {
        let wait = Wait::new("writes are accepted again").every(Duration::from_millis(50));
        wait.until(async || self.write().await.status == 200).await;
    }
}

/// A disk that suffers, under a server with two tenants that write: refused with this, both read on, and write again
/// when the disk is well. Then the power fails, as after a failed sync memory may say more than the disk holds.
async fn lives_through(fault: impl FnOnce(&Disk) -> DiskFault, status: u16, problem: &str) {
    let folder = TempDir::new().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("data")) else { return };
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let mut writers = [Writer::start(&cluster, "acme").await, Writer::start(&cluster, "globex").await];
    for writer in &mut writers {
        writer.write().await.expect(200);
    }
    disk.set_fault(Some(fault(&disk)));
    for writer in &mut writers {
        let refused = writer.write_until_refused().await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (status, problem), "{}", refused.body);
        assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    }
    for _ in 0..3 {
        for writer in &mut writers {
            let refused = writer.write().await;
            assert_eq!((refused.status.as_u16(), refused.problem()), (status, problem), "{}", refused.body);
            writer.reads().await;
        }
    }
    let health = cluster.node.keyless();
    health.send(health.request_at(Method::GET, "/ready")).await.expect(200);
    disk.set_fault(None);
    for writer in &mut writers {
        writer.write_until_taken().await;
        writer.reads().await;
        // What failed was copied into fresh files, and nothing is left of what it was.
        for left in ["condemned", "log.fresh", "log.retired", "head.fresh"] {
            assert!(!folder.path().join("data/acme").join(left).exists(), "{left}");
        }
    }
    disk.power_off(Survival::Nothing, &mut Random::new(1));
    cluster.node.signal("KILL");
    disk.power_on();
    cluster.restart_node(&[]).await;
    for writer in &mut writers {
        writer.client = cluster.node.keyless();
        writer.reads().await;
        writer.write().await.expect(200);
    }
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_writes_and_answers_reads_until_there_is_room_again() {
    let fault = |disk: &Disk| DiskFault::Full { bytes: disk.bytes() + (3 << 19) };
    lives_through(fault, 507, "storage-full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_became_read_only_answers_reads() {
    lives_through(|_| DiskFault::ReadOnly, 503, "storage-failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_write_answers_reads() {
    lives_through(|_| DiskFault::FailsToWrite, 503, "storage-failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_failed_is_never_taken_for_done_by_trying_it_again() {
    lives_through(|_| DiskFault::FailsToSync, 503, "storage-failed").await;
}

/// The part of a body that still fits would take the room that a copy of the log needs.
#[test]
fn a_disk_that_is_full_within_a_body_keeps_no_part_of_it() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let Some(disk) = Disk::mount(&data) else { return };
    let tenant = TenantFolder::new(&data, &"acme".parse().unwrap());
    tenant.create().unwrap();
    let mut log = open(&tenant);
    let written =
        [commit(&mut log, [created_words("words")]), commit(&mut log, [upserted(3_000, 1)])].concat();
    let bodies = || std::fs::metadata(tenant.path().join("log/bodies")).unwrap().len();
    let before = bodies();
    // Linux gives a file system of a process at most 256 pages at once.
    disk.set_fault(Some(DiskFault::Full { bytes: disk.bytes() + (3 << 19) }));
    let mut failing = log.begin().unwrap();
    failing.stage(draft(upserted(60_000, 2)), at(1)).unwrap();
    let Err(Error::Storage(full)) = failing.commit() else { panic!("it was written") };
    assert_eq!((full.kind, full.doing), (StorageFailure::Full, "write bodies"), "{full}");
    assert_eq!(bodies(), before);
    assert!(matches!(log.begin(), Err(Error::Poisoned(_))));
    drop(log);
    disk.set_fault(None);
    let mut records = Vec::new();
    let recovered = tenant.open().unwrap().recover(|record| {
        records.push(record);
        Ok::<_, Error>(())
    });
    assert_eq!(records, written);
    commit(&mut recovered.unwrap().log, [upserted(3_000, 3)]);
}
