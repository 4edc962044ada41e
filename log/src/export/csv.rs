//! The audit trail as a table (RFC 4180, lines end in a line feed).
//!
//! Text cells are written unchanged. Spreadsheets should import the table as text: clients choose their request ids,
//! and one that begins like a formula would be evaluated.

use csv::{Writer, WriterBuilder};

use super::ExportDetail;
use super::event::EventLine;
use crate::event::Event;
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
    match &record.event {
        // The collection's id, so that all rows of a collection have the same number.
        Event::CollectionCreated { .. } => ("collection_created", Some(record.seq.get()), None),
        Event::TextCollectionCreated { .. } | Event::LanguageCollectionCreated { .. } => {
            ("text_collection_created", Some(record.seq.get()), None)
        }
        Event::CollectionDeleted { collection } => ("collection_deleted", Some(collection.seq().get()), None),
        Event::IndexDeclared { collection, .. } => ("index_declared", Some(collection.seq().get()), None),
        Event::IndexDropped { collection, .. } => ("index_dropped", Some(collection.seq().get()), None),
        Event::VectorsUpserted { collection, points } => {
            ("vectors_upserted", Some(collection.seq().get()), Some(points.len() as u64))
        }
        Event::VectorsDeleted { collection, ids } => {
            ("vectors_deleted", Some(collection.seq().get()), Some(ids.len() as u64))
        }
        Event::DocumentsUpserted { collection, documents } => {
            ("documents_upserted", Some(collection.seq().get()), Some(documents.len() as u64))
        }
        Event::PayloadChanged { collection, .. } => {
            ("payload_changed", Some(collection.seq().get()), Some(1))
        }
        Event::AccessDenied { count, .. } => ("access_denied", None, Some(*count)),
        Event::UsageObserved { operations, .. } => {
            let requests =
                operations.iter().fold(0_u64, |sum, operation| sum.saturating_add(operation.requests));
            ("usage_observed", None, Some(requests))
        }
        Event::BillingClosed { .. } => ("billing_closed", None, None),
        Event::BillingCorrected { .. } => ("billing_corrected", None, None),
        Event::BillingAcknowledged { rejected, .. } => {
            ("billing_acknowledged", None, Some(rejected.len() as u64))
        }
    }
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
