//! What a node has on disk.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vectorizer_testing::eventually;

/// Copies a folder. A file that goes meanwhile is left out.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let _ = fs::copy(entry.path(), target);
        }
    }
}

/// How many tombstones there are.
pub(crate) fn deleted(data: &Path) -> usize {
    let entries = fs::read_dir(data.join("_deleted")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|it| it == "json")).count()
}

/// Waits until the tenant's folder is gone, and `all` of them have been put away.
pub(crate) async fn is_put_away(data: &Path, tenant: &str, all: usize) {
    let is_gone = async || deleted(data) >= all && !data.join(tenant).exists();
    eventually("what HiveHub has deleted goes", is_gone).await;
}

/// The manifest as a version before it named its tenant wrote it.
pub(crate) fn without_tenant(manifest: &Path) -> String {
    let mut manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let fields = manifest.as_object_mut().unwrap();
    fields.remove("tenant");
    let text = |name: &str| {
        fields
            .get(name)
            .map_or_else(String::new, |it| it.as_str().map_or_else(|| it.to_string(), str::to_owned))
    };
    let line = ["format", "log_id", "segment_bytes", "incarnation"].map(text).join(" ");
    let checksum = crc32fast::hash(line.trim_end().as_bytes());
    fields.insert("checksum".to_owned(), json!(checksum));
    manifest.to_string()
}

/// Something in the way of whatever is to be deleted: nothing can be moved to where it would go.
pub(crate) struct Obstacle {
    place: PathBuf,
    away: PathBuf,
}

impl Obstacle {
    pub(crate) fn to_deletions(data: &Path) -> Self {
        let (place, away) = (data.join("_deleted"), data.join("_away"));
        std::fs::rename(&place, &away).unwrap();
        std::fs::write(&place, "").unwrap();
        Self { place, away }
    }

    pub(crate) fn remove(self) {
        std::fs::remove_file(&self.place).unwrap();
        std::fs::rename(&self.away, &self.place).unwrap();
    }
}
