//! Damage stays local: it is named by tenant and seq, reading changes nothing, and the other
//! tenants are served.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_durable::copy_tree;
use vectorizer_hivehub::TenantStatus;
use vectorizer_testing::eventually;

use crate::support::folders::Obstacle;
use crate::support::hub_and_node::Cluster;
use crate::support::node::{ACME, Client, GLOBEX, Key, Node, vectorizer};

/// Two tenants with data, and the server that wrote it stopped.
struct Written {
    data: TempDir,
    /// Records in each tenant's log.
    records: u64,
}

async fn write(client: &Client) {
    client.create("words", 64, "dot").await;
    for round in 0..40 {
        let vectors: Vec<Value> =
            (0..25).map(|id| json!({"id": format!("{round}-{id}"), "vector": vec![round; 64]})).collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
}

impl Written {
    async fn new() -> Self {
        let data = TempDir::new().unwrap();
        let node = Node::dev(data.path());
        write(&node.client(ACME)).await;
        write(&node.client(GLOBEX)).await;
        node.stop();
        Self { data, records: 41 }
    }

    /// The same in a folder of its own, to be damaged.
    fn copy(&self) -> Self {
        let data = TempDir::new().unwrap();
        copy_tree(self.data.path(), data.path()).unwrap();
        Self { data, records: self.records }
    }

    fn file(&self, tenant: &str, name: &str) -> PathBuf {
        self.data.path().join(tenant).join(name)
    }

    /// What `log verify` says of a tenant: its exit code and its words.
    fn verify(&self, tenant: &str) -> (i32, String) {
        let folder = self.data.path().to_str().unwrap();
        let before = contents(self.data.path());
        let output = vectorizer(["log", "verify", "--data-dir", folder, "--tenant", tenant]);
        assert!(contents(self.data.path()) == before, "verifying changed the folder");
        let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), words)
    }

    /// The server takes no writes to acme's damaged log, and serves globex. What acme had when its log was closed is
    /// still read, for as long as what is kept of it is whole.
    async fn serves_the_other_alone(&self) {
        let search = json!({"vector": vec![1; 64], "limit": 1});
        for life in 0..2 {
            let node = Node::dev(self.data.path());
            let acme = node.client(ACME);
            for _ in 0..2 {
                let more = json!({"vectors": [{"id": "more", "vector": vec![0; 64]}]});
                let refused = acme.put("/collections/words/vectors", &more).await;
                assert_eq!((refused.status.as_u16(), refused.problem()), (503, "tenant-damaged"));
                assert!(refused.headers.contains_key("retry-after"));
                let reader = node.client(Key::ReadOnly(0));
                let found = reader.post("/collections/words/search", &search).await.expect(200);
                assert!(found["results"][0]["id"].as_str().unwrap().starts_with("39-"), "life {life}");
            }
            self.serves(&node.client(GLOBEX)).await;
            // A restart is no cure, and takes nothing away.
            node.kill();
        }
        fs::remove_file(self.file("acme", "checkpoint")).unwrap();
        self.serves_only_the_other().await;
    }

    /// The server refuses acme and serves globex.
    async fn serves_only_the_other(&self) {
        let node = Node::dev(self.data.path());
        let damaged = node.client(Key::ReadOnly(0)).get("/collections").await;
        assert_eq!((damaged.status.as_u16(), damaged.problem()), (503, "tenant-damaged"));
        assert!(damaged.headers.contains_key("retry-after"));
        self.serves(&node.client(GLOBEX)).await;
    }

    async fn serves(&self, client: &Client) {
        let search = json!({"vector": vec![1; 64], "limit": 1});
        let found = client.post("/collections/words/search", &search).await.expect(200);
        assert!(found["results"][0]["id"].as_str().unwrap().starts_with("39-"));
        let more = json!({"vectors": [{"id": "more", "vector": vec![0; 64]}]});
        client.put("/collections/words/vectors", &more).await.expect(200);
    }
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

/// Whether the words name the tenant and a seq within its log.
fn names_the_damage(words: &str, records: u64) -> bool {
    let line = words.lines().find(|line| line.contains("tenant acme: damage at seq "));
    let seq =
        line.and_then(|line| line.split("damage at seq ").nth(1)?.split(':').next()?.parse::<u64>().ok());
    seq.is_some_and(|seq| (1..=records).contains(&seq))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_any_region_of_the_database_is_harmless_or_named_and_stays_local() {
    let written = Written::new().await;
    let length = fs::metadata(written.file("acme", "log/db")).unwrap().len();
    let regions = 24;
    let mut damaged = None;
    for region in 0..regions {
        let copy = written.copy();
        flip(&copy.file("acme", "log/db"), length * region / regions + 700);
        let (code, words) = copy.verify("acme");
        match code {
            0 => {}
            1 => {
                assert!(names_the_damage(&words, copy.records), "{words}");
                damaged = Some(copy);
            }
            other => panic!("exit code {other}: {words}"),
        }
        assert_eq!(written.verify("globex").0, 0);
    }
    damaged.expect("no flip was found").serves_the_other_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_cut_below_the_head_is_named_and_stays_local() {
    let written = Written::new().await;
    let length = fs::metadata(written.file("acme", "log/db")).unwrap().len();
    for share in [0, 1, 2] {
        let copy = written.copy();
        let db = copy.file("acme", "log/db");
        OpenOptions::new().write(true).open(db).unwrap().set_len(length * share / 4).unwrap();
        let (code, words) = copy.verify("acme");
        assert_eq!(code, 1, "{words}");
        assert!(names_the_damage(&words, copy.records), "{words}");
        copy.serves_the_other_alone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_head_is_named_and_a_torn_slot_of_it_is_not_damage() {
    let written = Written::new().await;
    // Each byte that means something, of either slot: the other one stands.
    for at in [0, 5, 20, 45, 4096, 4101, 4116, 4141] {
        let copy = written.copy();
        flip(&copy.file("acme", "head"), at);
        let (code, words) = copy.verify("acme");
        assert_eq!(code, 0, "{words}");
    }
    let copy = written.copy();
    flip(&copy.file("acme", "head"), 5);
    flip(&copy.file("acme", "head"), 4101);
    let (code, words) = copy.verify("acme");
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("tenant acme") && words.contains("head"), "{words}");
    // The length of the log is unknown.
    copy.serves_only_the_other().await;
}

/// The damage that no checksum of the storage sees: whole, valid entries in the wrong place.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_and_foreign_records_are_named_and_stay_local() {
    let written = Written::new().await;
    let swapped = written.copy();
    let db = open(&swapped.file("acme", "log"));
    let (second, third) = (record(&db, 2), record(&db, 3));
    put(&db, &second, 3);
    put(&db, &third, 2);
    drop(db);
    let (code, words) = swapped.verify("acme");
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("tenant acme: damage at seq 2: the record is number 3"), "{words}");
    swapped.serves_the_other_alone().await;

    let mixed = written.copy();
    let foreign = record(&open(&mixed.file("globex", "log")), 5);
    let db = open(&mixed.file("acme", "log"));
    put(&db, &foreign, 5);
    drop(db);
    let (code, words) = mixed.verify("acme");
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("tenant acme: damage at seq 5: the record belongs to log "), "{words}");
    mixed.serves_the_other_alone().await;
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A tenant's sled, opened behind the server's back.
fn open(log: &Path) -> sled::Db {
    sled::Config::new().path(log).segment_size(512 * 1024).flush_every_ms(None).open().unwrap()
}

fn record(db: &sled::Db, seq: u64) -> Entries {
    let parts = db.scan_prefix(seq.to_be_bytes());
    parts.map(|part| part.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn put(db: &sled::Db, record: &Entries, seq: u64) {
    for (key, _) in self::record(db, seq) {
        db.remove(key).unwrap();
    }
    for (key, value) in record {
        let key = [&seq.to_be_bytes(), &key[8..]].concat();
        db.insert(key, value.as_slice()).unwrap();
    }
    db.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_node_store_costs_no_tenant_its_data() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &[]).await;
    let operator = cluster.key(None, None);
    let keys = ["acme", "globex"].map(|name| {
        cluster.tenant(name);
        cluster.key(Some(name), None)
    });
    let collection = json!({"name": "words", "dimension": 2, "metric": "dot"});
    for key in &keys {
        cluster.send(key, "POST", "/collections", &collection).await.expect(201);
    }
    cluster.tenant("initech");
    let gone = cluster.key(Some("initech"), None);
    cluster.send(&gone, "POST", "/collections", &collection).await.expect(201);
    // So that there are notes of each kind, of a deletion that the disk holds up too.
    cluster.change_node(&[]).await;
    let obstacle = Obstacle::to_deletions(&cluster.node.data);
    cluster.hub.set_tenant_status(&"initech".parse().unwrap(), TenantStatus::Deleted).unwrap();
    cluster
        .is_stored("a deletion", |store| store.deletions().is_ok_and(|deletions| !deletions.is_empty()))
        .await;
    cluster.end_node("KILL").await;
    obstacle.remove();
    let mut notes = 0;
    {
        let catalogue = sled::open(cluster.node.data.join("_node/catalogue")).unwrap();
        for name in catalogue.tree_names() {
            let tree = catalogue.open_tree(name).unwrap();
            for entry in tree.iter().keys() {
                tree.insert(entry.unwrap(), "{").unwrap();
                notes += 1;
            }
        }
        catalogue.flush().unwrap();
    }
    assert!(notes > 5, "{notes}");
    cluster.node = cluster.another_node(&[]).await;
    let ids = async || {
        let listed = cluster.send(&operator, "GET", "/cluster/tenants", &Value::Null).await.expect(200);
        let tenants = listed["tenants"].as_array().unwrap().iter();
        tenants.map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // HiveHub's feed is heard from its beginning, and tells of the deletion again.
    eventually("the deleted tenant is gone", async || ids().await == ["acme", "globex"]).await;
    for key in &keys {
        let found = cluster.send(key, "GET", "/collections", &Value::Null).await.expect(200);
        assert_eq!(found["collections"][0]["name"], "words");
        let point = json!({"vectors": [{"id": "a", "vector": [1, 2]}]});
        cluster.send(key, "PUT", "/collections/words/vectors", &point).await.expect(200);
        cluster.send(key, "GET", "/cluster/usage", &Value::Null).await.expect(200);
    }
}
