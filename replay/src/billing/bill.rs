//! The whole bill, computed from the records alone.

use roaring::RoaringTreemap;
use vectorizer_log::{ChainHash, Event, LogId, Meter, MeterTotal, Record, Seq, Timestamp, billed_lines};

use super::audit::Said;
use super::discrepancy::{Discrepancy, DiscrepancyKind};
use super::entry::{BillEntry, BilledWindow, BillingCorrection, BillingLine};
use super::window::OpenWindow;
use crate::projection::{Applied, ApplyError, Projection, Projector};

/// A tenant's bill as its records come to, whatever its closes say: what an auditor folds.
///
/// It needs every record from the first on, and folds all of the tenant's data with them, since only that
/// tells a vector that is new from one that is replaced.
#[derive(Clone, Debug)]
pub struct Bill {
    projection: Projection,
    /// The records that close windows.
    closes: RoaringTreemap,
    totals: [BilledTotal; Meter::ALL.len()],
}

/// What a meter comes to in all windows that are closed. The reading is not added up: it is the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledTotal {
    /// Which.
    pub meter: Meter,
    /// By the records.
    pub recomputed: u128,
    /// By the closes.
    pub recorded: u128,
    /// By the corrections, in addition to the closes.
    pub corrected: i128,
}

/// How often is looked whether there is room to be given back.
const RECORDS_PER_COMPACTION: u64 = 1_024;

impl Bill {
    /// The bill of an empty log.
    pub fn new(log_id: LogId) -> Self {
        let totals = Meter::ALL.map(BilledTotal::nothing);
        Self { projection: Projection::new(log_id), closes: RoaringTreemap::new(), totals }
    }

    /// Gives back what deleted and replaced points hold on to, where that is much: nobody else does so here, and a
    /// bill would need as much memory as everything that was ever written.
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

    /// Folds in the next record, with the history through it where that is known, and says what it puts on
    /// the bill. A record that was folded in before is skipped; after an error the bill is as it was.
    pub fn push(&mut self, record: &Record, chain: Option<ChainHash>) -> Result<Vec<BillEntry>, ApplyError> {
        // IMPORTANT: what a record says is held against the state in front of it.
        let (billing, usage) = (*self.projection.billing(), *self.projection.usage());
        if self.projection.apply(record)? == Applied::Skipped {
            return Ok(Vec::new());
        }
        if record.seq.get().is_multiple_of(RECORDS_PER_COMPACTION) {
            self.compact();
        }
        let discrepancy = |kind| BillEntry::Discrepancy(Discrepancy { seq: record.seq, kind });
        let mut entries = Vec::new();
        match &record.event {
            Event::BillingClosed { metering, since, through, first_seq, totals } => {
                let window = BilledWindow { since: *since, through: *through, first_seq: *first_seq };
                let said = Said { metering: *metering, window, totals };
                let open = billing.window.unwrap_or_else(|| OpenWindow::new(record.seq, record.at));
                let ended = open.ended(usage.logical_bytes(), *through, record.at);
                let (window, totals) = (ended.billed(), ended.totals(usage.logical_bytes()));
                self.close(record.seq, &said, &totals);
                entries.extend(billed_lines(&totals).map(|MeterTotal { meter, value }| {
                    let (log_id, through) = (record.log_id, record.seq);
                    BillEntry::Line(BillingLine { log_id, through, meter, value, window, chain })
                }));
                entries.extend(said.against(window, &totals).into_iter().map(discrepancy));
            }
            Event::BillingCorrected { corrects, meter, by, reason } => {
                let (log_id, seq, at) = (record.log_id, record.seq, record.at);
                let (corrects, meter, by, reason) = (*corrects, *meter, *by, reason.clone());
                let correction = BillingCorrection { log_id, seq, at, corrects, meter, by, reason, chain };
                entries.push(BillEntry::Correction(correction));
                if self.closes.contains(corrects.get()) {
                    self.correct(corrects, meter, by);
                } else {
                    entries.push(discrepancy(DiscrepancyKind::CorrectsNoClose { corrects }));
                }
            }
            Event::BillingAcknowledged { through, rejected } => {
                entries.extend(rejected.iter().cloned().map(BillEntry::Rejected));
                if *through >= record.seq {
                    entries.push(discrepancy(DiscrepancyKind::AcknowledgedTooFar { through: *through }));
                }
            }
            Event::UsageObserved { journal, .. } => {
                if let Some(folded) = billing.journal().filter(|folded| journal.is_folded_by(folded)) {
                    entries.push(discrepancy(DiscrepancyKind::FoldedTwice { journal: *journal, folded }));
                }
            }
            Event::CollectionCreated { .. }
            | Event::CollectionDeleted { .. }
            | Event::TextCollectionCreated { .. }
            | Event::LanguageCollectionCreated { .. }
            | Event::VectorsUpserted { .. }
            | Event::DocumentsUpserted { .. }
            | Event::VectorsDeleted { .. }
            | Event::PayloadChanged { .. }
            | Event::IndexDeclared { .. }
            | Event::IndexDropped { .. }
            | Event::AccessDenied { .. } => {}
        }
        Ok(entries)
    }

    /// What each meter comes to in all windows that are closed, in the order of [`Meter::ALL`].
    pub fn totals(&self) -> &[BilledTotal] {
        &self.totals
    }

    /// What the open window comes to at the moment `at`; see [`Billing::totals`](super::Billing::totals).
    pub fn open_totals(&self, at: Timestamp) -> Vec<MeterTotal> {
        self.projection.billing().totals(at, self.projection.usage())
    }

    /// Everything else that the records come to.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    fn close(&mut self, seq: Seq, said: &Said<'_>, totals: &[MeterTotal]) {
        self.closes.insert(seq.get());
        for (overall, total) in self.totals.iter_mut().zip(totals) {
            if overall.meter == Meter::StorageBytes {
                *overall = BilledTotal::nothing(overall.meter);
            }
            overall.recomputed = overall.recomputed.saturating_add(total.value);
            overall.recorded = overall.recorded.saturating_add(said.of(overall.meter).unwrap_or(0));
        }
    }

    /// The correction of a reading is one of the newest reading, or of none that counts any more.
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
    const fn nothing(meter: Meter) -> Self {
        Self { meter, recomputed: 0, recorded: 0, corrected: 0 }
    }
}
