//! A tenant's whole bill, computed from the records alone.
//!
//! - `entry`: the parts of a bill; `audit`: the comparison of a close with its records; `discrepancy`: what does not
//!   match.

mod audit;
mod discrepancy;
mod entry;

use roaring::RoaringTreemap;
use vectorizer_log::{
    BillClose, BillStep, ChainHash, Effect, LogId, Meter, MeterTotal, ObservedUsage, Record, Seq, Timestamp,
    billed_lines,
};

use self::audit::RecordedClose;
pub use self::discrepancy::{Discrepancy, DiscrepancyKind};
pub use self::entry::{BillEntry, BillingCorrection, BillingLine};
use crate::billing::BilledWindow;
use crate::projection::{Applied, ApplyError, Projection, Projector};

/// A tenant's bill, computed from the records, whatever the closes say. For audits.
///
/// It needs all records from the first on, and folds all of the tenant's data, as only that distinguishes new vectors
/// from replacements.
#[derive(Clone, Debug)]
pub struct Bill {
    projection: Projection,
    /// The records of closes.
    closes: RoaringTreemap,
    totals: [BilledTotal; Meter::ALL.len()],
}

/// The total of a meter in all closed windows. A storage reading is not summed: it is the latest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledTotal {
    /// The meter.
    pub meter: Meter,
    /// The total by the records.
    pub recomputed: u128,
    /// The total by the closes.
    pub recorded: u128,
    /// The sum of the corrections.
    pub corrected: i128,
}

/// How many records are applied between two checks for a compaction.
const RECORDS_PER_COMPACTION: u64 = 1_024;

impl Bill {
    /// The bill of an empty log.
    pub fn new(log_id: LogId) -> Self {
        let totals = Meter::ALL.map(BilledTotal::zero);
        Self { projection: Projection::new(log_id), closes: RoaringTreemap::new(), totals }
    }

    /// The bill of a log that begins with this state. Closes up to there cannot be recomputed.
    pub fn of_beginning(beginning: Projection) -> Self {
        Self { totals: Meter::ALL.map(BilledTotal::zero), closes: RoaringTreemap::new(), projection: beginning }
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
        let discrepancy = |kind| BillEntry::Discrepancy(Discrepancy { seq: record.seq, kind });
        let mut entries = Vec::new();
        match record.event.effect() {
            Effect::Bill(BillStep::Close(BillClose { metering, since, through, first_seq, totals })) => {
                let window = BilledWindow { since, through, first_seq };
                let recorded = RecordedClose { metering, window, totals };
                let (window, totals) = billing.closed_by(record, through, &usage);
                self.close(record.seq, &recorded, &totals);
                entries.extend(billed_lines(&totals).map(|MeterTotal { meter, value }| {
                    let (log_id, through) = (record.log_id, record.seq);
                    BillEntry::Line(BillingLine { log_id, through, meter, value, window, chain })
                }));
                entries.extend(recorded.discrepancies(window, &totals).into_iter().map(discrepancy));
            }
            Effect::Bill(BillStep::Correct { corrects, meter, by, reason }) => {
                let (log_id, seq, at, reason) = (record.log_id, record.seq, record.at, reason.to_owned());
                let correction = BillingCorrection { log_id, seq, at, corrects, meter, by, reason, chain };
                entries.push(BillEntry::Correction(correction));
                if self.closes.contains(corrects.get()) {
                    self.correct(corrects, meter, by);
                } else {
                    entries.push(discrepancy(DiscrepancyKind::CorrectsNoClose { corrects }));
                }
            }
            Effect::Bill(BillStep::Acknowledge { through, rejected }) => {
                entries.extend(rejected.iter().cloned().map(BillEntry::Rejected));
                if through >= record.seq {
                    entries.push(discrepancy(DiscrepancyKind::AcknowledgedTooFar { through }));
                }
            }
            Effect::Usage(ObservedUsage { journal, .. }) => {
                if let Some(folded) = billing.journal().filter(|folded| journal.is_folded_by(folded)) {
                    entries.push(discrepancy(DiscrepancyKind::RecordedTwice { journal, folded }));
                }
            }
            Effect::Data(_) | Effect::Refusals(_) | Effect::History(_) => {}
        }
        Ok(entries)
    }

    /// The totals of all closed windows, in the order of [`Meter::ALL`].
    pub fn totals(&self) -> &[BilledTotal] {
        &self.totals
    }

    /// The totals of the open window at the moment `at`; see [`Billing::totals`](crate::Billing::totals).
    pub fn open_totals(&self, at: Timestamp) -> Vec<MeterTotal> {
        self.projection.billing().totals(at, self.projection.usage())
    }

    /// The rest of the tenant's state.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    fn close(&mut self, seq: Seq, recorded: &RecordedClose<'_>, totals: &[MeterTotal]) {
        self.closes.insert(seq.get());
        for (overall, total) in self.totals.iter_mut().zip(totals) {
            if overall.meter == Meter::StorageBytes {
                *overall = BilledTotal::zero(overall.meter);
            }
            overall.recomputed = overall.recomputed.saturating_add(total.value);
            overall.recorded = overall.recorded.saturating_add(recorded.of(overall.meter).unwrap_or(0));
        }
    }

    /// Adds a correction. Of a storage reading, only corrections of the latest one count.
    fn correct(&mut self, corrects: Seq, meter: Meter, by: i128) {
        if meter == Meter::StorageBytes && self.closes.max() != Some(corrects.get()) {
            return;
        }
        for overall in self.totals.iter_mut().filter(|overall| overall.meter == meter) {
            overall.corrected = overall.corrected.saturating_add(by);
        }
    }
}

impl BilledTotal {
    const fn zero(meter: Meter) -> Self {
        Self { meter, recomputed: 0, recorded: 0, corrected: 0 }
    }
}
