//! The audit trail as text: one JSON object a line (NDJSON), the same over HTTP and on the command
//! line.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::event::{CollectionId, Dimension, Event, IndexParameters, Metric};
use crate::point::{Payload, Point, vector_le_bytes};
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

/// Appends one line for `record`, with its line feed.
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

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum EventLine<'a> {
    CollectionCreated {
        name: &'a str,
        dimension: Dimension,
        metric: Metric,
        index: IndexParameters,
    },
    CollectionDeleted {
        collection: CollectionId,
    },
    VectorsUpserted {
        collection: CollectionId,
        count: usize,
        points: Vec<PointLine<'a>>,
    },
    VectorsDeleted {
        collection: CollectionId,
        count: usize,
        ids: Vec<&'a str>,
    },
    PayloadChanged {
        collection: CollectionId,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    AccessDenied {
        key_id: Option<&'a str>,
        what: &'a str,
        why: &'a str,
        from: Option<&'a str>,
        count: u64,
        since: String,
        through: String,
    },
}

#[derive(Serialize)]
struct PointLine<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<String>,
}

impl<'a> EventLine<'a> {
    fn of(event: &'a Event, detail: ExportDetail) -> Self {
        match event {
            Event::CollectionCreated { name, dimension, metric, index } => Self::CollectionCreated {
                name: name.as_str(),
                dimension: *dimension,
                metric: *metric,
                index: *index,
            },
            Event::CollectionDeleted { collection } => Self::CollectionDeleted { collection: *collection },
            Event::VectorsUpserted { collection, points } => Self::VectorsUpserted {
                collection: *collection,
                count: points.len(),
                points: points.iter().map(|point| PointLine::of(point, detail)).collect(),
            },
            Event::VectorsDeleted { collection, ids } => Self::VectorsDeleted {
                collection: *collection,
                count: ids.len(),
                ids: ids.iter().map(super::PointId::as_str).collect(),
            },
            Event::PayloadChanged { collection, id, payload } => Self::PayloadChanged {
                collection: *collection,
                id: id.as_str(),
                payload: detail.payload.then(|| payload_line(payload)).flatten(),
            },
            Event::AccessDenied { key_id, what, why, from, count, since, through } => Self::AccessDenied {
                key_id: key_id.as_deref(),
                what,
                why,
                from: from.as_deref(),
                count: *count,
                since: since.to_string(),
                through: through.to_string(),
            },
        }
    }
}

impl<'a> PointLine<'a> {
    fn of(point: &'a Point, detail: ExportDetail) -> Self {
        Self {
            id: point.id.as_str(),
            payload: detail.payload.then_some(point.payload.as_ref()).flatten().and_then(payload_line),
            vector: detail.vector.then(|| BASE64.encode(vector_le_bytes(point.vector.as_dense()))),
        }
    }
}

/// A payload holds JSON from its making on; what is none after all (a decoded payload is not parsed
/// again) is left out rather than corrupting the line.
fn payload_line(payload: &Payload) -> Option<&RawValue> {
    serde_json::from_str(payload.as_str()).ok()
}
