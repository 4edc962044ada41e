//! Comparison of billing events with the records before them.

use roaring::RoaringTreemap;
use vectorizer_log::{BillClose, ChainHash, Meter, MeterTotal, Seq, billed_lines};

use super::discrepancy::{Discrepancy, DiscrepancyKind};
use super::entry::{BillEntry, BilledTotal, BillingCorrection, BillingLine};
use crate::billing::{BilledEvent, BilledRecord, BilledWindow, Billing};
use crate::metering::{METERING_VERSION, METERING_VERSIONS_KNOWN};
use crate::usage::Usage;

/// The closes so far, and their totals.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    /// The records of closes.
    closes: RoaringTreemap,
    totals: [BilledTotal; Meter::ALL.len()],
    /// Closes up to this record were dropped.
    beginning: Seq,
}

impl Default for Audit {
    fn default() -> Self {
        let totals = Meter::ALL.map(BilledTotal::zero);
        Self { closes: RoaringTreemap::new(), totals, beginning: Seq::NONE }
    }
}

impl Audit {
    /// An audit of the records after `beginning`. Earlier closes are not known.
    pub(crate) fn after(beginning: Seq) -> Self {
        Self { beginning, ..Self::default() }
    }

    /// Adds the next record, and returns its entries on the bill. `billing` and `usage` are the state before it.
    pub(crate) fn push(
        &mut self,
        record: &BilledRecord<'_>,
        chain: Option<ChainHash>,
        billing: &Billing,
        usage: &Usage,
    ) -> Vec<BillEntry> {
        let discrepancy = |kind| BillEntry::Discrepancy(Discrepancy { seq: record.seq, kind });
        let mut entries = Vec::new();
        match record.event {
            BilledEvent::Close(BillClose { metering, since, through, first_seq, totals }) => {
                let window = BilledWindow { since, through, first_seq };
                let recorded = RecordedClose { metering, window, totals };
                let (window, totals) = billing.closed_by(record, through, usage);
                self.close(record.seq, &recorded, &totals);
                entries.extend(billed_lines(&totals).map(|MeterTotal { meter, value }| {
                    let (log_id, through) = (record.log_id, record.seq);
                    BillEntry::Line(BillingLine { log_id, through, meter, value, window, chain })
                }));
                entries.extend(recorded.discrepancies(window, &totals).into_iter().map(discrepancy));
            }
            BilledEvent::Correct { corrects, meter, by, reason } => {
                let (log_id, seq, at, reason) = (record.log_id, record.seq, record.at, reason.to_owned());
                let correction = BillingCorrection { log_id, seq, at, corrects, meter, by, reason, chain };
                entries.push(BillEntry::Correction(correction));
                if self.closes.contains(corrects.get()) {
                    self.correct(corrects, meter, by);
                } else if corrects > self.beginning {
                    entries.push(discrepancy(DiscrepancyKind::CorrectsNoClose { corrects }));
                }
            }
            BilledEvent::Acknowledge { through, ref rejected } => {
                entries.extend(rejected.iter().cloned().map(BillEntry::Rejected));
                if through >= record.seq {
                    entries.push(discrepancy(DiscrepancyKind::AcknowledgedTooFar { through }));
                }
            }
            BilledEvent::Usage { journal, operations: _ } => {
                if let Some(folded) = billing.journal().filter(|folded| journal.is_folded_by(folded)) {
                    entries.push(discrepancy(DiscrepancyKind::RecordedTwice { journal, folded }));
                }
            }
            BilledEvent::Other => {}
        }
        entries
    }

    /// The totals of all closed windows, in the order of [`Meter::ALL`].
    pub(crate) fn totals(&self) -> &[BilledTotal] {
        &self.totals
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

/// The content of a close.
struct RecordedClose<'a> {
    metering: u16,
    window: BilledWindow,
    totals: &'a [MeterTotal],
}

impl RecordedClose<'_> {
    /// The recorded total of a meter.
    fn of(&self, meter: Meter) -> Option<u128> {
        self.totals.iter().find(|total| total.meter == meter).map(|total| total.value)
    }

    /// The differences to the totals computed from the records.
    fn discrepancies(&self, window: BilledWindow, totals: &[MeterTotal]) -> Vec<DiscrepancyKind> {
        let mut found = Vec::new();
        if !METERING_VERSIONS_KNOWN.contains(&self.metering) {
            found.push(DiscrepancyKind::Metering { recorded: self.metering, known: METERING_VERSION });
        }
        if self.window != window {
            found.push(DiscrepancyKind::Window { recorded: self.window, recomputed: window });
        }
        if !self.totals.iter().map(|total| total.meter).eq(Meter::ALL) {
            found.push(DiscrepancyKind::Meters);
        }
        found.extend(totals.iter().filter_map(|&MeterTotal { meter, value: recomputed }| {
            let recorded = self.of(meter);
            (recorded != Some(recomputed)).then_some(DiscrepancyKind::Total { meter, recorded, recomputed })
        }));
        found
    }
}
