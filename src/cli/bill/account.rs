//! The bill as the log's records come to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use vectorizer_log::{ChainHash, LogId, Meter, MeterTotal, Record, Seq, Timestamp};
use vectorizer_replay::{
    ApplyError, Bill, BillEntry, BilledWindow, Discrepancy, Progress, Projector as _, RECORDS_PER_PROGRESS,
};

use super::{Span, billed};
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::cli::progress::ProgressDisplay;

/// What identifies a line within its log.
pub(super) type LineId = (Seq, Meter);

/// A line of the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) value: i128,
    pub(super) window: BilledWindow,
    /// Where it was read with the records.
    pub(super) chain: Option<ChainHash>,
    /// Whether it is added to a line of before.
    pub(super) is_correction: bool,
}

/// A bill that grows, record by record. Holds a line for each meter of each window, some hundred bytes, and what a
/// replay holds.
pub(super) struct Account {
    span: Span,
    /// `None` before the first record, which says which log it is.
    bill: Option<Bill>,
    log_id: Option<LogId>,
    lines: BTreeMap<LineId, Line>,
    /// Of closes, whichever were asked for: corrections belong to them.
    windows: BTreeMap<Seq, BilledWindow>,
    parked: BTreeSet<LineId>,
    discrepancies: Vec<Discrepancy>,
    refused: Option<ApplyError>,
    through: Option<Seq>,
    display: ProgressDisplay,
    streams: Streams,
}

impl Account {
    /// The account of what comes, which ends at `through` if that is known.
    pub(super) fn new(span: Span, through: Option<Seq>, streams: &Streams) -> Self {
        Self {
            span,
            bill: None,
            log_id: None,
            lines: BTreeMap::new(),
            windows: BTreeMap::new(),
            parked: BTreeSet::new(),
            discrepancies: Vec::new(),
            refused: None,
            through,
            display: ProgressDisplay::new("billing", through, streams),
            streams: streams.clone(),
        }
    }

    /// Takes the next record, and says whether it wants another one.
    pub(super) fn push(&mut self, record: &Record, chain: Option<ChainHash>) -> ControlFlow<()> {
        self.log_id.get_or_insert(record.log_id);
        let bill = self.bill.get_or_insert_with(|| Bill::new(record.log_id));
        match bill.push(record, chain) {
            Ok(entries) => entries.into_iter().for_each(|entry| self.enter(entry)),
            Err(refused) => {
                self.refused = Some(refused);
                return ControlFlow::Break(());
            }
        }
        if record.seq.get().is_multiple_of(RECORDS_PER_PROGRESS)
            && let Some(bill) = &self.bill
        {
            let vectors = bill.projection().usage().vectors();
            let through = self.through.unwrap_or(Seq::NONE);
            let progress = Progress { applied: bill.projection().applied(), through, vectors };
            self.display.report(progress, &self.streams);
        }
        ControlFlow::Continue(())
    }

    fn enter(&mut self, entry: BillEntry) {
        match entry {
            BillEntry::Line(line) => {
                self.windows.insert(line.through, line.window);
                if self.span.has(line.window.through) {
                    let value = i128::try_from(line.value).unwrap_or(i128::MAX);
                    let kept = Line { value, window: line.window, chain: line.chain, is_correction: false };
                    self.lines.insert((line.through, line.meter), kept);
                }
            }
            BillEntry::Correction(correction) => {
                let window = self.windows.get(&correction.corrects);
                if let Some(window) = window.copied().filter(|window| self.span.has(window.through)) {
                    let (value, chain) = (correction.by, correction.chain);
                    let line = Line { value, window, chain, is_correction: true };
                    self.lines.insert((correction.seq, correction.meter), line);
                }
            }
            BillEntry::Rejected(parked) => {
                self.parked.insert((parked.seq, parked.meter));
            }
            BillEntry::Discrepancy(discrepancy) => self.discrepancies.push(discrepancy),
        }
    }

    /// The records have ended, and there is no progress left to show.
    pub(super) fn end(&self) {
        self.display.clear();
    }

    /// The record that does not follow from those in front of it, if one came.
    pub(super) fn refused(&self) -> Option<&ApplyError> {
        self.refused.as_ref()
    }

    /// What the log says of its bill that its records do not bear out.
    pub(super) fn discrepancies(&self) -> &[Discrepancy] {
        &self.discrepancies
    }

    /// The windows that were asked for.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// Which log it is, if it has any record.
    pub(super) fn log_id(&self) -> Option<LogId> {
        self.log_id
    }

    /// How far the log was read.
    pub(super) fn through(&self) -> Seq {
        self.bill.as_ref().map_or(Seq::NONE, |bill| bill.projection().applied())
    }

    /// How far HiveHub has the bill, by the log's own word.
    pub(super) fn acknowledged(&self) -> Seq {
        self.bill.as_ref().map_or(Seq::NONE, |bill| bill.projection().billing().acknowledged())
    }

    /// Every line that was asked for, and those that HiveHub has rejected.
    pub(super) fn into_lines(self) -> (BTreeMap<LineId, Line>, BTreeSet<LineId>) {
        (self.lines, self.parked)
    }

    /// Writes what each meter comes to in the windows that were asked for, and in the open one.
    pub(super) fn report(&self, streams: &Streams) -> Result<(), Failure> {
        let open = self.bill.as_ref().map(|bill| bill.open_totals(Timestamp::now())).unwrap_or_default();
        streams.report(format_args!("{:<22}{:>26}{:>26}", "meter", "closed windows", "open window"))?;
        for meter in Meter::ALL {
            let of_lines = self.lines.iter().filter(|((_, of), _)| *of == meter).map(|(_, line)| line.value);
            let closed = match meter {
                // A reading: the newest counts, with its corrections.
                Meter::StorageBytes if self.span.is_everything() => self
                    .bill
                    .as_ref()
                    .and_then(|bill| bill.totals().iter().find(|total| total.meter == meter))
                    .map_or(0, billed),
                // Of a part: the newest reading in it, as it was made.
                Meter::StorageBytes => {
                    let readings =
                        self.lines.iter().filter(|((_, of), line)| *of == meter && !line.is_correction);
                    readings.map(|(_, line)| line.value).next_back().unwrap_or(0)
                }
                Meter::VectorsUpserted
                | Meter::VectorsDeleted
                | Meter::Searches
                | Meter::Requests
                | Meter::StorageByteSeconds => of_lines.fold(0, i128::saturating_add),
            };
            let open =
                open.iter().find(|total: &&MeterTotal| total.meter == meter).map_or(0, |total| total.value);
            streams.report(format_args!("{:<22}{closed:>26}{open:>26}", meter.name()))?;
        }
        Ok(())
    }
}
