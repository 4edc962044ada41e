//! Filters take nothing away from the results of a search, however many points match.

use serde_json::{Value, json};
use vectorizer_index::{Collection, Filter, Hit, SearchMode, SearchRequest, Selection};
use vectorizer_log::{Event, Metric, Payload, Point, PointId, Vector};
use vectorizer_replay::{Projection, Projector};
use vectorizer_testing::Random;

use crate::allocations::allocations_of;
use crate::history::{collection, created, id, log_id, record};
use crate::vectors::{CENTRES, DIMENSION, Vectors as _};

const POINTS: u64 = 12_000;
const LIMIT: usize = 10;

/// A linked collection with numbered points, the last few unlinked and some deleted. The payload of each has its
/// thousandth, a random number, and the centre that it is near.
fn linked(metric: Metric) -> Projection {
    let mut projection = Projection::new(log_id());
    projection.apply(&record(1, 0, created("words", DIMENSION, metric))).unwrap();
    let mut random = Random::new(7);
    let mut write = |projection: &mut Projection, numbers: std::ops::Range<u64>| {
        let points = numbers.map(|number| {
            let centre = random.below(CENTRES);
            let json = json!({"thousandth": random.below(1_000), "at": {"centre": centre}, "number": number});
            Point {
                id: id(&number.to_string()),
                vector: Vector::dense(random.vector_near(centre)).unwrap(),
                payload: Some(Payload::new(json.to_string()).unwrap()),
            }
        });
        apply(projection, Event::VectorsUpserted { collection: collection(1), points: points.collect() });
    };
    write(&mut projection, 0..POINTS);
    let ids = (0..POINTS).step_by(40).map(|number| id(&number.to_string())).collect();
    apply(&mut projection, Event::VectorsDeleted { collection: collection(1), ids });
    stored(&projection).snapshot().link(usize::MAX, 1, &|| false).unwrap();
    write(&mut projection, POINTS..POINTS + 200);
    projection
}

fn apply(projection: &mut Projection, event: Event) {
    let seq = projection.applied().get() + 1;
    projection.apply(&record(seq, 0, event)).unwrap();
}

fn stored(projection: &Projection) -> &Collection {
    projection.index().by_id(collection(1)).unwrap()
}

fn parsed(condition: &Value) -> Filter {
    Filter::parse(&json!({"must": condition}).to_string(), 64).unwrap()
}

fn below(key: &str, bound: u64) -> Value {
    json!({"key": key, "range": {"lt": bound}})
}

fn search(collection: &Collection, vector: &[f32], filter: Option<&Selection>, mode: SearchMode) -> Vec<Hit> {
    let request = SearchRequest { vector, limit: LIMIT, filter, score_threshold: None, mode };
    collection.snapshot().search(&request).unwrap()
}

/// The share of the nearest matching points that searches near the centres below `centres` find.
fn recall(collection: &Collection, filter: Option<&Selection>, centres: u64, mode: SearchMode) -> f64 {
    let mut random = Random::new(8);
    let (mut found, mut expected) = (0.0, 0.0);
    for _ in 0..100 {
        let centre = random.below(centres);
        let vector = random.vector_near(centre);
        let exact = search(collection, &vector, filter, SearchMode::Exact);
        let hits = search(collection, &vector, filter, mode);
        assert_eq!(hits.len(), exact.len());
        for hit in &hits {
            let fulfils = |filter: &Selection| filter.filter().matches(hit.point.id(), hit.point.payload());
            assert!(filter.is_none_or(fulfils));
        }
        for hit in &exact {
            expected += 1.0;
            found += f64::from(u8::from(hits.iter().any(|found| found.point.id() == hit.point.id())));
        }
    }
    found / expected
}

#[test]
fn a_search_with_a_selection_allocates_nothing_but_its_answer() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        let projection = linked(metric);
        let (collection, vector) = (stored(&projection), Random::new(8).vector());
        let snapshot = collection.snapshot();
        for (name, bound) in [("half", 500), ("a hundredth", 10)] {
            let selection = collection.select(parsed(&below("thousandth", bound)));
            for mode in [SearchMode::Default, SearchMode::Exact] {
                let filter = Some(&selection);
                let request =
                    SearchRequest { vector: &vector, limit: LIMIT, filter, score_threshold: None, mode };
                let allocated = allocations_of(|| snapshot.search(&request).unwrap());
                assert_eq!(allocated, 1, "{metric:?} {mode:?}, {name}");
            }
        }
    }
}

#[test]
fn recall_under_a_filter_is_at_least_that_without() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        let projection = linked(metric);
        let collection = stored(&projection);
        for mode in [SearchMode::Default, SearchMode::Candidates(15)] {
            let unfiltered = recall(collection, None, CENTRES, mode);
            let check = |name: &str, filter: &Selection, centres: u64, tolerance: f64| {
                let filtered = recall(collection, Some(filter), centres, mode);
                let enough = filtered >= unfiltered - tolerance;
                assert!(enough, "{metric:?} {mode:?} {name}: {filtered} of {unfiltered}");
            };
            let select = |condition: &Value| {
                let selection = collection.select(parsed(condition));
                assert!(selection.candidates().is_some_and(|(_, exact)| exact));
                selection
            };
            for (name, bound) in [("50 %", 500), ("10 %", 100), ("1 %", 10), ("0.1 %", 1)] {
                let condition = below("thousandth", bound);
                check(name, &select(&condition), CENTRES, 0.0);
                check(&format!("{name}, by looking"), &parsed(&condition).into(), CENTRES, 0.0);
            }
            // The matches are far from the query: half of the points, a fifth, a fiftieth. Distances from afar differ
            // little, so these are harder to find than near ones.
            for from in [CENTRES / 2, CENTRES / 5 * 4, CENTRES - 1] {
                let condition = json!({"key": "at.centre", "range": {"gte": from}});
                check(&format!("far, from {from}"), &select(&condition), CENTRES / 2, 0.005);
            }
        }
    }
}

#[test]
fn a_filter_with_many_matches_is_answered_by_the_graph() {
    let projection = linked(Metric::Cosine);
    let collection = stored(&projection);
    let filter = collection.select(parsed(&below("thousandth", 500)));
    let few = recall(collection, Some(&filter), CENTRES, SearchMode::Candidates(1));
    let many = recall(collection, Some(&filter), CENTRES, SearchMode::Default);
    assert!(few < many, "the graph did not answer, or fewer candidates find as much: {few} of {many}");
}

#[test]
fn all_matches_are_found_if_they_are_fewer_than_the_limit() {
    let projection = linked(Metric::Cosine);
    let collection = stored(&projection);
    let mut random = Random::new(9);
    for from in (0..POINTS + 200).step_by(997) {
        let condition = json!({"key": "number", "range": {"gte": from, "lt": from + LIMIT as u64}});
        let expected: Vec<PointId> = (from..from + LIMIT as u64)
            .map(|number| id(&number.to_string()))
            .filter(|id| collection.contains(id))
            .collect();
        for filter in [collection.select(parsed(&condition)), parsed(&condition).into()] {
            for mode in [SearchMode::Default, SearchMode::Candidates(1), SearchMode::Exact] {
                let hits = search(collection, &random.vector(), Some(&filter), mode);
                let mut ids: Vec<PointId> =
                    hits.iter().map(|hit| PointId::text(hit.point.id()).unwrap()).collect();
                ids.sort_by_key(|id| id.as_str().parse::<u64>().unwrap());
                assert_eq!(ids, expected);
            }
        }
    }
    let nothing = collection.select(parsed(&below("thousandth", 0)));
    assert!(search(collection, &random.vector(), Some(&nothing), SearchMode::Default).is_empty());
}

#[test]
fn counting_and_matching_by_the_index_agree_with_payloads() {
    let projection = linked(Metric::Dot);
    let collection = stored(&projection);
    let snapshot = collection.snapshot();
    let must_not =
        |condition: &Value| Filter::parse(&json!({"must_not": condition}).to_string(), 64).unwrap();
    for condition in [
        below("thousandth", 500),
        below("thousandth", 1),
        json!({"key": "at.centre", "match": {"any": [1, 5, 99]}}),
        json!({"key": "at.centre", "match": {"except": [1, 5, 99]}}),
        json!({"is_empty": {"key": "at.other"}}),
        json!({"has_id": ["0", "1", "12100", "none"]}),
    ] {
        for filter in [parsed(&condition), must_not(&condition)] {
            let expected: Vec<PointId> = collection
                .points()
                .filter(|point| filter.matches(point.id(), point.payload()))
                .map(|point| PointId::text(point.id()).unwrap())
                .collect();
            for filter in [collection.select(filter.clone()), filter.into()] {
                assert_eq!(snapshot.count(Some(&filter)), expected.len(), "{condition}");
                assert_eq!(snapshot.matching(&filter), expected, "{condition}");
            }
        }
    }
}

#[test]
fn a_bounded_search_finds_the_same_hits_or_gives_up() {
    let projection = linked(Metric::Cosine);
    let collection = stored(&projection);
    let snapshot = collection.snapshot();
    let half = collection.select(parsed(&below("thousandth", 500)));
    let unknown = Selection::from(parsed(&below("thousandth", 500)));
    let mut random = Random::new(9);
    for _ in 0..50 {
        let vector = random.vector_near(3);
        let briefly = |filter, compared_max| {
            let mode = SearchMode::Default;
            let request =
                SearchRequest { vector: &vector, limit: LIMIT, filter, score_threshold: None, mode };
            snapshot.search_bounded(&request, compared_max).unwrap()
        };
        // Some slots are deleted, so that both walks have to pass over nodes.
        for filter in [None, Some(&half)] {
            // Too little to compare all points.
            let hits = briefly(filter, 5_000).expect("a walk takes less");
            let expected = search(collection, &vector, filter, SearchMode::Default);
            let named = |hits: &[Hit]| -> Vec<(String, f32)> {
                hits.iter().map(|hit| (hit.point.id().to_owned(), hit.score)).collect()
            };
            assert_eq!(named(&hits), named(&expected));
            // The unlinked points, and hardly more.
            assert!(briefly(filter, 220).is_none());
        }
        // Payloads would have to be read.
        assert!(briefly(Some(&unknown), usize::MAX).is_none());
    }
}
