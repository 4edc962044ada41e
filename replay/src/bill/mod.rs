//! A tenant's whole bill, computed from the records alone.
//!
//! - `entry`: the parts of a bill; `audit`: the comparison of billing events with the records before them;
//!   `discrepancy`: what does not match.

mod audit;
mod discrepancy;
mod entry;

use vectorizer_log::{ChainHash, LogId, MeterTotal, Record, Timestamp};

pub(crate) use self::audit::Audit;
pub use self::discrepancy::{Discrepancy, DiscrepancyKind};
pub use self::entry::{BillEntry, BilledTotal, BillingCorrection, BillingLine};
use crate::projection::{Applied, ApplyError, Projection, Projector};

/// A tenant's bill, computed from the records, whatever the closes say. For audits.
///
/// It needs all records from the first on, and folds all of the tenant's data, as only that distinguishes new vectors
/// from replacements.
#[derive(Clone, Debug)]
pub struct Bill {
    projection: Projection,
    audit: Audit,
}

/// How many records are applied between two checks for a compaction.
const RECORDS_PER_COMPACTION: u64 = 1_024;

impl Bill {
    /// The bill of an empty log.
    pub fn new(log_id: LogId) -> Self {
        Self { projection: Projection::new(log_id), audit: Audit::default() }
    }

    /// The bill of a log that begins with this state. Closes up to there cannot be recomputed.
    pub fn of_beginning(beginning: Projection) -> Self {
        Self { audit: Audit::after(beginning.applied()), projection: beginning }
    }

    /// Compacts collections with many deleted points. No linker does so here, and the bill would take as much memory
    /// as all points ever written.
    fn compact(&mut self) {
        let wanting =
            self.projection.index().collections().filter(|collection| collection.needs_compaction());
        let snapshots: Vec<_> = wanting.map(|collection| (collection.id(), collection.snapshot())).collect();
        for (id, snapshot) in snapshots {
            if let Ok(compaction) = snapshot.compact(&|| false) {
                drop(self.projection.install(id, compaction));
            }
        }
    }

    /// Applies the next record, with its chain hash if that is known, and returns its entries on the bill. A record
    /// that was applied before is skipped. After an error the bill is unchanged.
    pub fn push(&mut self, record: &Record, chain: Option<ChainHash>) -> Result<Vec<BillEntry>, ApplyError> {
        // IMPORTANT: the record is compared with the state before it.
        let (billing, usage) = (*self.projection.billing(), *self.projection.usage());
        if self.projection.apply(record)? == Applied::Skipped {
            return Ok(Vec::new());
        }
        if record.seq.get().is_multiple_of(RECORDS_PER_COMPACTION) {
            self.compact();
        }
        Ok(self.audit.push(&record.into(), chain, &billing, &usage))
    }

    /// The totals of all closed windows, in the order of [`Meter::ALL`](vectorizer_log::Meter::ALL).
    pub fn totals(&self) -> &[BilledTotal] {
        self.audit.totals()
    }

    /// The totals of the open window at the moment `at`; see [`Billing::totals`](crate::Billing::totals).
    pub fn open_totals(&self, at: Timestamp) -> Vec<MeterTotal> {
        self.projection.billing().totals(at, self.projection.usage())
    }

    /// The rest of the tenant's state.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }
}
