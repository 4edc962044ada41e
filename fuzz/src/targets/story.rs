//! A tenant's history, as its writer would append it: something of everything.

use std::sync::Arc;

use uuid::Uuid;
use vectorizer_index::{Filter, SearchMode, SearchRequest, TextQuery, TextRequest};
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{
    ChainHash, Document, EnvelopeFormat, Error, Event, Head, Idempotency, IndexParameters, JournalPosition,
    LogId, Meter, Metric, ObservedOperation, Payload, Point, PointId, Record, Seq, StoredRecord, TenantLog,
    Text, Timestamp, UnverifiedLog, Vector, VectorParameters, initialize,
};
use vectorizer_replay::{Projection, Projector as _};
use vectorizer_testing::events::{self as fixtures, path};
pub(super) use vectorizer_testing::events::{collection, draft, id};

/// Few enough that records have several.
pub(super) const PART_BYTES_MAX: usize = 100;

pub(super) fn log_id() -> LogId {
    LogId::new(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))
}

pub(super) fn at(seconds: i64) -> Timestamp {
    fixtures::at(seconds * 1_000_000)
}

fn vector(values: &[f32]) -> Vector {
    Vector::dense(values).expect("the numbers are finite")
}

fn payload(json: &str) -> Payload {
    Payload::new(json).expect("it is an object")
}

fn created(name: &str, metric: Metric) -> Event {
    let index = IndexParameters { m: Some(4), ef_construction: Some(8), ef: None };
    fixtures::created_with(name, 3, metric, index)
}

fn document(name: &str, text: Option<&str>) -> Document {
    Document {
        id: id(name),
        vector: Some(vector(&[0.5, -1.0, 2.0])),
        payload: Some(payload(r#"{"year": 1999, "tags": ["a", {"b": null}]}"#)),
        text: text.map(|text| Text::new(text).expect("it is a text")),
    }
}

/// A collection of three dimensions, which the first record creates.
pub(super) fn created_points() -> Event {
    created("points", Metric::Cosine)
}

/// The record of what happens next.
pub(super) fn recorded(projection: &Projection, at: Timestamp, event: Event) -> Record {
    fixtures::record(projection.log_id(), projection.applied().next(), at, event)
}

/// What happens, one commit each.
pub(super) fn events() -> Vec<Event> {
    let point = |number: u8| Point {
        id: id(&format!("p{number}")),
        vector: vector(&[f32::from(number), 1.0, -0.5]),
        payload: number
            .is_multiple_of(2)
            .then(|| payload(&format!(r#"{{"n": {number}, "of": {{"s": "text"}}}}"#))),
    };
    vec![
        created_points(),
        Event::VectorsUpserted { collection: collection(1), points: (0..12).map(point).collect() },
        Event::TextCollectionCreated {
            name: "texts".parse().expect("it is a name"),
            vectors: Some(VectorParameters {
                dimension: 3.try_into().expect("it is a dimension"),
                metric: Metric::Dot,
                index: IndexParameters::default(),
            }),
        },
        Event::DocumentsUpserted {
            collection: collection(3),
            documents: vec![document("a", Some("Blaue Berge, blue hills")), document("b", None)],
        },
        Event::PayloadChanged { collection: collection(1), id: id("p3"), payload: payload("{}") },
        Event::VectorsDeleted { collection: collection(1), ids: vec![id("p1"), id("p2")] },
        Event::UsageObserved {
            operations: vec![ObservedOperation { operation: "search".to_owned(), requests: 2, searches: 3 }],
            since: at(0),
            through: at(1),
            journal: JournalPosition { journal: Uuid::from_u128(5), entry: 3 },
        },
        Event::AccessDenied {
            key_id: None,
            what: "search".to_owned(),
            why: "no-key".to_owned(),
            from: Some("127.0.0.1".to_owned()),
            count: 2,
            since: at(1),
            through: at(2),
        },
        created("gone", Metric::Euclidean),
        Event::CollectionDeleted { collection: collection(9) },
        Event::BillingCorrected {
            corrects: Seq::new(1),
            meter: Meter::Requests,
            by: -1,
            reason: "counted twice".to_owned(),
        },
        Event::BillingAcknowledged { through: Seq::new(11), rejected: Vec::new() },
        Event::IndexDeclared { collection: collection(1), path: path("n") },
        Event::IndexDeclared { collection: collection(1), path: path("of.s") },
        Event::IndexDropped { collection: collection(1), path: path("n") },
        Event::HistoryDropped { through: Seq::new(1), chain: [1; 32], base: [2; 32] },
    ]
}

/// The log of it, in memory.
pub(super) fn log() -> (Arc<MemoryStorage>, TenantLog) {
    log_in(EnvelopeFormat::Version1)
}

/// The log of it with envelopes of this format.
pub(super) fn log_in(format: EnvelopeFormat) -> (Arc<MemoryStorage>, TenantLog) {
    let storage = Arc::new(MemoryStorage::new(PART_BYTES_MAX));
    initialize(&storage, log_id()).expect("memory does not fail");
    let unverified = UnverifiedLog::new(Box::new(Arc::clone(&storage)), log_id()).expect("it has a head");
    let mut log = unverified.recover(|_| Ok::<_, Error>(())).expect("it is empty").log.writing(format);
    for (second, event) in (0..).zip(events()) {
        let mut draft = draft(event);
        if second == 5 {
            draft.idempotency = Some(Idempotency { key: "once".to_owned(), body_hash: [7; 32] });
        }
        let mut commit = log.begin().expect("it is sound");
        commit.stage(draft, at(second)).expect("it is small enough");
        commit.commit().expect("memory does not fail");
    }
    (storage, log)
}

/// Its records.
pub(super) fn records() -> Vec<StoredRecord> {
    log().1.reader().read(Seq::OLDEST, usize::MAX, usize::MAX).expect("memory does not fail")
}

/// What they add up to.
pub(super) fn projection() -> Projection {
    let mut projection = Projection::new(log_id());
    for record in records() {
        projection.apply(&record.record).expect("a writer has checked it");
    }
    projection
}

/// Asks of a projection whatever may be asked, and goes on with its log. What it answers is not held against
/// anything: it may be made of what no writer would have written.
pub(super) fn use_up(mut projection: Projection) {
    assert_eq!(projection.clone().digest(), projection.digest());
    let filter = serde_json::json!({
        "must_not": {"key": "n", "match": {"value": 4}},
        "should": [{"is_null": {"key": "tags.b"}}, {"has_id": ["p3", "a"]}, {"key": "n", "range": {"gt": 2}}],
    });
    let filter = Filter::parse(&filter.to_string(), 32).expect("it is a filter");
    let mut following = Vec::new();
    for stored in projection.index().collections() {
        let snapshot = stored.snapshot();
        let selection = stored.select(filter.clone());
        let vector = vec![1.0; snapshot.dimension()];
        for filter in [None, Some(&selection)] {
            let request = SearchRequest {
                vector: &vector,
                limit: 3,
                filter,
                score_threshold: None,
                mode: SearchMode::Default,
            };
            let _ = snapshot.search(&request);
            snapshot.count(filter);
            let question = TextQuery::new("blue berge").expect("it has words");
            if let Some(matches) = stored.look_up(&question) {
                matches.search(&TextRequest { limit: 3, filter, score_threshold: None });
            }
        }
        snapshot.matching(&selection);
        let page = stored.page(None, 4);
        let ids: Vec<PointId> = page.iter().map(|point| id(point.id())).collect();
        if !ids.is_empty() {
            following.push(Event::VectorsDeleted { collection: stored.id(), ids });
        }
        following.push(Event::CollectionDeleted { collection: stored.id() });
    }
    let mut log_bytes = Vec::new();
    let head = Head { seq: projection.applied(), chain: ChainHash::genesis(log_id()) };
    projection.freeze(head, 1).write(&mut log_bytes).expect("memory does not fail");
    for event in following {
        let record = recorded(&projection, at(100), event);
        let _ = projection.apply(&record);
    }
}
