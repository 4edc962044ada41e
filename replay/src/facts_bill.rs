//! A tenant's usage and whole bill, computed from the facts of its records alone.

use std::collections::HashMap;

use vectorizer_index::Change;
use vectorizer_log::{
    ChainHash, CollectionId, KnownEvent, LogId, MeterTotal, PointFacts, PointHandle, PointSize, RecordFacts,
    Seq, Timestamp,
};

use crate::bill::{Audit, BillEntry, BilledTotal};
use crate::billing::{BilledRecord, Billing};
use crate::usage::Usage;

/// No point is larger. This keeps sums of sizes that no writer has written from overflowing.
const POINT_BYTES_MAX: u64 = 1 << 30;

/// A tenant's usage and bill, computed from the facts of its records.
///
/// The facts are in the headers of envelopes of version 2, which stay when content is erased. The counters, the windows,
/// the lines and the discrepancies are those of [`Bill`](crate::Bill) over the whole records. Only the reasons of
/// corrections and rejections are missing: they are content, and empty here.
#[derive(Clone, Debug)]
pub struct FactsBill {
    log_id: LogId,
    applied: Seq,
    collections: HashMap<CollectionId, KnownPoints>,
    usage: Usage,
    billing: Billing,
    audit: Audit,
}

/// The points of a collection by their handles. The order of the table is never used.
#[derive(Clone, Debug, Default)]
struct KnownPoints {
    sizes: HashMap<PointHandle, PointSize>,
    bytes: u64,
}

/// Why facts were not applied. The state is unchanged. Each is damage of the log or an error of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFacts {
    /// A record is missing.
    #[error("record {found} follows record {expected}, which is missing")]
    Gap {
        /// The next record to apply.
        expected: Seq,
        /// The given record.
        found: Seq,
    },
    /// The record belongs to another log.
    #[error("record {seq} belongs to log {found}, this is the bill of log {expected}")]
    ForeignLog {
        /// The record.
        seq: Seq,
        /// The log of the bill.
        expected: LogId,
        /// The record's log.
        found: LogId,
    },
    /// The record names no collection, or one that does not exist.
    #[error("record {seq} does not concern a collection that exists")]
    UnknownCollection {
        /// The record.
        seq: Seq,
    },
    /// The record deletes or changes a point that does not exist.
    #[error("record {seq} concerns a point that does not exist")]
    UnknownPoint {
        /// The record.
        seq: Seq,
    },
    /// The record states a size that no point has.
    #[error("record {seq} has a point of {bytes} bytes")]
    Size {
        /// The record.
        seq: Seq,
        /// The logical bytes.
        bytes: u64,
    },
}

impl FactsBill {
    /// The bill of an empty log.
    pub fn new(log_id: LogId) -> Self {
        Self {
            log_id,
            applied: Seq::NONE,
            collections: HashMap::new(),
            usage: Usage::default(),
            billing: Billing::default(),
            audit: Audit::default(),
        }
    }

    /// Applies the facts of the next record, with its chain hash if that is known, and returns its entries on the bill.
    /// A record that was applied before is skipped. After an error the bill is unchanged.
    pub fn push(
        &mut self,
        facts: &RecordFacts,
        chain: Option<ChainHash>,
    ) -> Result<Vec<BillEntry>, InvalidFacts> {
        let (seq, expected) = (facts.seq, self.applied.next());
        if facts.log_id != self.log_id {
            return Err(InvalidFacts::ForeignLog { seq, expected: self.log_id, found: facts.log_id });
        }
        if seq < expected {
            return Ok(Vec::new());
        }
        if seq > expected {
            return Err(InvalidFacts::Gap { expected, found: seq });
        }
        // IMPORTANT: only a change of data can be invalid, so it goes first. The bill counts what was stored before the
        // record, so it goes before the counters.
        let change = self.change(facts)?;
        let record = BilledRecord::from(facts);
        let entries = self.audit.push(&record, chain, &self.billing, &self.usage);
        self.billing = self.billing.after_billed(&record, &self.usage, &change);
        self.usage = self.usage.after(&change);
        self.applied = seq;
        Ok(entries)
    }

    /// The last record applied, [`Seq::NONE`] before the first.
    pub fn applied(&self) -> Seq {
        self.applied
    }

    /// The counters.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The state of the bill.
    pub fn billing(&self) -> &Billing {
        &self.billing
    }

    /// The totals of all closed windows, in the order of [`Meter::ALL`](vectorizer_log::Meter::ALL).
    pub fn totals(&self) -> &[BilledTotal] {
        self.audit.totals()
    }

    /// The totals of the open window at the moment `at`; see [`Billing::totals`].
    pub fn open_totals(&self, at: Timestamp) -> Vec<MeterTotal> {
        self.billing.totals(at, &self.usage)
    }

    /// Applies the change of data, and returns it as numbers.
    fn change(&mut self, facts: &RecordFacts) -> Result<Change, InvalidFacts> {
        let seq = facts.seq;
        let unknown = InvalidFacts::UnknownCollection { seq };
        let id = || facts.collection.ok_or(unknown);
        match &facts.event {
            KnownEvent::CollectionCreated => {
                self.collections.insert(CollectionId::created_at(seq), KnownPoints::default());
                Ok(Change { collections_created: 1, ..Change::default() })
            }
            KnownEvent::CollectionDeleted => {
                let deleted = self.collections.remove(&id()?).ok_or(unknown)?;
                Ok(Change {
                    collections_deleted: 1,
                    vectors_removed: deleted.sizes.len() as u64,
                    bytes_removed: deleted.bytes,
                    ..Change::default()
                })
            }
            KnownEvent::PointsWritten { points } => {
                self.collections.get_mut(&id()?).ok_or(unknown)?.write(seq, points)
            }
            KnownEvent::PointsDeleted { points } => {
                let collection = self.collections.get_mut(&id()?).ok_or(unknown)?;
                collection.delete(points).ok_or(InvalidFacts::UnknownPoint { seq })
            }
            KnownEvent::PayloadChanged { point, payload_bytes } => {
                let collection = self.collections.get_mut(&id()?).ok_or(unknown)?;
                collection.change_payload(seq, *point, *payload_bytes)
            }
            KnownEvent::Other
            | KnownEvent::Refused { .. }
            | KnownEvent::HistoryDropped { .. }
            | KnownEvent::UsageObserved { .. }
            | KnownEvent::BillingClosed { .. }
            | KnownEvent::BillingCorrected { .. }
            | KnownEvent::BillingAcknowledged { .. } => Ok(Change::default()),
        }
    }
}

impl KnownPoints {
    fn write(&mut self, seq: Seq, points: &[PointFacts]) -> Result<Change, InvalidFacts> {
        for PointFacts { size, .. } in points {
            check(seq, *size)?;
        }
        let mut change = Change::default();
        for &PointFacts { handle, size } in points {
            change.bytes_added += size.bytes();
            match self.sizes.insert(handle, size) {
                Some(replaced) => {
                    change.vectors_replaced += 1;
                    change.bytes_removed += replaced.bytes();
                }
                None => change.vectors_added += 1,
            }
        }
        self.count(&change);
        Ok(change)
    }

    /// `None`, without a change, if a point does not exist or is named twice.
    fn delete(&mut self, points: &[PointHandle]) -> Option<Change> {
        let mut deleted = Vec::with_capacity(points.len());
        for handle in points {
            let Some(size) = self.sizes.remove(handle) else {
                self.sizes.extend(deleted);
                return None;
            };
            deleted.push((*handle, size));
        }
        let change = Change {
            vectors_removed: deleted.len() as u64,
            bytes_removed: deleted.iter().map(|(_, size)| size.bytes()).sum(),
            ..Change::default()
        };
        self.count(&change);
        Some(change)
    }

    fn change_payload(
        &mut self,
        seq: Seq,
        handle: PointHandle,
        payload_bytes: u64,
    ) -> Result<Change, InvalidFacts> {
        let size = self.sizes.get_mut(&handle).ok_or(InvalidFacts::UnknownPoint { seq })?;
        let changed = PointSize { payload_bytes, ..*size };
        check(seq, changed)?;
        let change =
            Change { bytes_added: changed.bytes(), bytes_removed: size.bytes(), ..Change::default() };
        *size = changed;
        self.count(&change);
        Ok(change)
    }

    fn count(&mut self, change: &Change) {
        self.bytes = self.bytes + change.bytes_added - change.bytes_removed;
    }
}

fn check(seq: Seq, size: PointSize) -> Result<(), InvalidFacts> {
    let bytes = size.bytes();
    if bytes <= POINT_BYTES_MAX { Ok(()) } else { Err(InvalidFacts::Size { seq, bytes }) }
}
