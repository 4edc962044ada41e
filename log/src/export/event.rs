//! Events as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use super::ExportDetail;
use super::safe_integer::SafeInteger;
use crate::billing::{JournalPosition, ObservedOperation, RejectedLine};
use crate::document::Document;
use crate::event::{
    BillClose, BillStep, CollectionContent, CollectionId, DataChange, Dimension, DroppedHistory, Effect,
    Event, EventFacts, IndexParameters, Metric, ObservedUsage, RefusedRequests, VectorParameters,
    WrittenPoints,
};
use crate::language::{Language, TextParameters};
use crate::meter::{Meter, MeterTotal};
use crate::point::Text;
use crate::point::{Payload, Point, PointId, Vector, vector_le_bytes};
use crate::position::{ChainHash, Seq};

/// An event: its name as `type`, and the fields of its effect.
#[derive(Serialize)]
pub(super) struct EventLine<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(flatten)]
    fields: EffectLine<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EffectLine<'a> {
    VectorCollection {
        name: &'a str,
        dimension: Dimension,
        metric: Metric,
        index: IndexParameters,
    },
    TextCollection {
        name: &'a str,
        vectors: Option<VectorParameters>,
        #[serde(skip_serializing_if = "Option::is_none")]
        language: Option<Language>,
    },
    Collection {
        collection: CollectionId,
    },
    Points {
        collection: CollectionId,
        count: usize,
        points: Vec<PointLine<'a>>,
    },
    Documents {
        collection: CollectionId,
        count: usize,
        documents: Vec<DocumentLine<'a>>,
    },
    Ids {
        collection: CollectionId,
        count: usize,
        ids: Vec<&'a str>,
    },
    Payload {
        collection: CollectionId,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    Path {
        collection: CollectionId,
        path: &'a str,
    },
    Refusals {
        key_id: Option<&'a str>,
        what: &'a str,
        why: &'a str,
        from: Option<&'a str>,
        count: u64,
        since: String,
        through: String,
    },
    Usage {
        operations: &'a [ObservedOperation],
        since: String,
        through: String,
        journal: JournalPosition,
    },
    Close {
        metering: u16,
        since: String,
        through: String,
        first_seq: Seq,
        totals: Vec<TotalLine>,
    },
    Correction {
        corrects: Seq,
        meter: Meter,
        by: SafeInteger<i128>,
        reason: &'a str,
    },
    Acknowledgement {
        through: Seq,
        parked: &'a [RejectedLine],
    },
    History {
        through: Seq,
        chain: String,
        base: String,
    },
}

#[derive(Serialize)]
pub(super) struct TotalLine {
    meter: Meter,
    value: SafeInteger<u128>,
}

#[derive(Serialize)]
pub(super) struct PointLine<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<String>,
}

#[derive(Serialize)]
pub(super) struct DocumentLine<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<String>,
}

impl<'a> EventLine<'a> {
    pub(super) fn of(event: &'a Event, detail: ExportDetail) -> Self {
        let EventFacts { name, effect, kind: _ } = event.facts();
        Self { name, fields: EffectLine::of(effect, detail) }
    }
}

impl<'a> EffectLine<'a> {
    fn of(effect: Effect<'a>, detail: ExportDetail) -> Self {
        match effect {
            Effect::Data(change) => Self::of_data(change, detail),
            Effect::Usage(ObservedUsage { operations, since, through, journal }) => {
                Self::Usage { operations, since: since.to_string(), through: through.to_string(), journal }
            }
            Effect::Bill(BillStep::Close(close)) => {
                let BillClose { metering, since, through, first_seq, totals } = close;
                let (since, through) = (since.to_string(), through.to_string());
                let totals = totals.iter().map(TotalLine::of).collect();
                Self::Close { metering, since, through, first_seq, totals }
            }
            Effect::Bill(BillStep::Correct { corrects, meter, by, reason }) => {
                Self::Correction { corrects, meter, by: SafeInteger(by), reason }
            }
            Effect::Bill(BillStep::Acknowledge { through, rejected }) => {
                Self::Acknowledgement { through, parked: rejected }
            }
            Effect::Refusals(RefusedRequests { key_id, what, why, from, count, since, through }) => {
                let (since, through) = (since.to_string(), through.to_string());
                Self::Refusals { key_id, what, why, from, count, since, through }
            }
            Effect::History(DroppedHistory { through, chain, base }) => {
                let [chain, base] = [chain, base].map(|hash| ChainHash::from_bytes(*hash).to_string());
                Self::History { through, chain, base }
            }
        }
    }

    fn of_data(change: DataChange<'a>, detail: ExportDetail) -> Self {
        match change {
            DataChange::CreateCollection { name, content } => match content {
                CollectionContent::Vectors(VectorParameters { dimension, metric, index }) => {
                    Self::VectorCollection { name: name.as_str(), dimension, metric, index }
                }
                CollectionContent::Texts { vectors, texts: TextParameters { language } } => {
                    Self::TextCollection { name: name.as_str(), vectors, language }
                }
            },
            DataChange::DeleteCollection { collection } => Self::Collection { collection },
            DataChange::WritePoints { collection, points } => match points {
                WrittenPoints::Points(points) => Self::Points {
                    collection,
                    count: points.len(),
                    points: points.iter().map(|point| PointLine::of(point, detail)).collect(),
                },
                WrittenPoints::Documents(documents) => Self::Documents {
                    collection,
                    count: documents.len(),
                    documents: documents.iter().map(|document| DocumentLine::of(document, detail)).collect(),
                },
            },
            DataChange::DeletePoints { collection, ids } => {
                let shown = ids.iter().map(PointId::as_str).collect();
                Self::Ids { collection, count: ids.len(), ids: shown }
            }
            DataChange::ChangePayload { collection, id, payload } => {
                let payload = detail.payload.then(|| payload_line(payload)).flatten();
                Self::Payload { collection, id: id.as_str(), payload }
            }
            DataChange::DeclareIndex { collection, path } | DataChange::DropIndex { collection, path } => {
                Self::Path { collection, path: path.as_str() }
            }
        }
    }
}

impl TotalLine {
    fn of(total: &MeterTotal) -> Self {
        Self { meter: total.meter, value: SafeInteger(total.value) }
    }
}

impl<'a> PointLine<'a> {
    fn of(point: &'a Point, detail: ExportDetail) -> Self {
        Self {
            id: point.id.as_str(),
            payload: detail.payload.then_some(point.payload.as_ref()).flatten().and_then(payload_line),
            vector: detail.vector.then(|| vector_line(&point.vector)),
        }
    }
}

impl<'a> DocumentLine<'a> {
    /// The text is shown if payloads are, as it is the tenant's data too.
    fn of(document: &'a Document, detail: ExportDetail) -> Self {
        Self {
            id: document.id.as_str(),
            text: document.text.as_ref().filter(|_| detail.payload).map(Text::as_str),
            payload: document.payload.as_ref().filter(|_| detail.payload).and_then(payload_line),
            vector: document.vector.as_ref().filter(|_| detail.vector).map(vector_line),
        }
    }
}

fn vector_line(vector: &Vector) -> String {
    BASE64.encode(vector_le_bytes(vector.as_dense()))
}

/// The payload as JSON. A payload that is not valid JSON, which a decoded one might be, is left out instead of
/// corrupting the line.
fn payload_line(payload: &Payload) -> Option<&RawValue> {
    serde_json::from_str(payload.as_str()).ok()
}
