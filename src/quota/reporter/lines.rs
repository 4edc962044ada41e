//! The lines of a tenant's bill, from its log.

use std::collections::VecDeque;

use bytes::Bytes;
use vectorizer_log::{
    Error, Event, LogReader, MeterTotal, Seq, StoredRecord, TenantId, Timestamp, billed_lines,
};
use vectorizer_replay::Billing;

use crate::hivehub::{Correction, Unit, UsageData, UsageEvent, UsageEventId, UsageSource, Window};

/// How many closes are remembered of those that were come by on the way to the oldest one.
const FOUND_MAX: usize = 512;
/// How much of a log is read at once in search of corrections.
const SCANNED_RECORDS: usize = 256;
const SCANNED_BYTES: usize = 1 << 20;

/// A close with its lines, as they are sent.
pub(in crate::quota) struct Closed {
    pub(in crate::quota) seq: Seq,
    pub(in crate::quota) at: Timestamp,
    pub(in crate::quota) lines: Vec<(UsageEventId, Bytes)>,
}

/// The oldest closes that are not delivered, as far as they were found: none is missing between two of them.
#[derive(Debug, Default)]
pub(in crate::quota) struct Found(VecDeque<Seq>);

impl Found {
    /// The oldest close or correction behind both `delivered` and `sent`; `None` if there is none. Closes name
    /// the one before them, so the way there begins with the last one; what is remembered of it has a bound.
    ///
    /// IMPORTANT: what was sent and is not delivered stays here, or it would not be sent again.
    pub(in crate::quota) fn next(
        &mut self,
        log: &LogReader,
        billing: &Billing,
        delivered: Seq,
        sent: Seq,
    ) -> Result<Option<Seq>, Error> {
        while self.0.front().is_some_and(|seq| *seq <= delivered) {
            self.0.pop_front();
        }
        let sent = sent.max(delivered);
        let known = self.0.partition_point(|seq| *seq <= sent);
        if known == self.0.len() {
            self.0.extend(walk(log, billing, sent, FOUND_MAX)?);
        }
        Ok(self.0.get(known).copied())
    }
}

/// Everything that is not delivered, the oldest first.
pub(in crate::quota) fn undelivered(
    log: &LogReader,
    billing: &Billing,
    delivered: Seq,
) -> Result<VecDeque<Seq>, Error> {
    walk(log, billing, delivered, usize::MAX)
}

/// The oldest closes and corrections behind `delivered`.
fn walk(log: &LogReader, billing: &Billing, delivered: Seq, most: usize) -> Result<VecDeque<Seq>, Error> {
    if billing.last_correction() > delivered {
        return scan(log, billing.last_correction().max(billing.last_close()), delivered, most);
    }
    let mut found = VecDeque::new();
    let mut close = billing.last_close();
    while close > delivered {
        found.push_front(close);
        found.truncate(most);
        close = before(&read(log, close)?);
    }
    Ok(found)
}

/// The same from the front: corrections are not linked. They are rare.
fn scan(log: &LogReader, last: Seq, delivered: Seq, most: usize) -> Result<VecDeque<Seq>, Error> {
    let (mut found, mut next) = (VecDeque::new(), delivered.next());
    while next <= last && found.len() < most {
        let records = log.read(next, SCANNED_RECORDS, SCANNED_BYTES)?;
        let Some(end) = records.last() else { break };
        next = end.record.seq.next();
        let billed =
            |event: &Event| matches!(event, Event::BillingClosed { .. } | Event::BillingCorrected { .. });
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
    match &close.record.event {
        Event::BillingClosed { first_seq, .. } => {
            let before = first_seq.previous().unwrap_or(Seq::NONE);
            // A close that does not say so would lead in circles.
            if before < close.record.seq { before } else { Seq::NONE }
        }
        Event::CollectionCreated { .. }
        | Event::CollectionDeleted { .. }
        | Event::TextCollectionCreated { .. }
        | Event::VectorsUpserted { .. }
        | Event::DocumentsUpserted { .. }
        | Event::VectorsDeleted { .. }
        | Event::PayloadChanged { .. }
        | Event::AccessDenied { .. }
        | Event::UsageObserved { .. }
        | Event::BillingCorrected { .. }
        | Event::BillingAcknowledged { .. } => Seq::NONE,
    }
}

/// The lines of a close, or the one of a correction.
pub(in crate::quota) fn lines(
    tenant: &TenantId,
    log: &LogReader,
    seq: Seq,
) -> Result<Closed, Box<dyn std::error::Error>> {
    let StoredRecord { record, chain, stored: _ } = read(log, seq)?;
    let source = UsageSource(tenant.clone());
    let mut closed = Closed { seq, at: record.at, lines: Vec::new() };
    match record.event {
        Event::BillingClosed { since, through, first_seq, totals, metering: _ } => {
            for MeterTotal { meter, value } in billed_lines(&totals) {
                let id = UsageEventId { log_id: record.log_id, through: seq, meter };
                let window = Window { from: since, to: through };
                let unit = Unit::of(meter);
                let data =
                    UsageData { meter, value, unit, window, first_seq, last_seq: seq, chain, corrects: None };
                let event = UsageEvent { id, source: source.clone(), time: record.at, data };
                closed.lines.push((id, line(&event)?));
            }
        }
        Event::BillingCorrected { corrects, meter, by, reason: _ } => {
            let line_of = |through| UsageEventId { log_id: record.log_id, through, meter };
            // The window is that of the line it corrects, if there was one.
            let window =
                if let Event::BillingClosed { since, through, .. } = read(log, corrects)?.record.event {
                    Window { from: since, to: through }
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
        Event::CollectionCreated { .. }
        | Event::CollectionDeleted { .. }
        | Event::TextCollectionCreated { .. }
        | Event::VectorsUpserted { .. }
        | Event::DocumentsUpserted { .. }
        | Event::VectorsDeleted { .. }
        | Event::PayloadChanged { .. }
        | Event::AccessDenied { .. }
        | Event::UsageObserved { .. }
        | Event::BillingAcknowledged { .. } => {}
    }
    Ok(closed)
}

fn line(event: &UsageEvent) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line.into())
}
