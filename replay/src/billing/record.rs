//! What the bill reads of a record. It comes from the record, or from its facts alone.

use std::borrow::Cow;

use vectorizer_log::{
    BillClose, BillStep, Effect, JournalPosition, KnownEvent, LogId, Meter, ObservedOperation, ObservedUsage,
    Record, RecordFacts, RejectedFacts, RejectedLine, Seq, Timestamp,
};

/// A record, as the bill reads it.
#[derive(Clone, Debug)]
pub(crate) struct BilledRecord<'a> {
    pub(crate) log_id: LogId,
    pub(crate) seq: Seq,
    pub(crate) at: Timestamp,
    pub(crate) event: BilledEvent<'a>,
}

/// An event, as the bill reads it. Reasons are content, so they are empty if only the facts are known.
#[derive(Clone, Debug)]
pub(crate) enum BilledEvent<'a> {
    /// The bill counts at most what the event changes.
    Other,
    Usage {
        operations: &'a [ObservedOperation],
        journal: JournalPosition,
    },
    Close(BillClose<'a>),
    Correct {
        corrects: Seq,
        meter: Meter,
        by: i128,
        reason: &'a str,
    },
    Acknowledge {
        through: Seq,
        rejected: Cow<'a, [RejectedLine]>,
    },
}

impl<'a> From<&'a Record> for BilledRecord<'a> {
    #[inline]
    fn from(record: &'a Record) -> Self {
        let event = match record.event.effect() {
            Effect::Usage(ObservedUsage { operations, journal, since: _, through: _ }) => {
                BilledEvent::Usage { operations, journal }
            }
            Effect::Bill(BillStep::Close(close)) => BilledEvent::Close(close),
            Effect::Bill(BillStep::Correct { corrects, meter, by, reason }) => {
                BilledEvent::Correct { corrects, meter, by, reason }
            }
            Effect::Bill(BillStep::Acknowledge { through, rejected }) => {
                BilledEvent::Acknowledge { through, rejected: rejected.into() }
            }
            Effect::Data(_) | Effect::Refusals(_) | Effect::History(_) => BilledEvent::Other,
        };
        Self { log_id: record.log_id, seq: record.seq, at: record.at, event }
    }
}

impl<'a> From<&'a RecordFacts> for BilledRecord<'a> {
    fn from(facts: &'a RecordFacts) -> Self {
        let event = match &facts.event {
            KnownEvent::UsageObserved { operations, journal, since: _, through: _ } => {
                BilledEvent::Usage { operations, journal: *journal }
            }
            KnownEvent::BillingClosed { metering, since, through, first_seq, totals } => {
                BilledEvent::Close(BillClose {
                    metering: *metering,
                    since: *since,
                    through: *through,
                    first_seq: *first_seq,
                    totals,
                })
            }
            KnownEvent::BillingCorrected { corrects, meter, by } => {
                BilledEvent::Correct { corrects: *corrects, meter: *meter, by: *by, reason: "" }
            }
            KnownEvent::BillingAcknowledged { through, rejected } => {
                let line =
                    |&RejectedFacts { seq, meter }: &_| RejectedLine { seq, meter, reason: String::new() };
                let rejected = rejected.iter().map(line).collect();
                BilledEvent::Acknowledge { through: *through, rejected }
            }
            KnownEvent::Other
            | KnownEvent::CollectionCreated
            | KnownEvent::CollectionDeleted
            | KnownEvent::PointsWritten { .. }
            | KnownEvent::PointsDeleted { .. }
            | KnownEvent::PayloadChanged { .. }
            | KnownEvent::Refused { .. }
            | KnownEvent::HistoryDropped { .. } => BilledEvent::Other,
        };
        Self { log_id: facts.log_id, seq: facts.seq, at: facts.at, event }
    }
}
