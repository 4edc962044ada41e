//! Events as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use super::ExportDetail;
use super::safe_integer::SafeInteger;
use crate::billing::{JournalPosition, ObservedOperation, RejectedLine};
use crate::document::Document;
use crate::event::{CollectionId, Dimension, Event, IndexParameters, Metric, VectorParameters};
use crate::language::Language;
use crate::meter::{Meter, MeterTotal};
use crate::point::Text;
use crate::point::{Payload, Point, PointId, Vector, vector_le_bytes};
use crate::position::Seq;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum EventLine<'a> {
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
    UsageObserved {
        operations: &'a [ObservedOperation],
        since: String,
        through: String,
        journal: JournalPosition,
    },
    BillingClosed {
        metering: u16,
        since: String,
        through: String,
        first_seq: Seq,
        totals: Vec<TotalLine>,
    },
    BillingCorrected {
        corrects: Seq,
        meter: Meter,
        by: SafeInteger<i128>,
        reason: &'a str,
    },
    BillingAcknowledged {
        through: Seq,
        parked: &'a [RejectedLine],
    },
    TextCollectionCreated {
        name: &'a str,
        vectors: Option<VectorParameters>,
        #[serde(skip_serializing_if = "Option::is_none")]
        language: Option<Language>,
    },
    DocumentsUpserted {
        collection: CollectionId,
        count: usize,
        documents: Vec<DocumentLine<'a>>,
    },
    IndexDeclared {
        collection: CollectionId,
        path: &'a str,
    },
    IndexDropped {
        collection: CollectionId,
        path: &'a str,
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
                ids: ids.iter().map(PointId::as_str).collect(),
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
            Event::UsageObserved { operations, since, through, journal } => Self::UsageObserved {
                operations,
                since: since.to_string(),
                through: through.to_string(),
                journal: *journal,
            },
            Event::BillingClosed { metering, since, through, first_seq, totals } => Self::BillingClosed {
                metering: *metering,
                since: since.to_string(),
                through: through.to_string(),
                first_seq: *first_seq,
                totals: totals.iter().map(TotalLine::of).collect(),
            },
            Event::BillingCorrected { corrects, meter, by, reason } => {
                Self::BillingCorrected { corrects: *corrects, meter: *meter, by: SafeInteger(*by), reason }
            }
            Event::BillingAcknowledged { through, rejected } => {
                Self::BillingAcknowledged { through: *through, parked: rejected }
            }
            Event::TextCollectionCreated { name, vectors } => {
                Self::TextCollectionCreated { name: name.as_str(), vectors: *vectors, language: None }
            }
            Event::LanguageCollectionCreated { name, vectors, language } => Self::TextCollectionCreated {
                name: name.as_str(),
                vectors: *vectors,
                language: Some(*language),
            },
            Event::DocumentsUpserted { collection, documents } => Self::DocumentsUpserted {
                collection: *collection,
                count: documents.len(),
                documents: documents.iter().map(|document| DocumentLine::of(document, detail)).collect(),
            },
            Event::IndexDeclared { collection, path } => {
                Self::IndexDeclared { collection: *collection, path: path.as_str() }
            }
            Event::IndexDropped { collection, path } => {
                Self::IndexDropped { collection: *collection, path: path.as_str() }
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
