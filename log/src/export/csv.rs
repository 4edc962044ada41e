//! The audit trail as a table (RFC 4180, lines end in a line feed).
//!
//! Text cells are written unchanged. Spreadsheets should import the table as text: clients choose their request ids,
//! and one that begins like a formula would be evaluated.

use csv::{Writer, WriterBuilder};

use super::ExportDetail;
use super::event::EventLine;
use crate::event::{BillStep, CollectionId, Effect, EventFacts};
use crate::record::{Record, Via};

const NAMES: [&str; 9] =
    ["seq", "at", "event", "collection", "key_id", "via", "request_id", "count", "details"];

/// Appends the header row.
pub(super) fn write_names(text: &mut Vec<u8>) {
    write(text, NAMES);
}

/// Appends one row. The column `details` holds the event as in NDJSON.
pub(super) fn write_row(text: &mut Vec<u8>, record: &Record, detail: ExportDetail) {
    let Record { log_id: _, seq, at, actor, request_id, idempotency: _, event } = record;
    let (name, collection, count) = columns(record);
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let details = serde_json::to_string(&EventLine::of(event, detail))
        .expect("an export line has only JSON's own types");
    write(
        text,
        [
            &seq.to_string(),
            &at.to_string(),
            name,
            &number(collection),
            actor.key_id.as_deref().unwrap_or_default(),
            via(actor.via),
            request_id,
            &number(count),
            &details,
        ],
    );
}

/// The event's name, its collection, and how many items it concerns.
fn columns(record: &Record) -> (&'static str, Option<u64>, Option<u64>) {
    let EventFacts { name, effect, kind: _ } = record.event.facts();
    let (collection, count) = match effect {
        Effect::Data(change) => {
            // A creation has the collection's id, so that all rows of a collection have the same number.
            let collection = change.collection().unwrap_or(CollectionId::created_at(record.seq));
            (Some(collection.seq().get()), change.point_count().map(|points| points as u64))
        }
        Effect::Usage(observed) => (None, Some(observed.requests())),
        Effect::Bill(BillStep::Close(_) | BillStep::Correct { .. }) | Effect::History(_) => (None, None),
        Effect::Bill(BillStep::Acknowledge { rejected, .. }) => (None, Some(rejected.len() as u64)),
        Effect::Refusals(refused) => (None, Some(refused.count)),
    };
    (name, collection, count)
}

pub(super) const fn via(via: Via) -> &'static str {
    match via {
        Via::Rest => "rest",
        Via::Mcp => "mcp",
        Via::CommandLine => "command_line",
        Via::System => "system",
    }
}

fn write<const N: usize>(text: &mut Vec<u8>, cells: [&str; N]) {
    // The writer flushes on drop only, so that no cell is copied twice.
    let mut row: Writer<&mut Vec<u8>> = WriterBuilder::new().buffer_capacity(4096).from_writer(text);
    row.write_record(cells).expect("a Vec cannot fail, and one row has one number of cells");
}
