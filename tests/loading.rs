//! The main job on real input: vectors in through one tenant, the right neighbours out, and nothing of
//! it through another's keys.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{ACME, Client, GLOBEX, Node};

/// Rows of little-endian four-byte numbers, as numpy writes them.
struct Matrix {
    columns: usize,
    bytes: Vec<u8>,
}

impl Matrix {
    fn read(path: &Path) -> Self {
        let file = fs::read(path).unwrap();
        assert_eq!(&file[..6], b"\x93NUMPY");
        let header_bytes = usize::from(u16::from_le_bytes([file[8], file[9]]));
        let header = std::str::from_utf8(&file[10..10 + header_bytes]).unwrap();
        assert!(header.contains("'<f4'") || header.contains("'<i4'") || header.contains("'<u4'"), "{header}");
        let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
        let columns = shape.split_once(',').unwrap().1.trim().parse().unwrap();
        Self { columns, bytes: file[10 + header_bytes..].to_vec() }
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.columns * 4)
    }
}

/// 60,000 word vectors with their true neighbours; a folder beside the project, or where
/// `VECTORIZER_DATA` says.
fn glove() -> Option<PathBuf> {
    let folder = std::env::var_os("VECTORIZER_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from)
        .join("glove-100");
    folder.join("base.npy").exists().then_some(folder)
}

async fn upsert(client: &Client, collection: &str, first: usize, rows: &[&[u8]]) -> Value {
    let vectors: Vec<Value> = (first..)
        .zip(rows)
        .map(|(number, row)| json!({"id": number.to_string(), "vector": BASE64.encode(row)}))
        .collect();
    client.load(&format!("/collections/{collection}/vectors"), &json!({"vectors": vectors})).await
}

async fn nearest(client: &Client, query: &[u8], exact: bool) -> Vec<String> {
    let search = json!({"vector": BASE64.encode(query), "limit": 10, "exact": exact});
    let found = client.post("/collections/words/search", &search).await.expect(200);
    let id = |hit: &Value| hit["id"].as_str().unwrap().to_owned();
    found["results"].as_array().unwrap().iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_thousand_real_vectors_are_found_as_they_should_be_and_by_their_tenant_alone() {
    let Some(folder) = glove() else {
        eprintln!("SKIPPED: the glove-100 vectors are not here; VECTORIZER_DATA says where they are");
        return;
    };
    let base = Matrix::read(&folder.join("base.npy"));
    let queries = Matrix::read(&folder.join("queries.npy"));
    let neighbours = Matrix::read(&folder.join("neighbours.npy"));
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", base.columns, "cosine").await;
    let rows: Vec<&[u8]> = base.rows().collect();
    for (number, chunk) in rows.chunks(1_000).enumerate() {
        upsert(&client, "words", number * 1_000, chunk).await;
    }
    let count = client.post("/collections/words/count", &json!({})).await.expect(200);
    assert_eq!(count["count"], rows.len());

    let mut right = 0;
    for (query, truth) in queries.rows().zip(neighbours.rows()).take(200) {
        let expected: Vec<String> = truth
            .chunks_exact(4)
            .take(10)
            .map(|id| u32::from_le_bytes(id.try_into().unwrap()).to_string())
            .collect();
        assert_eq!(nearest(&client, query, true).await, expected);
        // However much of them is linked by now.
        let found = nearest(&client, query, false).await;
        right += found.iter().filter(|id| expected.contains(id)).count();
    }
    assert!(right >= 1_900, "{right} of 2,000 nearest neighbours were found");

    // The same, everywhere, through the second tenant's keys.
    let other = node.client(GLOBEX);
    let vector = json!({"vector": BASE64.encode(rows[0]), "limit": 10});
    for (method, path, body) in [
        (Method::GET, "/collections/words", json!({})),
        (Method::GET, "/collections/words/vectors", json!({})),
        (Method::GET, "/collections/words/vectors/0", json!({})),
        (Method::POST, "/collections/words/search", vector.clone()),
        (Method::POST, "/collections/words/search/batch", json!({"searches": [vector]})),
        (Method::POST, "/collections/words/count", json!({})),
        (Method::PUT, "/collections/words/vectors", json!({"vectors": [{"id": "0", "vector": [0]}]})),
        (Method::PATCH, "/collections/words/vectors/0/payload", json!({"mine": true})),
        (Method::POST, "/collections/words/vectors/delete", json!({"ids": ["0"]})),
        (Method::DELETE, "/collections/words/vectors/0", json!({})),
        (Method::DELETE, "/collections/words", json!({})),
    ] {
        let answer = other.send(other.request(method.clone(), path).json(&body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (404, "no-such-collection"),
            "{method} {path}"
        );
    }
    assert_eq!(other.get("/collections").await.expect(200), json!({"collections": []}));
    assert_eq!(other.log("").await, Vec::<Value>::new());

    // And again after the server was killed.
    let head = client.get("/log/head").await.expect(200);
    node.kill();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    assert_eq!(client.get("/log/head").await.expect(200), head);
    let search = json!({"vector": BASE64.encode(rows[0]), "limit": 1});
    assert_eq!(client.post("/collections/words/search", &search).await.expect(200)["results"][0]["id"], "0");
}
