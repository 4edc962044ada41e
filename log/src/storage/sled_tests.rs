//! What keeps a loss of power from undoing what was synced.

use std::fs;
use std::sync::atomic::Ordering;

use super::{SledPaths, SledStorage, Storage};
use crate::part::PartKey;
use crate::position::Seq;

/// Bytes this process has handed to the system for writing. No other test of this binary writes files.
fn bytes_written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    line.parse().unwrap()
}

/// sled frees a segment when its own flush, which is no fsync, has moved the last page out of it. If
/// more than a segment is written between two real syncs, the freed one may be overwritten before what
/// was moved is durable, and a loss of power then takes records that were acknowledged long before.
#[test]
fn at_most_a_segment_is_written_between_two_syncs() {
    const SEGMENT_BYTES: usize = 512 * 1024;
    for (value_bytes, puts) in [(150, 20_000), (1_500, 10_000), (6_400, 3_000)] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let paths = SledPaths { log: at("log"), head: at("head"), condemned: at("condemned") };
        let storage = SledStorage::create(&paths, SEGMENT_BYTES).unwrap();
        storage.sync().unwrap();
        let value = vec![7; value_bytes];
        let (mut synced_at, mut longest, mut syncs) = (bytes_written(), 0, 0);
        for number in 1..=puts {
            let before = storage.unsynced_bytes.load(Ordering::Relaxed);
            storage.put(PartKey::first(Seq::new(number)), &value).unwrap();
            let written = bytes_written();
            longest = longest.max(written - synced_at);
            if storage.unsynced_bytes.load(Ordering::Relaxed) < before {
                (synced_at, syncs) = (written, syncs + 1);
            }
        }
        assert!(syncs > 10, "only {syncs} syncs");
        assert!(longest <= SEGMENT_BYTES as u64, "{longest} bytes between two syncs at {value_bytes}");
    }
}
