//! The lines of a tenant's bill, read from its log.

use std::collections::VecDeque;

use bytes::Bytes;
use vectorizer_hivehub::{Correction, Unit, UsageData, UsageEvent, UsageEventId, UsageSource, Window};
use vectorizer_log::{
    BillClose, BillStep, Effect, Error, Event, LogReader, MeterTotal, Seq, StoredRecord, TenantId, Timestamp,
    billed_lines,
};
use vectorizer_node_store::DeliveredWindow;
use vectorizer_replay::Billing;

/// The maximum number of closes that are stored by one search back to the oldest one.
const FOUND_MAX: usize = 512;
/// The least number of closes between two marks, and the largest number of marks.
const MARKS_APART_MIN: usize = 256;
const MARKS_MAX: usize = 512;
/// How much of a log is read at once when searching for corrections.
const SCANNED_RECORDS: usize = 256;
const SCANNED_BYTES: usize = 1 << 20;

/// A close with its lines, as they are sent.
pub(crate) struct Closed {
    pub(crate) seq: Seq,
    pub(crate) at: Timestamp,
    pub(crate) lines: Vec<(UsageEventId, Bytes)>,
    /// The closed window; `None` for a correction.
    pub(crate) window: Option<DeliveredWindow>,
}

/// The oldest undelivered closes, without a gap between them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    next: VecDeque<Seq>,
    marks: Marks,
}

/// Marks: closes far apart on the way to older ones, the newest first. The next way back begins at a mark, so all
/// ways together are about as long as the log once.
#[derive(Debug)]
struct Marks {
    closes: Vec<Seq>,
    /// How many closes are between two of them.
    apart: usize,
}

impl Default for Marks {
    fn default() -> Self {
        Self { closes: Vec::new(), apart: MARKS_APART_MIN }
    }
}

impl Marks {
    /// Marks the `nth` close of the search if it is far enough from the last mark.
    fn pass(&mut self, close: Seq, nth: usize) {
        if !nth.is_multiple_of(self.apart) {
            return;
        }
        self.closes.push(close);
        if self.closes.len() > MARKS_MAX {
            let mut number = 0_usize;
            self.closes.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
            self.apart *= 2;
        }
    }

    /// The oldest mark after `sent`.
    fn behind(&mut self, sent: Seq) -> Option<Seq> {
        while self.closes.last().is_some_and(|close| *close <= sent) {
            self.closes.pop();
        }
        self.closes.last().copied()
    }
}

impl Found {
    /// The oldest close or correction after both `delivered` and `sent`; `None` if there is none. Each close has the
    /// seq of the one before it, so the search goes back from the last one, in bounded memory.
    ///
    /// IMPORTANT: closes that were sent and not delivered stay in the list, or they would not be sent again.
    pub(crate) fn next(
        &mut self,
        log: &LogReader,
        billing: &Billing,
        delivered: Seq,
        sent: Seq,
    ) -> Result<Option<Seq>, Error> {
        while self.next.front().is_some_and(|seq| *seq <= delivered) {
            self.next.pop_front();
        }
        let sent = sent.max(delivered);
        let known = self.next.partition_point(|seq| *seq <= sent);
        if known == self.next.len() {
            let more = if billing.last_correction() > sent {
                scan(log, billing.last_entry(), sent, FOUND_MAX)?
            } else if let Some(mark) = self.marks.behind(sent) {
                walk(log, mark, sent, FOUND_MAX, &mut |_, _| ())?
            } else {
                let mut marks = Marks::default();
                let found = walk(log, billing.last_close(), sent, FOUND_MAX, &mut |close, nth| {
                    marks.pass(close, nth);
                })?;
                self.marks = marks;
                found
            };
            self.next.extend(more);
        }
        Ok(self.next.get(known).copied())
    }
}

/// All undelivered closes and corrections, the oldest first.
pub(crate) fn undelivered(
    log: &LogReader,
    billing: &Billing,
    delivered: Seq,
) -> Result<VecDeque<Seq>, Error> {
    if billing.last_correction() > delivered {
        return scan(log, billing.last_entry(), delivered, usize::MAX);
    }
    walk(log, billing.last_close(), delivered, usize::MAX, &mut |_, _| ())
}

/// The oldest closes after `sent`, found by going back from `close`, which is one of them. `pass` is called with each
/// close and its number on the way, from 1.
fn walk(
    log: &LogReader,
    close: Seq,
    sent: Seq,
    most: usize,
    pass: &mut dyn FnMut(Seq, usize),
) -> Result<VecDeque<Seq>, Error> {
    let (mut found, mut close, mut nth) = (VecDeque::new(), close, 0);
    while close > sent {
        found.push_front(close);
        found.truncate(most);
        nth += 1;
        pass(close, nth);
        close = before(&read(log, close)?);
    }
    Ok(found)
}

/// Finds the oldest closes and corrections after `delivered` by reading forward. Corrections are not linked to each
/// other, so they cannot be found by going back. They are rare.
fn scan(log: &LogReader, last: Seq, delivered: Seq, most: usize) -> Result<VecDeque<Seq>, Error> {
    // Nothing undelivered was dropped.
    let (mut found, mut next) = (VecDeque::new(), delivered.max(log.beginning()?.seq).next());
    while next <= last && found.len() < most {
        let records = log.read(next, SCANNED_RECORDS, SCANNED_BYTES)?;
        let Some(end) = records.last() else { break };
        next = end.record.seq.next();
        let billed = |event: &Event| event.effect().bill().is_some_and(BillStep::has_lines);
        found.extend(records.iter().filter(|it| billed(&it.record.event)).map(|it| it.record.seq));
    }
    found.truncate(most);
    Ok(found)
}

fn read(log: &LogReader, seq: Seq) -> Result<StoredRecord, Error> {
    let found = log.read(seq, 1, 0)?.into_iter().next();
    found.ok_or_else(|| Error::NotFound(format!("record {seq}").into()))
}

/// The close before this one.
fn before(close: &StoredRecord) -> Seq {
    let Some(window) = close.record.event.effect().close() else { return Seq::NONE };
    let before = window.first_seq.previous().unwrap_or(Seq::NONE);
    // Without this check, damaged closes could form a circle.
    if before < close.record.seq { before } else { Seq::NONE }
}

/// The window that was closed by this record, if it is a close and can be read.
pub(crate) fn closed_at(log: &LogReader, seq: Seq) -> Option<DeliveredWindow> {
    let stored = (seq > Seq::NONE).then(|| read(log, seq).ok()).flatten()?;
    Some(delivered_window(seq, stored.record.event.effect().close()?))
}

fn delivered_window(seq: Seq, close: BillClose<'_>) -> DeliveredWindow {
    let BillClose { metering: _, since, through, first_seq, totals } = close;
    DeliveredWindow { since, through, first_seq, last_seq: seq, totals: totals.to_vec() }
}

/// The lines of a close, or the line of a correction.
pub(crate) fn lines(
    tenant: &TenantId,
    log: &LogReader,
    seq: Seq,
) -> Result<Closed, Box<dyn std::error::Error>> {
    let StoredRecord { record, chain, stored: _ } = read(log, seq)?;
    let source = UsageSource(tenant.clone());
    let mut closed = Closed { seq, at: record.at, lines: Vec::new(), window: None };
    match record.event.effect() {
        Effect::Bill(BillStep::Close(close)) => {
            let BillClose { metering: _, since, through, first_seq, totals } = close;
            for MeterTotal { meter, value } in billed_lines(totals) {
                let id = UsageEventId { log_id: record.log_id, through: seq, meter };
                let window = Window { from: since, to: through };
                let unit = Unit::of(meter);
                let data =
                    UsageData { meter, value, unit, window, first_seq, last_seq: seq, chain, corrects: None };
                let event = UsageEvent { id, source: source.clone(), time: record.at, data };
                closed.lines.push((id, line(&event)?));
            }
            closed.window = Some(delivered_window(seq, close));
        }
        Effect::Bill(BillStep::Correct { corrects, meter, by, reason: _ }) => {
            let line_of = |through| UsageEventId { log_id: record.log_id, through, meter };
            // The window is that of the corrected line, if there is one.
            let window = if let Some(close) = read(log, corrects)?.record.event.effect().close() {
                Window { from: close.since, to: close.through }
            } else {
                Window { from: record.at, to: record.at }
            };
            let correction = Correction { line: line_of(corrects), is_negative: by < 0 };
            let data = UsageData {
                meter,
                value: by.unsigned_abs(),
                unit: Unit::of(meter),
                window,
                first_seq: seq,
                last_seq: seq,
                chain,
                corrects: Some(correction),
            };
            let id = line_of(seq);
            let event = UsageEvent { id, source, time: record.at, data };
            closed.lines.push((id, self::line(&event)?));
        }
        Effect::Bill(BillStep::Acknowledge { .. })
        | Effect::Data(_)
        | Effect::Usage(_)
        | Effect::Refusals(_)
        | Effect::History(_) => {}
    }
    Ok(closed)
}

fn line(event: &UsageEvent) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line.into())
}
