//! The state of a log, computed as plainly as possible: maps, loops and `f64`.

use std::collections::{BTreeMap, BTreeSet};

use vectorizer_log::{
    CollectionId, CollectionName, Document, Event, IndexParameters, Metric, Record, VectorParameters,
};
use vectorizer_replay::Outcome;

pub(crate) const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) collections: BTreeMap<u64, ModelCollection>,
    pub(crate) vectors_upserted: u64,
    pub(crate) vectors_deleted: u64,
    pub(crate) answers: BTreeMap<String, ModelAnswer>,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelCollection {
    pub(crate) name: String,
    /// Zero if points have texts and no vectors.
    pub(crate) dimension: usize,
    pub(crate) metric: Metric,
    pub(crate) texts: bool,
    pub(crate) parameters: IndexParameters,
    pub(crate) created_at: i64,
    pub(crate) last_change: u64,
    pub(crate) points: BTreeMap<String, ModelPoint>,
    pub(crate) declared: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelPoint {
    pub(crate) vector: Vec<f32>,
    pub(crate) payload: Option<String>,
    pub(crate) text: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelAnswer {
    pub(crate) seq: u64,
    pub(crate) at: i64,
    pub(crate) body_hash: [u8; 32],
    pub(crate) outcome: Outcome,
}

impl ModelCollection {
    pub(crate) fn logical_bytes(&self) -> u64 {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = |point: &ModelPoint| text(&point.payload) + text(&point.text);
        self.points.iter().map(|(id, point)| (4 * self.dimension + id.len() + bytes(point) + 32) as u64).sum()
    }

    /// The score of `point`, in `f64`.
    pub(crate) fn score(&self, query: &[f32], point: &ModelPoint) -> f64 {
        let pairs = || query.iter().zip(&point.vector).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        match self.metric {
            Metric::Dot => dot,
            Metric::Euclidean => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
            Metric::Cosine => {
                let norms = pairs().map(|(a, _)| a * a).sum::<f64>().sqrt()
                    * pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
                if norms == 0.0 { 0.0 } else { dot / norms }
            }
        }
    }
}

impl Model {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut model = Self::default();
        for record in records {
            model.apply(record);
        }
        model
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        let seq = record.seq.get();
        let outcome = match &record.event {
            Event::CollectionCreated { name, dimension, metric, index } => {
                let vectors = VectorParameters { dimension: *dimension, metric: *metric, index: *index };
                self.create(record, name, Some(vectors), false)
            }
            Event::TextCollectionCreated { name, vectors }
            | Event::LanguageCollectionCreated { name, vectors, language: _ } => {
                self.create(record, name, *vectors, true)
            }
            Event::CollectionDeleted { collection } => {
                let gone = self.collections.remove(&collection.seq().get()).unwrap();
                let vectors = gone.points.len() as u64;
                self.vectors_deleted += vectors;
                Outcome::CollectionDeleted { vectors }
            }
            Event::VectorsUpserted { collection, points } => {
                self.upsert(seq, *collection, &points.iter().cloned().map(Document::from).collect::<Vec<_>>())
            }
            Event::DocumentsUpserted { collection, documents } => self.upsert(seq, *collection, documents),
            Event::VectorsDeleted { collection, ids } => {
                let collection = self.collections.get_mut(&collection.seq().get()).unwrap();
                for id in ids {
                    collection.points.remove(id.as_str()).unwrap();
                    collection.last_change = seq;
                }
                self.vectors_deleted += ids.len() as u64;
                Outcome::Deleted { count: ids.len() as u64 }
            }
            Event::PayloadChanged { collection, id, payload } => {
                let collection = self.collections.get_mut(&collection.seq().get()).unwrap();
                collection.last_change = seq;
                collection.points.get_mut(id.as_str()).unwrap().payload = Some(payload.as_str().to_owned());
                Outcome::PayloadChanged
            }
            Event::IndexDeclared { collection, path } => {
                let collection = self.collections.get_mut(&collection.seq().get()).unwrap();
                Outcome::IndexDeclared { is_new: collection.declared.insert(path.to_string()) }
            }
            Event::IndexDropped { collection, path } => {
                let collection = self.collections.get_mut(&collection.seq().get()).unwrap();
                assert!(collection.declared.remove(path.as_str()));
                Outcome::IndexDropped
            }
            Event::AccessDenied { .. }
            | Event::UsageObserved { .. }
            | Event::BillingClosed { .. }
            | Event::BillingCorrected { .. }
            | Event::BillingAcknowledged { .. }
            | Event::HistoryDropped { .. } => return self.forget(record.at.micros()),
        };
        let at = record.at.micros();
        self.forget(at);
        if let Some(idempotency) = &record.idempotency {
            let answer = ModelAnswer { seq, at, body_hash: idempotency.body_hash, outcome };
            self.answers.insert(idempotency.key.clone(), answer);
        }
    }

    fn create(
        &mut self,
        record: &Record,
        name: &CollectionName,
        vectors: Option<VectorParameters>,
        texts: bool,
    ) -> Outcome {
        let collection = ModelCollection {
            name: name.as_str().to_owned(),
            dimension: vectors.map_or(0, |vectors| vectors.dimension.get()),
            metric: vectors.map_or(Metric::Dot, |vectors| vectors.metric),
            texts,
            parameters: vectors.map(|vectors| vectors.index).unwrap_or_default(),
            created_at: record.at.micros(),
            last_change: record.seq.get(),
            points: BTreeMap::new(),
            declared: BTreeSet::new(),
        };
        self.collections.insert(record.seq.get(), collection);
        Outcome::CollectionCreated
    }

    fn upsert(&mut self, seq: u64, collection: CollectionId, documents: &[Document]) -> Outcome {
        let collection = self.collections.get_mut(&collection.seq().get()).unwrap();
        for Document { id, vector, payload, text } in documents {
            let point = ModelPoint {
                vector: vector.as_ref().map(|vector| vector.as_dense().to_vec()).unwrap_or_default(),
                payload: payload.as_ref().map(|payload| payload.as_str().to_owned()),
                text: text.as_ref().map(|text| text.as_str().to_owned()),
            };
            collection.points.insert(id.to_string(), point);
            collection.last_change = seq;
        }
        self.vectors_upserted += documents.len() as u64;
        Outcome::Upserted { count: documents.len() as u64 }
    }

    fn forget(&mut self, at: i64) {
        self.answers.retain(|_, answer| at - answer.at < DAY_MICROS);
    }
}
