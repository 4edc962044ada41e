//! Events, and logs that hold them.

use uuid::Uuid;
use vectorizer_log::{
    Actor, CollectionId, Document, Draft, Error, Event, Idempotency, IndexParameters, JournalPosition,
    Language, LogId, Meter, MeterTotal, Metric, ObservedOperation, Payload, PayloadPath, Point, PointId,
    Record, RejectedLine, Seq, TenantFolder, TenantLog, Text, Timestamp, Vector, VectorParameters, Via,
};

use crate::variants::variants_of;

/// The collection that the first record of a log creates.
pub const FIRST_COLLECTION: CollectionId = CollectionId::created_at(Seq::OLDEST);

/// So many microseconds after a fixed point in time.
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_323_045_000_000 + micros)
}

/// What a request over REST asks the log to write.
pub fn draft(event: Event) -> Draft {
    Draft {
        actor: Actor { key_id: Some("k1".to_owned()), via: Via::Rest },
        request_id: "request-1".to_owned(),
        idempotency: None,
        event,
    }
}

/// The same with an idempotency key.
pub fn with_idempotency(draft: Draft) -> Draft {
    Draft { idempotency: Some(Idempotency { key: "once".to_owned(), body_hash: [7; 32] }), ..draft }
}

/// A record that the server itself has written.
pub fn record(log_id: LogId, seq: Seq, at: Timestamp, event: Event) -> Record {
    let actor = Actor { key_id: None, via: Via::System };
    Record { log_id, seq, at, actor, request_id: String::new(), idempotency: None, event }
}

/// The id of the collection that this record creates.
pub const fn collection(seq: u64) -> CollectionId {
    CollectionId::created_at(Seq::new(seq))
}

/// A point's id.
pub fn id(text: &str) -> PointId {
    PointId::text(text).unwrap()
}

/// A path into payloads.
pub fn path(text: &str) -> PayloadPath {
    Box::<str>::from(text).try_into().unwrap()
}

/// A point; the payload is JSON.
pub fn point(name: &str, vector: &[f32], payload: Option<&str>) -> Point {
    Point {
        id: id(name),
        vector: Vector::dense(vector).unwrap(),
        payload: payload.map(|json| Payload::new(json).unwrap()),
    }
}

/// The creation of a collection with default parameters.
pub fn created(name: &str, dimension: usize, metric: Metric) -> Event {
    created_with(name, dimension, metric, IndexParameters::default())
}

/// The creation of a collection.
pub fn created_with(name: &str, dimension: usize, metric: Metric, index: IndexParameters) -> Event {
    let dimension = u32::try_from(dimension).unwrap().try_into().unwrap();
    Event::CollectionCreated { name: name.parse().unwrap(), dimension, metric, index }
}

/// The creation of a collection of three dimensions with parameters of its own.
pub fn created_words(name: &str) -> Event {
    let index = IndexParameters { m: Some(16), ef_construction: None, ef: Some(64) };
    created_with(name, 3, Metric::Cosine, index)
}

/// An upsert into [`FIRST_COLLECTION`], of three dimensions, whose stored size grows with `points`. `mark` tells one
/// from another.
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
pub fn upserted(points: usize, mark: u64) -> Event {
    let payload = format!("{{\"mark\": {mark}}}");
    let point = |number| {
        point(&format!("point-{number}"), &[mark as f32, number as f32, 1.5], Some(payload.as_str()))
    };
    Event::VectorsUpserted { collection: FIRST_COLLECTION, points: (0..points).map(point).collect() }
}

/// The name of the event's variant, in snake case.
pub fn variant_name(event: &Event) -> String {
    let shown = format!("{event:?}");
    let name = shown.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap();
    in_snake_case(name)
}

/// The names of all variants of [`Event`], in snake case, in the order of their encoding.
pub fn variant_names() -> Vec<String> {
    variants_of::<Event>().iter().copied().map(in_snake_case).collect()
}

fn in_snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// One event of each variant, with all fields set.
pub fn one_of_each() -> Vec<Event> {
    vec![
        created_words("words"),
        Event::CollectionDeleted { collection: FIRST_COLLECTION },
        Event::VectorsUpserted {
            collection: FIRST_COLLECTION,
            points: vec![
                Point {
                    id: id("a"),
                    vector: Vector::dense(vec![1.0, -2.5, f32::MIN_POSITIVE]).unwrap(),
                    payload: Some(Payload::new("{\"word\": \"ä\"}").unwrap()),
                },
                Point { id: id("b"), vector: Vector::dense(vec![0.0; 3]).unwrap(), payload: None },
            ],
        },
        Event::VectorsDeleted { collection: FIRST_COLLECTION, ids: vec![id("a"), id("b")] },
        Event::PayloadChanged {
            collection: FIRST_COLLECTION,
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
            collection: FIRST_COLLECTION,
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
        Event::IndexDeclared { collection: FIRST_COLLECTION, path: path("author.name") },
        Event::IndexDropped { collection: FIRST_COLLECTION, path: path(r#""a.b""#) },
        Event::HistoryDropped { through: Seq::new(7), chain: [3; 32], base: [4; 32] },
    ]
}

/// Commits the events together, and returns their records.
pub fn commit(log: &mut TenantLog, events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    commit_at(log, at(0), events)
}

/// Commits the events together at this time, and returns their records.
pub fn commit_at(
    log: &mut TenantLog,
    now: Timestamp,
    events: impl IntoIterator<Item = Event>,
) -> Vec<Record> {
    let mut commit = log.begin().unwrap();
    for event in events {
        commit.stage(draft(event), now).unwrap();
    }
    commit.commit().unwrap()
}

/// Makes so many commits of one to three records of growing size, the first of which creates a collection.
pub fn fill(log: &mut TenantLog, commits: u64) -> Vec<Record> {
    let mut records = commit(log, [created_words("words")]);
    for number in 1..commits {
        let events =
            (0..=number % 3).map(|at| upserted(usize::try_from(number).unwrap() * 3, number * 10 + at));
        records.extend(commit(log, events));
    }
    records
}

/// Opens the log of a folder without folding its records.
pub fn open(folder: &TenantFolder) -> TenantLog {
    folder.open().unwrap().recover(|_| Ok::<_, Error>(())).unwrap().log
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_variant_has_an_example() {
        let (variants, examples) = (variant_names(), one_of_each());
        assert_eq!(variants.first().map(String::as_str), Some("collection_created"));
        let shown: BTreeSet<_> = examples.iter().map(variant_name).collect();
        let missing: Vec<_> = variants.iter().filter(|name| !shown.contains(*name)).collect();
        assert!(missing.is_empty(), "one_of_each() has no example of {missing:?}");
        assert!(shown.iter().all(|name| variants.contains(name)), "{shown:?}");
    }
}
