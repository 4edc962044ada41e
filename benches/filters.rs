//! What filters cost that have ever been slow, beside one that never was.
//!
//! ```text
//! cargo bench --bench filters -- 200000
//! ```
//!
//! The argument is how many points there are. Each filter is selected and counted; the last column says how many
//! times as long that takes as the quickest kind of filter does, a match on one number.

#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "support/fold.rs"]
mod fold;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;

use std::time::Instant;

use fold::apply;
use serde_json::{Map, Value, json};
use support::{Outcome, number, print_table};
use vectorizer_index::{Collection, Filter};
use vectorizer_log::{
    CollectionId, Event, IndexParameters, LogId, Metric, Payload, Point, PointId, Seq, Vector,
};
use vectorizer_replay::Projection;

const COLLECTION: CollectionId = CollectionId::created_at(Seq::OLDEST);
const POINTS_PER_RECORD: usize = 500;
/// Points that were made of one document.
const CHUNKS: usize = 20;
/// Paths that a tenth of all points have, each another ten of them.
const PATHS: usize = 2_000;
const REPEATED: usize = 21;

fn main() -> Outcome<()> {
    let points = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let started = Instant::now();
    let projection = written(points)?;
    let seconds = started.elapsed().as_secs_f64();
    let collection = stored(&projection)?;
    let bytes = collection.payload_index_bytes();
    println!(
        "{points} points in {seconds:.1} s, {} bytes of payloads indexed in {bytes}",
        collection.logical_bytes()
    );
    let documents = points / CHUNKS;
    let some = documents / 2;
    let is = |key: &str, value: Value| json!({"key": key, "match": {"value": value}});
    let ids: Vec<String> = (0..10_000).map(|nth| format!("c{}", nth * 7 % points)).collect();
    let many: Vec<usize> = (0..10_000).map(|nth| nth % documents).collect();
    let conditions = [
        ("a number", is("document", json!(some))),
        ("a text of 64 bytes", is("hash", json!(hash(some)))),
        ("a text of 96 bytes", is("source", json!(source(some)))),
        ("one of 400 in an array", is("readers", json!(some * 3 % 5_000))),
        ("one of 2,000 paths", is(&format!("attributes.key{}", PATHS - 1), json!(1))),
        ("a name with dots", is("\"service.name\"", json!("api"))),
        (
            "a range over 1 %",
            json!({"key": "at", "range": {"gte": points / 2, "lt": points / 2 + points / 100}}),
        ),
        (
            "a range over 30 %",
            json!({"key": "at", "range": {"gte": points / 10, "lt": points / 10 + points * 3 / 10}}),
        ),
        ("a range over 90 %", json!({"key": "at", "range": {"gt": points / 20, "lte": points * 19 / 20}})),
        ("all but one", json!({"key": "document", "match": {"except": [some]}})),
        ("all but 10,000", json!({"key": "document", "match": {"except": many}})),
        ("any of 10,000", json!({"key": "document", "match": {"any": many}})),
        ("10,000 ids", json!({"has_id": ids})),
    ];
    let mut rows = Vec::new();
    let mut quick = None;
    for (name, condition) in conditions {
        let text = json!({"must": [condition]}).to_string();
        let (mut seconds, mut found) = (Vec::new(), 0);
        for _ in 0..REPEATED {
            let started = Instant::now();
            let selection = collection.select(Filter::parse(&text, 32)?);
            found = collection.snapshot().count(Some(&selection));
            seconds.push(started.elapsed().as_secs_f64());
        }
        seconds.sort_unstable_by(f64::total_cmp);
        let median = seconds[REPEATED / 2];
        let quick = *quick.get_or_insert(median);
        rows.push([
            name.to_owned(),
            found.to_string(),
            format!("{:.3}", median * 1e3),
            format!("{:.1}", median / quick),
        ]);
    }
    println!("{:.0} points a second were written", number(points) / seconds);
    print_table(["filter", "points", "ms", "times the first"], &rows);
    Ok(())
}

fn hash(document: usize) -> String {
    format!("{document:064x}")
}

fn source(document: usize) -> String {
    format!(
        "https://intranet.example.com/spaces/engineering/pages/archive/2024/reports/document-{document:08}.html"
    )
}

fn payload(point: usize) -> Value {
    let document = point / CHUNKS;
    let mut payload = json!({
        "document": document, "hash": hash(document), "source": source(document), "at": point,
        "service.name": if point.is_multiple_of(100) { "api" } else { "web" },
    });
    if let Some(payload) = payload.as_object_mut().filter(|_| point.is_multiple_of(10)) {
        let readers: Vec<usize> = (0..400).map(|nth| (point * 13 + nth * 7) % 5_000).collect();
        payload.insert("readers".to_owned(), json!(readers));
        let attributes: Map<String, Value> =
            (0..10).map(|nth| (format!("key{}", (point + nth * 199) % PATHS), json!(1))).collect();
        payload.insert("attributes".to_owned(), Value::Object(attributes));
    }
    payload
}

fn written(points: usize) -> Outcome<Projection> {
    let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
    let created = Event::CollectionCreated {
        name: "measured".parse()?,
        dimension: 1.try_into()?,
        metric: Metric::Dot,
        index: IndexParameters::default(),
    };
    apply(&mut projection, created)?;
    let all: Vec<usize> = (0..points).collect();
    for some in all.chunks(POINTS_PER_RECORD) {
        let point = |point: &usize| {
            let (id, vector) = (PointId::text(format!("c{point}"))?, Vector::dense([1.0])?);
            Ok(Point { id, vector, payload: Some(Payload::new(payload(*point).to_string())?) })
        };
        let points = some.iter().map(point).collect::<Outcome<_>>()?;
        apply(&mut projection, Event::VectorsUpserted { collection: COLLECTION, points })?;
    }
    Ok(projection)
}

fn stored(projection: &Projection) -> Outcome<&Collection> {
    Ok(projection.index().by_id(COLLECTION).ok_or("the collection was just created")?)
}
