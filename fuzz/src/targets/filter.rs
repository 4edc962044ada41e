//! Filters, and the payloads they are asked of.

use std::str;

use vectorizer_index::Filter;
use vectorizer_log::{Event, Payload, Point, Vector};
use vectorizer_replay::{Projection, Projector as _};

use super::pieces::{joined, pieces};
use super::story::{at, collection, created_points, id, log_id, recorded};

/// Deep enough for the stack of a thread.
const JSON_DEPTH_MAX: usize = 32;

/// A filter, and payloads. What the postings say is what looking at every payload says.
pub(super) fn run(bytes: &[u8]) {
    let mut pieces = pieces(bytes);
    let Some(filter) = pieces.next() else { return };
    let Ok(filter) = str::from_utf8(filter) else { return };
    let Ok(filter) = Filter::parse(filter, JSON_DEPTH_MAX) else { return };
    let payload = |bytes| Payload::new(str::from_utf8(bytes).ok()?).ok();
    let points: Vec<Point> = (0..)
        .zip(pieces.take(16))
        .map(|(number, bytes)| Point {
            id: id(&format!("p{number}")),
            vector: Vector::dense([1.0, 2.0, 3.0]).expect("they are finite"),
            payload: payload(bytes),
        })
        .collect();
    let matching: Vec<_> = points
        .iter()
        .filter(|point| filter.matches(point.id.as_str(), point.payload.as_ref()))
        .map(|point| point.id.clone())
        .collect();
    let mut projection = Projection::new(log_id());
    let upserted = Event::VectorsUpserted { collection: collection(1), points };
    for event in [created_points(), upserted] {
        projection.apply(&recorded(&projection, at(0), event)).expect("it fits");
    }
    let stored = projection.index().by_id(collection(1)).expect("it was created");
    let selection = stored.select(filter);
    let mut found = stored.snapshot().matching(&selection);
    let in_order =
        |ids: &mut Vec<vectorizer_log::PointId>| ids.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    let mut expected = matching;
    in_order(&mut found);
    in_order(&mut expected);
    assert_eq!(found, expected);
    assert_eq!(stored.snapshot().count(Some(&selection)), expected.len());
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let payloads = [
        r#"{"year": 1999, "genre": [{"name": "rock"}, {"name": "pop"}], "title": null}"#,
        r#"{"year": 2000.0, "genre": {"name": ["pop", true, -1]}, "title": []}"#,
        r#"{"year": 1e400, "title": "\ud800", "deep": {"deep": {"deep": [[1], 2]}}}"#,
        "{}",
    ];
    let filters = [
        r#"{"must": [{"key": "year", "range": {"gte": 1990, "lt": 2000.5}}]}"#,
        r#"{"should": [{"key": "genre.name", "match": {"any": ["rock", "pop", 3, true]}}, {"has_id": ["p1", "p3"]}]}"#,
        r#"{"must_not": {"is_empty": {"key": "title"}}, "must": {"must": [{"is_null": {"key": "title"}}]}}"#,
        r#"{"must": [{"key": "year", "match": {"value": 1999}}, {"key": "deep.deep.deep", "match": {"except": [2]}}]}"#,
        r#"{"must": [{"key": "\"deep\"[].deep[0]", "match": {"value": 2}}, {"is_empty": {"key": "genre[1].name"}}]}"#,
        "{}",
    ];
    let seed = |filter: &&str| {
        let payloads = payloads.iter().map(|payload| payload.as_bytes());
        joined(std::iter::once(filter.as_bytes()).chain(payloads))
    };
    filters.iter().map(seed).collect()
}
