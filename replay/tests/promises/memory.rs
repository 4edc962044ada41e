//! The memory that a projection counts is what the allocator has given it.

use std::fmt::Write as _;

use vectorizer_log::{Document, Event, Idempotency, IndexParameters, Metric, Record, Text};
use vectorizer_replay::{Projection, Projector as _};
use vectorizer_testing::Random;

use crate::history::{collection, created, id, log_id, point, record};

const RECORDS: u64 = 40;
const POINTS_PER_RECORD: u64 = 250;

/// The bytes that `make` allocates and keeps.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let mut made = None;
    let info = allocation_counter::measure(|| made = Some(make()));
    (made.unwrap(), usize::try_from(info.bytes_current).unwrap())
}

fn counted(projection: &Projection) -> usize {
    projection.memory_bytes() + projection.graphs_bytes().get()
}

fn assert_near(counted: usize, held: usize, what: &str) {
    // The counted size classes are larger than the requested sizes.
    let is_near = counted * 100 >= held * 88 && counted * 100 <= held * 122;
    assert!(is_near, "{what}: {counted} bytes are counted, {held} are held");
}

fn texts_created() -> Event {
    Event::TextCollectionCreated { name: "c".parse().unwrap(), vectors: None }
}

fn idempotent(record: Record, key: &str) -> Record {
    Record { idempotency: Some(Idempotency { key: key.into(), body_hash: [7; 32] }), ..record }
}

fn documents(random: &mut Random, first: u64) -> Event {
    let document = |number: u64| {
        let mut text = String::new();
        for _ in 0..20 {
            let vocabulary = if random.below(4) == 0 { 100_000 } else { 500 };
            let _ = write!(text, "w{} ", random.below(vocabulary));
        }
        Document {
            id: id(&format!("t{number}")),
            vector: None,
            payload: None,
            text: Some(Text::new(text).unwrap()),
        }
    };
    let documents = (first..first + POINTS_PER_RECORD).map(document).collect();
    Event::DocumentsUpserted { collection: collection(1), documents }
}

/// Points with these vectors and payloads.
fn points(
    first: u64,
    mut vector: impl FnMut() -> Vec<f32>,
    mut payload: impl FnMut(u64) -> Option<String>,
) -> Event {
    let numbers = first..first + POINTS_PER_RECORD;
    let point = |number: u64| point(&format!("point-{number}"), &vector(), payload(number).as_deref());
    Event::VectorsUpserted { collection: collection(1), points: numbers.map(point).collect() }
}

/// A projection of the events that `next` makes of the number of each first point.
fn folded(created: Event, mut next: impl FnMut(u64) -> Record) -> Projection {
    let mut projection = Projection::new(log_id());
    projection.apply(&record(1, 1, created)).unwrap();
    for number in 0..RECORDS {
        projection.apply(&next(number)).unwrap();
    }
    projection
}

#[test]
fn counted_memory_equals_allocated_memory_for_any_data() {
    type Payload = fn(u64, &mut Random) -> Option<String>;
    let payloads: [(&str, Payload); 7] = [
        ("none", |_, _| None),
        ("urls", |number, random| {
            Some(format!(r#"{{"url": "https://example.com/{:x}/{number}"}}"#, random.next()))
        }),
        ("numbers", |number, random| {
            Some(format!(r#"{{"n": {}, "time": {number}, "m": {}.5}}"#, random.next(), random.below(90_000)))
        }),
        ("few values", |number, random| {
            Some(format!(
                r#"{{"a": {}, "b": "b{}", "c": {}}}"#,
                random.below(9),
                random.below(300),
                number % 2 == 0
            ))
        }),
        ("lists", |_, random| {
            let users: Vec<String> = (0..20).map(|_| format!("\"u{}\"", random.below(900))).collect();
            Some(format!(r#"{{"users": [{}]}}"#, users.join(",")))
        }),
        ("paths", |number, random| Some(format!(r#"{{"p{}": {}}}"#, number % 3_000, random.below(20)))),
        ("opaque", |number, _| Some(format!(r#"{{"text": "{number}{}"}}"#, "x".repeat(2_000)))),
    ];
    for (what, payload) in payloads {
        let (mut vectors, mut random) = (Random::new(1), Random::new(2));
        let (projection, held) = held(|| {
            folded(created("c", 8, Metric::Cosine), |number| {
                let vector = || (0..8).map(|_| vectors.unit()).collect();
                let points =
                    points(number * POINTS_PER_RECORD, vector, |number| payload(number, &mut random));
                record(number + 2, 1, points)
            })
        });
        assert_near(counted(&projection), held, what);
    }
}

#[test]
fn the_memory_of_texts_graphs_and_answers_is_counted() {
    let mut random = Random::new(3);
    let (projection, bytes) = held(|| {
        folded(texts_created(), |number| {
            record(number + 2, 1, documents(&mut random, number * POINTS_PER_RECORD))
        })
    });
    assert_near(counted(&projection), bytes, "words");

    let (projection, bytes) = held(|| {
        let mut vectors = Random::new(1);
        let created = Event::CollectionCreated {
            name: "c".parse().unwrap(),
            dimension: 128.try_into().unwrap(),
            metric: Metric::Cosine,
            index: IndexParameters::default(),
        };
        let projection = folded(created, |number| {
            let vector = || (0..128).map(|_| vectors.unit()).collect();
            record(number + 2, 1, points(number * POINTS_PER_RECORD, vector, |_| None))
        });
        projection.index().by_id(collection(1)).unwrap().snapshot().link(usize::MAX, 1, &|| false).unwrap();
        projection
    });
    assert!(projection.graphs_bytes().get() > 10_000 * 250);
    assert_near(counted(&projection), bytes, "a graph");

    let (projection, bytes) = held(|| {
        let mut projection = Projection::new(log_id());
        projection.apply(&record(1, 1, created("c", 2, Metric::Dot))).unwrap();
        for number in 2..20_002 {
            let points = vec![point("same", &[1.0, 2.0], None)];
            let written = Event::VectorsUpserted { collection: collection(1), points };
            let key = format!("01890a5d-ac96-774b-bcce-{number:012}");
            projection.apply(&idempotent(record(number, 1, written), &key)).unwrap();
        }
        projection
    });
    assert!(counted(&projection) > 20_000 * 100);
    assert_near(counted(&projection), bytes, "answers");
}

#[test]
fn freed_memory_is_not_counted() {
    let mut random = Random::new(5);
    let payload =
        |number: u64, random: &mut Random| format!(r#"{{"n": {number}, "u": "{:x}"}}"#, random.next());
    let mut projection = folded(created("c", 64, Metric::Cosine), |number| {
        let vector = || vec![1.0; 64];
        record(
            number + 2,
            1,
            points(number * POINTS_PER_RECORD, vector, |number| Some(payload(number, &mut random))),
        )
    });
    projection.index().by_id(collection(1)).unwrap().snapshot().link(usize::MAX, 1, &|| false).unwrap();
    let empty = counted(&Projection::new(log_id()));
    let full = counted(&projection);
    assert!(full > empty + 10_000 * 400, "{full}");
    let deleted = Event::CollectionDeleted { collection: collection(1) };
    projection.apply(&record(RECORDS + 2, 1, deleted)).unwrap();
    assert_eq!(projection.memory_bytes(), empty);
    assert_eq!(projection.graphs_bytes().get(), 0);
}
