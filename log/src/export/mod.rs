//! The audit trail as text, the same over HTTP and on the command line: one JSON object a line (NDJSON), or
//! a table (CSV).
//!
//! - `event`: an event as JSON, in either.
//! - `csv`: the table.
//! - `range`: which records are shown.
//! - `whole`: numbers that outgrow those of JSON.

mod csv;
mod event;
mod range;
#[cfg(test)]
mod tests;
mod whole;

use serde::{Deserialize, Serialize};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub use self::range::{ExportPlace, ExportRange};

use self::event::EventLine;
use crate::position::{LogId, Seq};
use crate::record::{Actor, Via};
use crate::tenant_log::StoredRecord;

/// How much of each record is shown. Who did what, when and in which request always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportDetail {
    /// Show payloads.
    pub payload: bool,
    /// Show vectors, as base64 of little-endian f32.
    pub vector: bool,
    /// Show the stored bytes of each record as base64: enough to verify the chain and to replay.
    pub stored: bool,
}

impl Default for ExportDetail {
    fn default() -> Self {
        Self { payload: true, vector: false, stored: false }
    }
}

/// How records become text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object a line: everything.
    #[default]
    Ndjson,
    /// A table for spreadsheets, with a row of names first. It has no stored bytes.
    Csv,
}

impl ExportFormat {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// Appends what comes in front of the first record.
    pub fn begin(self, text: &mut Vec<u8>) {
        match self {
            Self::Ndjson => {}
            Self::Csv => csv::write_names(text),
        }
    }

    /// Appends one record, with its line feed.
    pub fn write(self, text: &mut Vec<u8>, stored: &StoredRecord, detail: ExportDetail) {
        match self {
            Self::Ndjson => write_line(text, stored, detail),
            Self::Csv => csv::write_row(text, &stored.record, detail),
        }
    }
}

/// Appends one line of NDJSON for `record`, with its line feed.
pub fn write_line(line: &mut Vec<u8>, stored: &StoredRecord, detail: ExportDetail) {
    let StoredRecord { record, chain, stored } = stored;
    let view = Line {
        seq: record.seq,
        at: record.at.to_string(),
        log_id: record.log_id,
        chain: chain.to_string(),
        actor: ActorLine::of(&record.actor),
        request_id: &record.request_id,
        idempotency_key: record.idempotency.as_ref().map(|idempotency| idempotency.key.as_str()),
        event: EventLine::of(&record.event, detail),
        stored: detail.stored.then(|| BASE64.encode(stored)),
    };
    serde_json::to_writer(&mut *line, &view)
        .expect("an export line has only JSON's own types and a Vec cannot fail");
    line.push(b'\n');
}

/// What a line with `stored` says, for whoever reads it back.
#[derive(Debug, Deserialize)]
pub struct ExportedRecord {
    /// The log it belongs to.
    pub log_id: LogId,
    /// The record's place.
    pub seq: Seq,
    /// The stored bytes.
    #[serde(deserialize_with = "from_base64")]
    pub stored: Vec<u8>,
}

fn from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
}

#[derive(Serialize)]
struct Line<'a> {
    seq: Seq,
    at: String,
    log_id: LogId,
    chain: String,
    actor: ActorLine<'a>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    event: EventLine<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
}

#[derive(Serialize)]
struct ActorLine<'a> {
    key_id: Option<&'a str>,
    via: Via,
}

impl<'a> ActorLine<'a> {
    fn of(actor: &'a Actor) -> Self {
        Self { key_id: actor.key_id.as_deref(), via: actor.via }
    }
}
