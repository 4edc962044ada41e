//! A loss of power does not undo synced writes.

use std::fs;
use std::process::Command;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::{BodyPlacement, SledPaths, SledStorage, Storage, StorageError};
use crate::part::PartKey;
use crate::position::Seq;

const SEGMENT_BYTES: usize = 512 * 1024;

/// Set in the process that runs only this test.
const ALONE: &str = "VECTORIZER_ALONE";

/// How many bytes this process has written.
fn bytes_written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    line.parse().unwrap()
}

/// A storage, and the bytes written between its syncs.
struct Watched {
    folder: TempDir,
    storage: Option<SledStorage>,
    synced_at: u64,
    syncs: u64,
    just_opened: bool,
}

impl Watched {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = SledStorage::create(&paths(&folder), SEGMENT_BYTES, BodyPlacement::Parts).unwrap();
        storage.sync().unwrap();
        Self { folder, storage: Some(storage), synced_at: bytes_written(), syncs: 0, just_opened: false }
    }

    fn reopen(&mut self) {
        self.storage = None;
        self.storage =
            Some(SledStorage::open(&paths(&self.folder), SEGMENT_BYTES, BodyPlacement::Parts).unwrap());
        self.just_opened = true;
    }

    fn change(&mut self, change: impl FnOnce(&SledStorage) -> Result<(), StorageError>) {
        let storage = self.storage.as_ref().unwrap();
        let before = storage.unsynced_bytes.load(Ordering::Relaxed);
        change(storage).unwrap();
        let written = bytes_written();
        let synced = storage.unsynced_bytes.load(Ordering::Relaxed) < before;
        if std::mem::take(&mut self.just_opened) {
            assert!(synced, "what opening has written counts too");
        } else {
            let since = written - self.synced_at;
            assert!(since <= SEGMENT_BYTES as u64, "{since} bytes between syncs {} and the next", self.syncs);
        }
        if synced {
            (self.synced_at, self.syncs) = (written, self.syncs + 1);
        }
    }
}

fn paths(folder: &TempDir) -> SledPaths {
    let at = |name: &str| folder.path().join(name);
    SledPaths { log: at("log"), head: at("head"), poison_mark: at("condemned") }
}

/// sled frees a segment when its own flush, which is not an fsync, has moved the last page out of it. If more than a
/// segment is written between two real syncs, the freed one may be overwritten before the moved pages are durable,
/// and a loss of power loses records that were acknowledged long before.
#[test]
fn at_most_a_segment_is_written_between_two_syncs() {
    if std::env::var_os(ALONE).is_none() {
        // The writes of other tests would count too.
        let name = "storage::sled_tests::at_most_a_segment_is_written_between_two_syncs";
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let ended = alone.args([name, "--exact", "--nocapture"]).env(ALONE, "1").status().unwrap();
        assert!(ended.success());
        return;
    }
    for (value_bytes, puts) in [(150, 20_000), (1_500, 10_000), (6_400, 3_000)] {
        let value = vec![7; value_bytes];
        let mut watched = Watched::new();
        let mut last = 0;
        for life in 0..4 {
            // Never twice at the same offset of a segment.
            for _ in 0..puts / 4 + 37 * life {
                last += 1;
                watched.change(|storage| storage.put(PartKey::first(Seq::new(last)), &value));
            }
            watched.reopen();
            if life % 2 == 1 {
                for _ in 0..puts / 8 {
                    let key = PartKey::first(Seq::new(last)).to_bytes();
                    watched.change(|storage| storage.remove(&key));
                    last -= 1;
                }
            }
        }
        assert!(watched.syncs > 40, "only {} syncs", watched.syncs);
    }
}
