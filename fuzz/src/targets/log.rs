//! A whole log: its parts and its head as they may lie on a disk.

use std::sync::Arc;

use vectorizer_log::storage::{MemoryStorage, Storage};
use vectorizer_log::{Error, PartKey, Seq, UnverifiedLog, copy_acknowledged};

use super::pieces::{joined, pieces};
use super::story::{PART_BYTES_MAX, at, draft, events, log, log_id};

/// The head, and then keys and values. What is recovered can be appended to, and recovered again with all of
/// that; a copy of it is the same.
pub(super) fn run(bytes: &[u8]) {
    let mut pieces = pieces(bytes);
    let head = pieces.next().unwrap_or_default().to_vec();
    let storage = Arc::new(MemoryStorage::new(PART_BYTES_MAX));
    storage.tamper_head(|stored| {
        // A file grows by being written to, and what is in memory does not.
        let length = stored.len().max(head.len());
        *stored = head;
        stored.resize(length, 0);
    });
    storage.tamper(|parts| {
        while let (Some(key), Some(value)) = (pieces.next(), pieces.next()) {
            parts.insert(key.to_vec(), value.to_vec());
        }
    });
    let Ok(unverified) = opened(&storage) else { return };
    let acknowledged = unverified.acknowledged();
    let mut records = 0;
    let count = |_| {
        records += 1;
        Ok::<_, Error>(())
    };
    let Ok(recovered) = unverified.recover(count) else { return };
    let mut log = recovered.log;
    assert_eq!(log.head().seq, Seq::new(records));
    assert!(log.head().seq >= acknowledged.seq);
    let copy = Arc::new(MemoryStorage::new(PART_BYTES_MAX * 2));
    assert_eq!(
        copy_acknowledged(Arc::new(Arc::clone(&storage)), &copy, log_id()).expect("it was recovered"),
        log.head()
    );
    assert_eq!(opened(&copy).expect("it was copied").acknowledged(), log.head());
    let last = events().swap_remove(0);
    let mut commit = log.begin().expect("it was recovered");
    commit.stage(draft(last), at(1_000)).expect("it is small enough");
    commit.commit().expect("memory does not fail");
    let mut again = 0;
    let count = |_| {
        again += 1;
        Ok::<_, Error>(())
    };
    let recovered = opened(&storage).and_then(|log| log.recover(count)).expect("it was recovered before");
    assert_eq!((recovered.log.head(), again), (log.head(), records + 1));
    assert!(recovered.removed.is_none());
}

fn opened(storage: &Arc<MemoryStorage>) -> Result<UnverifiedLog, Error> {
    UnverifiedLog::new(Box::new(Arc::clone(storage)), log_id())
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (storage, _log) = log();
    let head = storage.read_head().expect("memory does not fail");
    let mut parts = Vec::new();
    let mut note = |key: &[u8], value: &[u8]| {
        parts.push([key.to_vec(), value.to_vec()]);
        std::ops::ControlFlow::Continue(())
    };
    storage.scan_parts(PartKey::first(Seq::OLDEST), &mut note).expect("memory does not fail");
    let with = |head: &[u8], count: usize| {
        let parts = parts[..count].iter().flatten().map(Vec::as_slice);
        joined(std::iter::once(head).chain(parts))
    };
    // Without the head's last writes there is an end that was not acknowledged.
    let mut behind = head.clone();
    behind[4096..].fill(0);
    vec![
        with(&head, parts.len()),
        with(&behind, parts.len()),
        with(&behind, parts.len() - 1),
        with(&head, parts.len() / 2),
        with(&[], 0),
    ]
}
