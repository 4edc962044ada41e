//! Things that happen, to fill logs with.

use uuid::Uuid;
use vectorizer_log::{
    Actor, CollectionId, Document, Draft, Event, Idempotency, IndexParameters, JournalPosition, Language,
    Meter, MeterTotal, Metric, ObservedOperation, Payload, PayloadPath, Point, PointId, Record, RejectedLine,
    Seq, TenantLog, Text, Timestamp, Vector, VectorParameters, Via,
};

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_323_045_000_000 + micros)
}

pub(crate) fn draft(event: Event) -> Draft {
    Draft {
        actor: Actor { key_id: Some("k1".to_owned()), via: Via::Rest },
        request_id: "request-1".to_owned(),
        idempotency: None,
        event,
    }
}

pub(crate) fn path(text: &str) -> PayloadPath {
    Box::<str>::from(text).try_into().unwrap()
}

pub(crate) fn created(name: &str) -> Event {
    Event::CollectionCreated {
        name: name.parse().unwrap(),
        dimension: 3.try_into().unwrap(),
        metric: Metric::Cosine,
        index: IndexParameters { m: Some(16), ef_construction: None, ef: Some(64) },
    }
}

pub(crate) fn first_collection() -> CollectionId {
    CollectionId::created_at(Seq::OLDEST)
}

/// An upsert whose stored size grows with `points`; `mark` tells one from another.
#[expect(clippy::cast_precision_loss, reason = "any number will do")]
pub(crate) fn upserted(points: usize, mark: u64) -> Event {
    let points = (0..points)
        .map(|number| Point {
            id: PointId::text(format!("point-{number}")).unwrap(),
            vector: Vector::dense(vec![mark as f32, number as f32, 1.5]).unwrap(),
            payload: Some(Payload::new(format!("{{\"mark\": {mark}}}")).unwrap()),
        })
        .collect();
    Event::VectorsUpserted { collection: first_collection(), points }
}

/// One of each variant, with every field at work.
pub(crate) fn one_of_each() -> Vec<Event> {
    let id = |text: &str| PointId::text(text).unwrap();
    vec![
        created("words"),
        Event::CollectionDeleted { collection: first_collection() },
        Event::VectorsUpserted {
            collection: first_collection(),
            points: vec![
                Point {
                    id: id("a"),
                    vector: Vector::dense(vec![1.0, -2.5, f32::MIN_POSITIVE]).unwrap(),
                    payload: Some(Payload::new("{\"word\": \"ä\"}").unwrap()),
                },
                Point { id: id("b"), vector: Vector::dense(vec![0.0; 3]).unwrap(), payload: None },
            ],
        },
        Event::VectorsDeleted { collection: first_collection(), ids: vec![id("a"), id("b")] },
        Event::PayloadChanged {
            collection: first_collection(),
            id: id("a"),
            payload: Payload::new("{}").unwrap(),
        },
        Event::AccessDenied {
            key_id: Some("k2".to_owned()),
            what: "delete_collection".to_owned(),
            why: "insufficient-permission".to_owned(),
            from: Some("192.0.2.1".to_owned()),
            count: 300,
            since: at(-2),
            through: at(-1),
        },
        Event::UsageObserved {
            operations: vec![
                ObservedOperation { operation: "list_collections".to_owned(), requests: 1, searches: 0 },
                ObservedOperation { operation: "search_batch".to_owned(), requests: 2, searches: 300 },
            ],
            since: at(-4),
            through: at(-3),
            journal: JournalPosition { journal: Uuid::from_u128(0xfedc_ba98_7654_3210), entry: 70_000 },
        },
        Event::BillingClosed {
            metering: 1,
            since: at(-5),
            through: at(0),
            first_seq: Seq::new(200),
            totals: Meter::ALL
                .into_iter()
                .zip([0, 1, 127, 128, u128::MAX, 1 << 64])
                .map(|(meter, value)| MeterTotal { meter, value })
                .collect(),
        },
        Event::BillingCorrected {
            corrects: Seq::new(8),
            meter: Meter::StorageByteSeconds,
            by: -(1 << 80),
            reason: "measured twice".to_owned(),
        },
        Event::BillingAcknowledged {
            through: Seq::new(9),
            rejected: vec![RejectedLine {
                seq: Seq::new(8),
                meter: Meter::Requests,
                reason: "the tenant is unknown".to_owned(),
            }],
        },
        Event::TextCollectionCreated {
            name: "notes".parse().unwrap(),
            vectors: Some(VectorParameters {
                dimension: 3.try_into().unwrap(),
                metric: Metric::Euclidean,
                index: IndexParameters { m: None, ef_construction: Some(100), ef: None },
            }),
        },
        Event::DocumentsUpserted {
            collection: first_collection(),
            documents: vec![
                Document {
                    id: id("a"),
                    vector: Some(Vector::dense(vec![1.0, -2.5, f32::MIN_POSITIVE]).unwrap()),
                    payload: Some(Payload::new("{}").unwrap()),
                    text: Some(Text::new("Äpfel & \0").unwrap()),
                },
                Document { id: id("b"), vector: None, payload: None, text: None },
            ],
        },
        Event::TextCollectionCreated { name: "words".parse().unwrap(), vectors: None },
        Event::LanguageCollectionCreated {
            name: "worte".parse().unwrap(),
            vectors: None,
            language: Language::German,
        },
        Event::IndexDeclared { collection: first_collection(), path: path("author.name") },
        Event::IndexDropped { collection: first_collection(), path: path(r#""a.b""#) },
    ]
}

pub(crate) fn with_idempotency(draft: Draft) -> Draft {
    Draft { idempotency: Some(Idempotency { key: "once".to_owned(), body_hash: [7; 32] }), ..draft }
}

/// Commits the events together and returns their records.
pub(crate) fn commit(log: &mut TenantLog, events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let mut commit = log.begin().unwrap();
    for event in events {
        commit.stage(draft(event), at(0)).unwrap();
    }
    commit.commit().unwrap()
}

/// `commits` commits of one to three records of growing size, the first of which makes a collection.
pub(crate) fn fill(log: &mut TenantLog, commits: u64) -> Vec<Record> {
    let mut records = commit(log, [created("words")]);
    for number in 1..commits {
        let events =
            (0..=number % 3).map(|at| upserted(usize::try_from(number).unwrap() * 3, number * 10 + at));
        records.extend(commit(log, events));
    }
    records
}
