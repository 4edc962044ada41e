//! The lines of a tenant's bill, from its log.

use std::collections::VecDeque;

use bytes::Bytes;
use vectorizer_log::{
    Error, Event, LogReader, MeterTotal, Seq, StoredRecord, TenantId, Timestamp, billed_lines,
};
use vectorizer_replay::Billing;

use crate::hivehub::{Unit, UsageData, UsageEvent, UsageEventId, UsageSource, Window};

/// How many closes are remembered of those that were come by on the way to the oldest one.
const FOUND_MAX: usize = 512;

/// A close with its lines, as they are sent.
pub(in crate::quota) struct Closed {
    pub(in crate::quota) seq: Seq,
    pub(in crate::quota) at: Timestamp,
    pub(in crate::quota) lines: Vec<(UsageEventId, Bytes)>,
}

/// The oldest closes that are not delivered, as far as they were found.
#[derive(Debug, Default)]
pub(in crate::quota) struct Found(VecDeque<Seq>);

impl Found {
    /// The oldest close behind `delivered`; `None` if there is none. Closes name the one before them, so the
    /// way there begins with the last one; what is remembered of it has a bound.
    pub(in crate::quota) fn next(
        &mut self,
        log: &LogReader,
        billing: &Billing,
        delivered: Seq,
    ) -> Result<Option<StoredRecord>, Error> {
        while self.0.front().is_some_and(|seq| *seq <= delivered) {
            self.0.pop_front();
        }
        if self.0.is_empty() {
            let mut close = billing.last_close();
            while close > delivered {
                self.0.push_front(close);
                self.0.truncate(FOUND_MAX);
                close = before(&read(log, close)?);
            }
        }
        self.0.front().map(|seq| read(log, *seq)).transpose()
    }
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
        | Event::VectorsUpserted { .. }
        | Event::VectorsDeleted { .. }
        | Event::PayloadChanged { .. }
        | Event::AccessDenied { .. }
        | Event::UsageObserved { .. }
        | Event::BillingCorrected { .. }
        | Event::BillingAcknowledged { .. } => Seq::NONE,
    }
}

/// What of a record is billed: the lines of a close, and nothing of any other.
pub(in crate::quota) fn lines(tenant: &TenantId, stored: &StoredRecord) -> Result<Closed, serde_json::Error> {
    let StoredRecord { record, chain, stored: _ } = stored;
    let mut closed = Closed { seq: record.seq, at: record.at, lines: Vec::new() };
    if let Event::BillingClosed { since, through, first_seq, totals, metering: _ } = &record.event {
        for MeterTotal { meter, value } in billed_lines(totals) {
            let id = UsageEventId { log_id: record.log_id, through: record.seq, meter };
            let data = UsageData {
                meter,
                value,
                unit: Unit::of(meter),
                window: Window { from: *since, to: *through },
                first_seq: *first_seq,
                last_seq: record.seq,
                chain: *chain,
            };
            let source = UsageSource(tenant.clone());
            closed.lines.push((id, line(&UsageEvent { id, source, time: record.at, data })?));
        }
    }
    Ok(closed)
}

fn line(event: &UsageEvent) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line.into())
}
