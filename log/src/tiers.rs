//! The tiers of a log as one sequence of records: segments, frozen tails and the tail that takes writes.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Base;
use crate::damage::Damage;
use crate::history::{History, SEGMENTS};
use crate::part::PartKey;
use crate::position::{Head, LogId, Seq};
use crate::segment::{ScanEnd, Segment};
use crate::storage::{Storage, StorageError, Visit, VisitPart};

/// The tiers at one moment. Rotating, sealing, merging and dropping make new ones.
#[derive(Clone, Debug)]
pub(crate) struct Tiers {
    log_id: LogId,
    /// The tenant's folder; `None` for a storage without a folder, which is never rotated.
    folder: Option<Arc<LogFolder>>,
    pub(crate) history: Arc<History>,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Oldest first.
    pub(crate) frozen: Vec<Tail>,
    pub(crate) active: Tail,
}

/// The folder of a log and what its databases have in common.
#[derive(Debug)]
pub(crate) struct LogFolder {
    pub(crate) path: PathBuf,
    /// sled's segment size.
    pub(crate) segment_bytes: usize,
    /// The lock of the folder, for as long as the log is open.
    pub(crate) _lock: Option<File>,
}

/// A tail.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The first record that it can hold.
    pub(crate) first: Seq,
    pub(crate) storage: Arc<dyn Storage>,
}

impl Tiers {
    /// A log without segments in a storage without a folder.
    pub(crate) fn of_storage(log_id: LogId, storage: Arc<dyn Storage>) -> Self {
        let active = Tail { first: Seq::OLDEST, storage };
        let history = Arc::new(History::empty(log_id));
        Self { log_id, folder: None, history, segments: Vec::new(), frozen: Vec::new(), active }
    }

    /// The log of a folder with this history and these tails, oldest first.
    pub(crate) fn of_folder(folder: LogFolder, history: History, frozen: Vec<Tail>, active: Tail) -> Self {
        let segments = segments_of(&folder.path, &history);
        let (log_id, history) = (history.log_id, Arc::new(history));
        Self { log_id, folder: Some(Arc::new(folder)), history, segments, frozen, active }
    }

    pub(crate) fn folder(&self) -> Option<&Arc<LogFolder>> {
        self.folder.as_ref()
    }

    /// The same tails with another history.
    pub(crate) fn with_history(&self, folder: &LogFolder, history: History) -> Self {
        let segments = segments_of(&folder.path, &history);
        Self { history: Arc::new(history), segments, ..self.clone() }
    }

    /// The same tiers after a rotation: `active` takes the writes.
    pub(crate) fn rotated(&self, active: Tail) -> Self {
        let mut rotated = self.clone();
        let frozen = std::mem::replace(&mut rotated.active, active);
        rotated.frozen.push(frozen);
        rotated
    }

    /// The same tiers without the oldest frozen tails, which were sealed.
    pub(crate) fn without_frozen(mut self, sealed: usize) -> Self {
        self.frozen.drain(..sealed);
        self
    }

    /// The log in front of the first readable record.
    pub(crate) fn beginning(&self) -> Head {
        self.history.beginning()
    }

    /// The last sealed record.
    pub(crate) fn sealed(&self) -> Head {
        self.history.end()
    }

    /// The state that the log begins with, if older records were dropped.
    pub(crate) fn base(&self) -> Option<Base> {
        let folder = self.folder.as_ref()?.path.join(SEGMENTS);
        self.history.base.map(|entry| Base::new(&folder, self.log_id, entry))
    }

    /// Calls `visit` with every raw key and value from `from` on, in ascending order, until `visit` breaks. A record
    /// of a segment is one part. In place of a reference to a body, `visit` gets the whole envelope.
    pub(crate) fn scan(&self, from: PartKey, visit: &mut Visit<'_>) -> Result<ScanEnd, StorageError> {
        let (flow, end) = self.scan_segments(from, &mut |key, value| visit(key, Ok(value)))?;
        if flow.is_break() || matches!(end, ScanEnd::Damaged { .. }) {
            return Ok(end);
        }
        self.each_tail(from, |storage, from| {
            let mut flow = ControlFlow::Continue(());
            storage.scan(from, &mut |key, value| {
                flow = visit(key, value);
                flow
            })?;
            Ok(flow)
        })?;
        Ok(end)
    }

    /// Like [`scan`](Self::scan), with the stored values of tails. Reads no body.
    pub(crate) fn scan_parts(&self, from: PartKey, visit: &mut VisitPart<'_>) -> Result<(), StorageError> {
        let (flow, _) = self.scan_segments(from, visit)?;
        if flow.is_break() {
            return Ok(());
        }
        self.each_tail(from, |storage, from| {
            let mut flow = ControlFlow::Continue(());
            storage.scan_parts(from, &mut |key, value| {
                flow = visit(key, value);
                flow
            })?;
            Ok(flow)
        })
    }

    fn scan_segments(
        &self,
        from: PartKey,
        visit: &mut VisitPart<'_>,
    ) -> Result<(ControlFlow<()>, ScanEnd), StorageError> {
        for segment in self.segments.iter().filter(|segment| segment.entry().last >= from.seq) {
            let (flow, end) = segment.scan(from.seq, &mut |seq, value| {
                let key = PartKey::first(seq);
                if key < from { ControlFlow::Continue(()) } else { visit(&key.to_bytes(), value) }
            })?;
            if flow.is_break() || matches!(end, ScanEnd::Damaged { .. }) {
                return Ok((flow, end));
            }
        }
        Ok((ControlFlow::Continue(()), ScanEnd::Whole))
    }

    /// Calls `scan` with each tail, until it breaks.
    fn each_tail(
        &self,
        from: PartKey,
        mut scan: impl FnMut(&dyn Storage, PartKey) -> Result<ControlFlow<()>, StorageError>,
    ) -> Result<(), StorageError> {
        let from = from.max(PartKey::first(self.sealed().seq.next()));
        for Tail { storage, .. } in self.frozen.iter().chain([&self.active]) {
            if scan(storage.as_ref(), from)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the segment of this damage does not exist at the moment.
    pub(crate) fn is_absent(&self, damage: &Damage) -> bool {
        self.segments
            .iter()
            .find(|segment| (segment.entry().first..=segment.entry().last).contains(&damage.seq))
            .is_some_and(|segment| !segment.path().exists())
    }
}

/// The segments of a history in the tenant's `folder`. Does no I/O.
pub(crate) fn segments_of(folder: &Path, history: &History) -> Vec<Arc<Segment>> {
    let folder = folder.join(SEGMENTS);
    let mut before = history.beginning();
    let segments = history.segments.iter().map(|entry| {
        let segment = Segment::new(&folder, history.log_id, *entry, before.chain);
        before = Head { seq: entry.last, chain: entry.chain };
        Arc::new(segment)
    });
    segments.collect()
}
