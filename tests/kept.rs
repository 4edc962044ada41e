//! Data folders that earlier programs have written are opened, and have everything that was in them.
//!
//! `tests/kept/make.py` makes them; `docs/formats.md` lists them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_testing::eventually;

use crate::support::node::{ACME, GLOBEX, Node, vectorizer};

/// The archives beside the script, each with the answers of the program that wrote it.
fn archives() -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let answers = files.filter(|path| path.extension().is_some_and(|it| it == "json"));
    answers
        .map(|path| {
            let answers = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path.with_extension("tar.gz"), answers)
        })
        .collect()
}

fn unpacked(archive: &Path) -> TempDir {
    let folder = TempDir::new().unwrap();
    let file = GzDecoder::new(fs::File::open(archive).unwrap());
    tar::Archive::new(file).unpack(folder.path()).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_an_earlier_program_is_served_as_it_was_and_takes_writes() {
    let archives = archives();
    assert!(archives.len() >= 6, "{archives:?}");
    for (archive, expected) in archives {
        let folder = unpacked(&archive);
        is_served(&archive.display().to_string(), &folder.path().join("data"), &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_failed_under_an_earlier_program_is_written_again_and_loses_nothing() {
    for (archive, expected) in archives() {
        let folder = unpacked(&archive);
        let data = folder.path().join("data");
        // The mark of a failed write or sync.
        fs::write(data.join("acme/condemned"), []).unwrap();
        is_served(&archive.display().to_string(), &data, &expected).await;
        assert!(!data.join("acme/condemned").exists());
    }
}

/// The program of today serves this folder as `expected`, and takes writes.
async fn is_served(name: &str, data: &Path, expected: &Value) {
    for tenant in ["acme", "globex"] {
        let verified =
            vectorizer(["log", "verify", "--data-dir", data.to_str().unwrap(), "--tenant", tenant]);
        assert!(verified.status.success(), "{name}: {verified:?}");
    }

    let hub = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let node = Node::start("dev", data, &["--hub-listen", &hub, "--usage-report-interval", "2"]);
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    let collections = acme.get("/collections").await.expect(200);
    let names: Vec<&Value> =
        collections["collections"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(json!(names), expected["collections"], "{name}");
    assert_eq!(acme.get("/collections/words/vectors/v1").await.expect(200), expected["point"], "{name}");
    assert_eq!(globex.get("/collections/words/vectors/g").await.expect(200), expected["globex"], "{name}");
    if !expected["texts"].is_null() {
        let found = acme.post("/collections/texts/search", &json!({"text": "elephant"})).await.expect(200);
        assert_eq!(found["results"], expected["texts"], "{name}");
    }
    // Of the writes that were under way when a program was killed, each is there as a whole or not at all.
    let late = late(&node).await;
    let count = acme.post("/collections/words/count", &json!({})).await.expect(200);
    assert_eq!(count["count"].as_u64(), expected["count"].as_u64().map(|count| count + late), "{name}");
    let search = json!({
        "vector": [1, 0.5, -0.5, 0.25, 0, 0, -1, 1], "limit": 10, "exact": true, "with_vector": true,
        "filter": {"must_not": [{"is_empty": {"key": "number"}}]},
    });
    let found = acme.post("/collections/words/search", &search).await.expect(200);
    assert_eq!(found["results"], expected["search"], "{name}");
    // The log goes on from where the earlier program has ended.
    for (client, head) in [&acme, &globex].into_iter().zip(expected["heads"].as_array().unwrap()) {
        let now = client.head().await;
        assert!(now["seq"].as_u64() >= head["seq"].as_u64(), "{name}: {now}, {head}");
        let seq = head["seq"].as_u64().unwrap();
        let record = &client.log(&format!("?from={seq}&to={seq}")).await[0];
        assert_eq!(record["chain"], head["chain"], "{name}");
    }
    // Deletions and writes are accepted.
    acme.delete("/collections/words/vectors/v3").await.expect(200);
    let upsert = json!({"vectors": [{"id": "new", "vector": [1, 1, 1, 1, 1, 1, 1, 1]}]});
    acme.put("/collections/words/vectors", &upsert).await.expect(200);
    acme.get("/collections/words/vectors/new").await.expect(200);

    // The bill of all windows is delivered, and agrees with the hub's ledger.
    let keys: Value = serde_json::from_slice(&fs::read(data.join("dev-keys.json")).unwrap()).unwrap();
    let key = keys["tenants"][0]["keys"]["admin"].as_str().unwrap();
    let service = keys["hivehub_api_key"].as_str().unwrap();
    let agrees = async || {
        let ledger = format!("http://{hub}");
        let bill = ["bill", "--url", node.url(), "--key", key, "--hub", &ledger, "--hub-key", service];
        vectorizer(bill).status.success()
    };
    eventually(format!("{name}: the ledger has the bill"), agrees).await;
    node.stop();
}

/// The number of vectors that were being written when the program was killed.
async fn late(node: &Node) -> u64 {
    let filter = json!({"filter": {"must": [{"is_empty": {"key": "number"}}]}});
    let late = node.client(ACME).post("/collections/words/count", &filter).await.expect(200);
    let late = late["count"].as_u64().unwrap();
    assert!(late == 0 || late == 200, "{late}");
    late
}
