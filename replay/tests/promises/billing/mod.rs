//! The bill is a fold of the log, and can be computed again from its records alone.

mod audit;
mod events;
mod model;
mod windows;

pub(crate) use events::{BillingAction, billing_action, billing_event};

use vectorizer_log::{Event, Metric, Record, Timestamp};
use vectorizer_replay::{Bill, BillEntry, BilledWindow, Projection};

use crate::history::{collection, created, log_id, point, record};

/// The bill of these records, and its entries.
fn bill(records: &[Record]) -> (Bill, Vec<BillEntry>) {
    let mut bill = Bill::new(log_id());
    let entries = records.iter().flat_map(|record| bill.push(record, None).unwrap()).collect();
    (bill, entries)
}

/// The content of a close.
fn closed(record: &Record) -> Option<(BilledWindow, Vec<u128>)> {
    let Event::BillingClosed { since, through, first_seq, totals, .. } = &record.event else { return None };
    let window = BilledWindow { since: *since, through: *through, first_seq: *first_seq };
    Some((window, totals.iter().map(|total| total.value).collect()))
}

/// A collection with one vector of 100 bytes, from second 10 on.
fn hundred_bytes() -> Vec<Record> {
    let payload = format!("{{\"a\":\"{}\"}}", "x".repeat(63 - 8));
    let points = vec![point("p", &[1.0], Some(&payload))];
    let upserted = Event::VectorsUpserted { collection: collection(1), points };
    vec![record(1, seconds(5), created("c", 1, Metric::Dot)), record(2, seconds(10), upserted)]
}

const fn seconds(seconds: i64) -> i64 {
    seconds * 1_000_000
}

/// The close that a server would make at `at`, in record `seq`, recorded at `recorded`.
fn close(state: &Projection, seq: u64, at: i64, recorded: i64) -> Record {
    let event = state.billing().close(Timestamp::from_micros(at), state.usage()).unwrap();
    record(seq, recorded, event)
}
