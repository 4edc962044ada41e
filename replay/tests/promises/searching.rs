//! Exact search finds what a loop over all points finds.

use proptest::prelude::*;
use vectorizer_index::{Collection, Filter, Hit, InvalidQuery, SearchMode, SearchRequest, Snapshot};
use vectorizer_log::{Event, Metric, Payload};

use crate::history::{Numbers, collection, created, fold, history, id, numbers, point, record};
use crate::model::{Model, ModelCollection, ModelPoint};

/// The parameters of a search besides the vector.
#[derive(Clone, Debug)]
struct Wish {
    numbers: Numbers,
    limit: usize,
    filtered: bool,
    score_threshold: Option<f32>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let limit = prop_oneof![0..12_usize, 0..2_000_usize];
    (numbers(), limit, any::<bool>(), proptest::option::of(-2.0_f32..6.0)).prop_map(
        |(numbers, limit, filtered, score_threshold)| Wish { numbers, limit, filtered, score_threshold },
    )
}

fn filter() -> Filter {
    Filter::parse(r#"{"must": [{"key": "tags", "match": {"value": "a"}}]}"#, 64).unwrap()
}

/// The same filter, for the model.
fn fulfils(point: &ModelPoint) -> bool {
    point.payload.as_ref().is_some_and(|payload| payload.contains(r#""tags": ["a"]"#))
}

fn higher_is_better(metric: Metric) -> bool {
    match metric {
        Metric::Cosine | Metric::Dot => true,
        Metric::Euclidean => false,
    }
}

fn assert_search(collection: &Collection, model: &ModelCollection, wish: &Wish) {
    let query = &wish.numbers[..model.dimension];
    let snapshot = collection.snapshot();
    let filter = wish.filtered.then(|| collection.select(filter()));
    let request = SearchRequest {
        vector: query,
        limit: wish.limit,
        filter: filter.as_ref(),
        score_threshold: wish.score_threshold,
        mode: SearchMode::Default,
    };
    if model.dimension == 0 {
        assert_eq!(snapshot.search(&request).unwrap_err(), InvalidQuery::NoVectors);
        return;
    }
    if model.metric == Metric::Cosine && query.iter().all(|number| *number == 0.0) {
        assert_eq!(snapshot.search(&request).unwrap_err(), InvalidQuery::ZeroVector);
        return;
    }
    let hits = snapshot.search(&request).unwrap();

    // The rounding error of `f32` in sums of up to 20 products of numbers up to 8.
    let tolerance = 1e-3;
    let sign = if higher_is_better(model.metric) { 1.0 } else { -1.0 };
    let passes = |score: f64, slack: f64| {
        wish.score_threshold.is_none_or(|threshold| sign * (score - f64::from(threshold)) >= -slack)
    };
    let mut scores: Vec<f64> = model
        .points
        .values()
        .filter(|point| !wish.filtered || fulfils(point))
        .map(|point| model.score(query, point))
        .filter(|score| passes(*score, tolerance))
        .collect();
    scores.sort_unstable_by(|left, right| (sign * right).total_cmp(&(sign * left)));

    // A score within the rounding error of the threshold may be on either side.
    let certain = scores.iter().filter(|score| passes(**score, -tolerance)).count();
    assert!(hits.len() <= wish.limit.min(scores.len()) && hits.len() >= wish.limit.min(certain));
    for (hit, expected) in hits.iter().zip(&scores) {
        assert!((f64::from(hit.score) - expected).abs() <= tolerance);
        assert!(wish.score_threshold.is_none_or(|threshold| {
            if sign > 0.0 { hit.score >= threshold } else { hit.score <= threshold }
        }));
        let point = &model.points[hit.point.id()];
        assert!((f64::from(hit.score) - model.score(query, point)).abs() <= tolerance);
        assert_eq!(hit.point.vector(), point.vector);
        assert_eq!(hit.point.payload().map(Payload::as_str), point.payload.as_deref());
        assert!(!wish.filtered || fulfils(point));
    }
    assert_order(&hits, model.metric);
}

/// Best first, ties by id; so no point occurs twice.
fn assert_order(hits: &[Hit], metric: Metric) {
    for pair in hits.windows(2) {
        let (first, second) = (&pair[0], &pair[1]);
        let better =
            if higher_is_better(metric) { first.score > second.score } else { first.score < second.score };
        let tied = first.score == second.score && first.point.id() < second.point.id();
        assert!(better || tied, "{} and {}", first.point.id(), second.point.id());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn search_equals_a_plain_loop(
        records in history(),
        wishes in proptest::collection::vec(wish(), 6),
    ) {
        let (projection, model) = (fold(&records), Model::of(&records));
        for (seq, expected) in &model.collections {
            let collection = projection.index().by_id(collection(*seq)).unwrap();
            for wish in &wishes {
                assert_search(collection, expected, wish);
            }
        }
    }

    #[test]
    fn count_and_matching_equal_the_model(records in history()) {
        let (projection, model) = (fold(&records), Model::of(&records));
        let filter = filter();
        for (seq, expected) in &model.collections {
            let collection = projection.index().by_id(collection(*seq)).unwrap();
            let snapshot = collection.snapshot();
            let ids: Vec<_> =
                expected.points.iter().filter(|(_, point)| fulfils(point)).map(|(name, _)| id(name)).collect();
            prop_assert_eq!(snapshot.count(None), expected.points.len());
            // By the index, and by reading payloads.
            for filter in [collection.select(filter.clone()), filter.clone().into()] {
                prop_assert_eq!(snapshot.count(Some(&filter)), ids.len());
                prop_assert_eq!(&snapshot.matching(&filter), &ids);
            }
        }
    }
}

fn snapshot_of(metric: Metric, points: &[(&str, [f32; 2])]) -> Snapshot {
    let points = points.iter().map(|(name, vector)| point(name, vector, None)).collect();
    let projection = fold(&[
        record(1, 0, created("c", 2, metric)),
        record(2, 0, Event::VectorsUpserted { collection: collection(1), points }),
    ]);
    projection.index().by_id(collection(1)).unwrap().snapshot()
}

fn found(snapshot: &Snapshot, vector: &[f32], limit: usize) -> Vec<(String, f32)> {
    let request =
        SearchRequest { vector, limit, filter: None, score_threshold: None, mode: SearchMode::Default };
    let hits = snapshot.search(&request).unwrap();
    hits.into_iter().map(|hit| (hit.point.id().to_string(), hit.score)).collect()
}

#[test]
fn equal_scores_go_by_id_also_when_only_some_are_wanted() {
    let all = [("d", [1.0, 0.0]), ("b", [1.0, 0.0]), ("c", [1.0, 0.0]), ("a", [0.5, 0.0])];
    let snapshot = snapshot_of(Metric::Dot, &all);
    assert_eq!(found(&snapshot, &[2.0, 0.0], 2), [("b".into(), 2.0), ("c".into(), 2.0)]);
    // Minus zero is zero.
    let snapshot = snapshot_of(Metric::Dot, &[("b", [0.0, 0.0]), ("a", [-0.0, -0.0])]);
    assert_eq!(found(&snapshot, &[1.0, 1.0], 1), [("a".into(), 0.0)]);
}

#[test]
fn a_threshold_includes_its_own_score() {
    let points = [("a", [3.0, 4.0]), ("b", [6.0, 8.0])];
    let request = SearchRequest {
        vector: &[0.0, 0.0],
        limit: 9,
        filter: None,
        score_threshold: Some(5.0),
        mode: SearchMode::Default,
    };
    assert_eq!(snapshot_of(Metric::Euclidean, &points).search(&request).unwrap().len(), 1);
    let request = SearchRequest { vector: &[1.0, 0.0], score_threshold: Some(6.0), ..request };
    assert_eq!(snapshot_of(Metric::Dot, &points).search(&request).unwrap().len(), 1);
}

#[test]
fn scores_are_finite_however_large_the_numbers() {
    let snapshot = snapshot_of(Metric::Dot, &[("a", [f32::MAX, f32::MAX]), ("b", [f32::MIN, f32::MIN])]);
    let hits = found(&snapshot, &[f32::MAX, f32::MAX], 2);
    assert_eq!(hits, [("a".into(), f32::MAX), ("b".into(), f32::MIN)]);
}

#[test]
fn a_vector_that_cannot_be_compared_is_refused() {
    let refused = |metric, vector: &[f32]| {
        let request = SearchRequest {
            vector,
            limit: 1,
            filter: None,
            score_threshold: None,
            mode: SearchMode::Default,
        };
        snapshot_of(metric, &[]).search(&request).unwrap_err()
    };
    assert_eq!(refused(Metric::Dot, &[1.0]), InvalidQuery::WrongDimension { expected: 2, found: 1 });
    assert_eq!(refused(Metric::Dot, &[1.0, f32::NAN]), InvalidQuery::NotFinite { position: 1 });
    assert_eq!(refused(Metric::Cosine, &[0.0, 0.0]), InvalidQuery::ZeroVector);
}
