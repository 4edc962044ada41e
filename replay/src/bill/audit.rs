//! Comparison of a close with its records.

use vectorizer_log::{Meter, MeterTotal};

use super::discrepancy::DiscrepancyKind;
use crate::billing::BilledWindow;
use crate::metering::{METERING_VERSION, METERING_VERSIONS_KNOWN};

/// The content of a close.
pub(super) struct RecordedClose<'a> {
    pub(super) metering: u16,
    pub(super) window: BilledWindow,
    pub(super) totals: &'a [MeterTotal],
}

impl RecordedClose<'_> {
    /// The recorded total of a meter.
    pub(super) fn of(&self, meter: Meter) -> Option<u128> {
        self.totals.iter().find(|total| total.meter == meter).map(|total| total.value)
    }

    /// The differences to the totals computed from the records.
    pub(super) fn discrepancies(&self, window: BilledWindow, totals: &[MeterTotal]) -> Vec<DiscrepancyKind> {
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
