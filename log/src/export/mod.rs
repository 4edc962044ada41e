//! The audit trail as text, the same over HTTP and on the command line: one JSON object on each line (NDJSON), or a
//! table (CSV).
//!
//! - `event`: events as JSON, for both formats.
//! - `csv`: the table.
//! - `range`: which records are exported.
//! - `safe_integer`: numbers beyond the precision of JSON readers.

mod csv;
mod event;
mod range;
mod safe_integer;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub use self::range::{ExportRange, RangePosition};

use self::event::EventLine;
use crate::base::{Base, BaseItem};
use crate::position::{Head, LogId, Seq};
use crate::record::{Actor, Via};
use crate::tenant_log::StoredRecord;

/// How much of each record is exported. The actor, the time and the request always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportDetail {
    /// Export payloads.
    pub payload: bool,
    /// Export vectors, as base64 of little-endian `f32`.
    pub vector: bool,
    /// Export the stored bytes of each record as base64, which suffices to verify the chain and to replay.
    pub stored: bool,
}

impl Default for ExportDetail {
    fn default() -> Self {
        Self { payload: true, vector: false, stored: false }
    }
}

/// The format of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object on each line, with everything.
    #[default]
    Ndjson,
    /// A table for spreadsheets with a header row. It has no stored bytes.
    Csv,
}

impl ExportFormat {
    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// Appends the text before the first record.
    pub fn begin(self, text: &mut Vec<u8>) {
        match self {
            Self::Ndjson => {}
            Self::Csv => csv::write_names(text),
        }
    }

    /// Appends one record, with a line feed.
    pub fn write(self, text: &mut Vec<u8>, stored: &StoredRecord, detail: ExportDetail) {
        match self {
            Self::Ndjson => write_line(text, stored, detail),
            Self::Csv => csv::write_row(text, &stored.record, detail),
        }
    }
}

/// Appends the line of NDJSON that says with which state a log begins after older records were dropped.
pub fn write_base_line(line: &mut Vec<u8>, base: &Base) {
    let Head { seq, chain } = base.head();
    let (log_id, at, chain) = (base.log_id(), base.at().to_string(), chain.to_string());
    let view = BaseLine { base: ExportedBase { log_id, through: seq, at, chain, items: base.items() } };
    serde_json::to_writer(&mut *line, &view).expect("a line has only JSON's own types and a Vec cannot fail");
    line.push(b'\n');
}

/// Appends the line of NDJSON of one item of that state.
pub fn write_base_item_line(line: &mut Vec<u8>, item: &BaseItem) {
    let view = BaseItemLine { base_item: BASE64.encode(item.to_bytes()) };
    serde_json::to_writer(&mut *line, &view).expect("a line has only JSON's own types and a Vec cannot fail");
    line.push(b'\n');
}

/// The state that an exported log begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportedBase {
    /// The log.
    pub log_id: LogId,
    /// The last record that the state contains.
    pub through: Seq,
    /// The time of that record, RFC 3339.
    pub at: String,
    /// Its chain hash, in hexadecimal.
    pub chain: String,
    /// How many items follow, if stored bytes are exported.
    pub items: u64,
}

#[derive(Serialize)]
struct BaseLine {
    base: ExportedBase,
}

#[derive(Serialize)]
struct BaseItemLine {
    base_item: String,
}

/// A line of an export with stored bytes.
#[derive(Debug)]
pub enum ExportedLine {
    /// The state that the log begins with.
    Base(ExportedBase),
    /// An item of that state.
    BaseItem(BaseItem),
    /// A record.
    Record(ExportedRecord),
}

impl ExportedLine {
    /// Parses a line.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Shape {
            base: Option<ExportedBase>,
            base_item: Option<String>,
        }
        let Shape { base, base_item } = serde_json::from_slice(line)?;
        if let Some(base) = base {
            return Ok(Self::Base(base));
        }
        if let Some(item) = base_item {
            let item = BASE64.decode(item).ok().and_then(|bytes| BaseItem::from_bytes(&bytes));
            let invalid = || <serde_json::Error as serde::de::Error>::custom("not an item of a base");
            return item.map(Self::BaseItem).ok_or_else(invalid);
        }
        serde_json::from_slice(line).map(Self::Record)
    }
}

/// Appends one line of NDJSON, with a line feed.
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

/// The parts of an exported line that verification needs.
#[derive(Debug, Deserialize)]
pub struct ExportedRecord {
    /// The log that the record belongs to.
    pub log_id: LogId,
    /// The record's number.
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
