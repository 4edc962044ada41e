//! What a closed log leaves beside it: its last records, its head, its manifest.

use std::fs;

use tempfile::TempDir;
use vectorizer_log::{Head, TenantFolder};

use super::pieces::{joined, pieces};
use super::story::{log, log_id, records};

const FILES: [&str; 3] = ["manifest.json", "head", "closed"];

/// The files of [`FILES`], the last without its hash, which is made to be right. What is read of it leads to the
/// head.
pub(super) fn run(bytes: &[u8]) {
    let data = folder();
    let folder = TenantFolder::new(data.path(), &"acme".parse().expect("it is a tenant's id"));
    fs::create_dir(folder.path()).expect("the folder can be written to");
    for (file, bytes) in FILES.into_iter().zip(pieces(bytes)) {
        let mut bytes = bytes.to_vec();
        if file == "closed" {
            let hash = blake3::hash(&bytes);
            bytes.extend_from_slice(hash.as_bytes());
        }
        fs::write(folder.path().join(file), bytes).expect("the folder can be written to");
    }
    if let Ok(Some(closed)) = folder.closed() {
        let last = closed.records.last().map_or(closed.base.seq, |record| record.seq);
        assert_eq!(last, closed.head.seq);
    }
    let _ = folder.incarnation();
}

/// Where writing costs least.
pub(super) fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("there is a place for files")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let data = folder();
    let folder = TenantFolder::new(data.path(), &"acme".parse().expect("it is a tenant's id"));
    let (storage, log) = log();
    fs::create_dir(folder.path()).expect("the folder can be written to");
    let between = [Head::genesis(log_id()), log.head()];
    folder.write_closed(log_id(), between, log.bytes(), &records()).expect("the folder can be written to");
    let closed = fs::read(folder.path().join("closed")).expect("it was written");
    let (closed, _hash) = closed.split_last_chunk::<32>().expect("it ends with its hash");
    let checksum = crc32fast::hash(format!("1 {} 524288", log_id()).as_bytes());
    let manifest = serde_json::json!({
        "format": 1, "log_id": log_id().to_string(), "segment_bytes": 524_288, "checksum": checksum,
    });
    let manifest = manifest.to_string();
    let head = vectorizer_log::storage::Storage::read_head(&storage).expect("memory does not fail");
    vec![joined([manifest.as_bytes(), &head, closed])]
}
