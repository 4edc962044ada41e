//! Snapshots that callers may come back for.
//!
//! A snapshot shares its memory with the state. It holds more only of what has been deleted or replaced since, so it is
//! dropped when a collection is deleted or compacted, and with the rest of the tenant when it falls asleep.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many snapshots are kept of one tenant; the oldest make room.
const KEPT_MAX: usize = 8;
/// How long one is kept.
const KEPT_FOR: Duration = Duration::from_mins(5);

/// How a snapshot is found again.
pub type KeptKey = [u8; 32];

/// A snapshot, with what the caller needs to go on with it.
pub type Kept = Arc<dyn Any + Send + Sync>;

/// The snapshots of one tenant that callers may come back for.
#[derive(Debug, Default)]
pub(super) struct KeptSnapshots(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    key: KeptKey,
    kept: Kept,
    since: Instant,
}

impl KeptSnapshots {
    pub(super) fn keep(&self, key: KeptKey, kept: Kept) {
        let mut entries = self.entries();
        let now = Instant::now();
        drop_expired(&mut entries, now);
        entries.retain(|entry| entry.key != key);
        if entries.len() == KEPT_MAX {
            entries.pop_front();
        }
        entries.push_back(Entry { key, kept, since: now });
    }

    pub(super) fn find(&self, key: &KeptKey) -> Option<Kept> {
        let mut entries = self.entries();
        drop_expired(&mut entries, Instant::now());
        entries.iter().find(|entry| entry.key == *key).map(|entry| Arc::clone(&entry.kept))
    }

    pub(super) fn clear(&self) {
        // Dropped without the lock.
        let _entries = std::mem::take(&mut *self.entries());
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the entries that have been kept for too long. The oldest is the first.
fn drop_expired(entries: &mut VecDeque<Entry>, now: Instant) {
    while entries.pop_front_if(|oldest| now.duration_since(oldest.since) >= KEPT_FOR).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_snapshots_are_kept_until_they_are_cleared() {
        let snapshots = KeptSnapshots::default();
        for key in 0..10 {
            snapshots.keep([key; 32], Arc::new(key));
            snapshots.keep([key; 32], Arc::new(key + 100));
        }
        let found = |key| {
            let kept = snapshots.find(&[key; 32])?;
            kept.downcast::<u8>().ok().map(|kept| *kept)
        };
        assert_eq!(
            (0..10).map(found).collect::<Vec<_>>(),
            [
                None,
                None,
                Some(102),
                Some(103),
                Some(104),
                Some(105),
                Some(106),
                Some(107),
                Some(108),
                Some(109)
            ]
        );
        snapshots.clear();
        assert_eq!(found(9), None);
    }
}
