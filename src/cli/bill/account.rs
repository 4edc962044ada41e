//! A bill, computed from the records of a log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use vectorizer_log::{ChainHash, LogId, Meter, MeterTotal, Record, Seq, Timestamp};
use vectorizer_replay::{
    ApplyError, Bill, BillEntry, BilledWindow, Discrepancy, Progress, Projection, Projector as _,
    RECORDS_PER_PROGRESS,
};

use super::{Period, billed};
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::cli::progress::ProgressDisplay;
use crate::cli::server::LogVisitor;

/// The id of a line within its log.
pub(super) type LineId = (Seq, Meter);

/// A line of the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) value: i128,
    pub(super) window: BilledWindow,
    /// The chain hash, if the records were read with it.
    pub(super) chain: Option<ChainHash>,
    /// Whether it corrects an earlier line.
    pub(super) is_correction: bool,
}

/// A bill that is computed record by record. It holds about a hundred bytes for each meter of each window, and as much
/// memory as a replay.
pub(super) struct Account {
    period: Period,
    /// `None` before the first record, which has the log's id.
    bill: Option<Bill>,
    log_id: Option<LogId>,
    /// The records up to this one were dropped, so their windows cannot be recomputed.
    beginning: Seq,
    lines: BTreeMap<LineId, Line>,
    /// All closed windows, by the seq of the close: corrections refer to them.
    windows: BTreeMap<Seq, BilledWindow>,
    parked: BTreeSet<LineId>,
    discrepancies: Vec<Discrepancy>,
    refused: Option<ApplyError>,
    through: Option<Seq>,
    display: ProgressDisplay,
    streams: Streams,
}

impl Account {
    /// Creates an empty account. `through` is the last record, if it is known.
    pub(super) fn new(period: Period, through: Option<Seq>, streams: &Streams) -> Self {
        Self {
            period,
            bill: None,
            log_id: None,
            beginning: Seq::NONE,
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

    /// Begins with the state of a base.
    pub(super) fn begin(&mut self, beginning: Projection) {
        self.log_id = Some(beginning.log_id());
        self.beginning = beginning.applied();
        self.bill = Some(Bill::of_beginning(beginning));
    }

    /// The last record whose window cannot be recomputed, [`Seq::NONE`] if all can.
    pub(super) fn beginning(&self) -> Seq {
        self.beginning
    }

    /// Adds the next record. Returns whether to continue.
    pub(super) fn push(&mut self, record: &Record, chain: Option<ChainHash>) -> ControlFlow<()> {
        self.log_id.get_or_insert(record.log_id);
        let bill = self.bill.get_or_insert_with(|| Bill::new(record.log_id));
        match bill.push(record, chain) {
            Ok(entries) => entries.into_iter().for_each(|entry| self.add(entry)),
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

    fn add(&mut self, entry: BillEntry) {
        match entry {
            BillEntry::Line(line) => {
                self.windows.insert(line.through, line.window);
                if self.period.contains(line.window.through) {
                    let value = i128::try_from(line.value).unwrap_or(i128::MAX);
                    let kept = Line { value, window: line.window, chain: line.chain, is_correction: false };
                    self.lines.insert((line.through, line.meter), kept);
                }
            }
            BillEntry::Correction(correction) => {
                let window = self.windows.get(&correction.corrects);
                if let Some(window) = window.copied().filter(|window| self.period.contains(window.through)) {
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

    /// Clears the progress display after the last record.
    pub(super) fn end(&self) {
        self.display.clear();
    }

    /// The error of the first record that does not apply, if any.
    pub(super) fn refused(&self) -> Option<&ApplyError> {
        self.refused.as_ref()
    }

    /// The closes in the log that differ from the records.
    pub(super) fn discrepancies(&self) -> &[Discrepancy] {
        &self.discrepancies
    }

    /// The requested period.
    pub(super) fn period(&self) -> Period {
        self.period
    }

    /// The id of the log, if it has any record.
    pub(super) fn log_id(&self) -> Option<LogId> {
        self.log_id
    }

    /// The last record that was read.
    pub(super) fn through(&self) -> Seq {
        self.bill.as_ref().map_or(Seq::NONE, |bill| bill.projection().applied())
    }

    /// The last record whose bill HiveHub has acknowledged, according to the log.
    pub(super) fn acknowledged(&self) -> Seq {
        self.bill.as_ref().map_or(Seq::NONE, |bill| bill.projection().billing().acknowledged())
    }

    /// The lines of the requested period, and the ids of lines that HiveHub has rejected.
    pub(super) fn into_lines(self) -> (BTreeMap<LineId, Line>, BTreeSet<LineId>) {
        (self.lines, self.parked)
    }

    /// Writes the total of each meter in the closed windows of the requested period, and in the open window.
    pub(super) fn report(&self, streams: &Streams) -> Result<(), Failure> {
        if self.beginning > Seq::NONE {
            let oldest = self.beginning.next();
            streams.report(format_args!(
                "not recomputable before {oldest}: older records were dropped, and their windows are not in these totals"
            ))?;
        }
        let open = self.bill.as_ref().map(|bill| bill.open_totals(Timestamp::now())).unwrap_or_default();
        streams.report(format_args!("{:<22}{:>26}{:>26}", "meter", "closed windows", "open window"))?;
        for meter in Meter::ALL {
            let of_lines = self.lines.iter().filter(|((_, of), _)| *of == meter).map(|(_, line)| line.value);
            let closed = match meter {
                // A gauge: the newest value counts, with its corrections.
                Meter::StorageBytes if self.period.is_unbounded() => self
                    .bill
                    .as_ref()
                    .and_then(|bill| bill.totals().iter().find(|total| total.meter == meter))
                    .map_or(0, billed),
                // The newest value within the period, without corrections.
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

impl LogVisitor for Account {
    fn begin(&mut self, beginning: Projection) {
        Self::begin(self, beginning);
    }

    fn record(&mut self, record: &Record) -> ControlFlow<()> {
        self.push(record, None)
    }
}
