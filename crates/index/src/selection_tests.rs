//! A selection contains every point that matches, whatever was written, and says whether it contains others.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use vectorizer_log::{
    CollectionId, IndexParameters, Metric, Payload, Point, PointId, Seq, Timestamp, Vector, VectorParameters,
    WrittenPoints,
};

use super::*;
use crate::filter::tests::{filter, payload};
use crate::postings::WorkBudget;
use crate::{Collection, Compaction, Snapshot};

const SEQ: Seq = Seq::OLDEST;

fn collection() -> Collection {
    let id = CollectionId::created_at(SEQ);
    let (name, dimension) = ("c".parse().unwrap(), 2.try_into().unwrap());
    let index = IndexParameters::default();
    let vectors = VectorParameters { dimension, metric: Metric::Dot, index };
    Collection::new(id, name, Some(vectors), Timestamp::from_micros(0))
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<(String, Option<Value>)>),
    Delete(Vec<String>),
    ChangePayload(String, Value),
    /// Begins now, and is installed when the next one begins.
    Compact,
    /// Rewrites many points: the write compacts them.
    Burst,
}

/// Names of members, including `p` and `q`, which filters use.
fn name() -> impl Strategy<Value = String> {
    "[p-z]"
}

fn step() -> impl Strategy<Value = Step> {
    let points = proptest::collection::btree_map(name(), proptest::option::of(payload()), 0..6);
    prop_oneof![
        6 => points.prop_map(|points| Step::Upsert(points.into_iter().collect())),
        3 => proptest::collection::btree_set(name(), 0..4).prop_map(|ids| Step::Delete(ids.into_iter().collect())),
        4 => (name(), payload()).prop_map(|(id, payload)| Step::ChangePayload(id, payload)),
        3 => Just(Step::Compact),
        1 => Just(Step::Burst),
    ]
}

fn id(name: &str) -> PointId {
    PointId::text(name).unwrap()
}

fn point(name: &str, payload: Option<&Value>) -> Point {
    let payload = payload.map(|json| Payload::new(json.to_string()).unwrap());
    Point { id: id(name), vector: Vector::dense([1.0, 0.0]).unwrap(), payload }
}

fn apply(collection: &mut Collection, step: &Step, pending: &mut Option<Compaction>) {
    match step {
        Step::Upsert(points) => {
            let points: Vec<Point> =
                points.iter().map(|(name, payload)| point(name, payload.as_ref())).collect();
            collection.upsert(SEQ, WrittenPoints::Points(&points));
        }
        Step::Delete(names) => {
            let ids: Vec<PointId> = names.iter().map(|name| id(name)).collect();
            collection.delete(SEQ, &ids);
        }
        Step::ChangePayload(name, payload) => {
            collection.change_payload(SEQ, &id(name), &Payload::new(payload.to_string()).unwrap());
        }
        Step::Compact => {
            let begun = collection.snapshot().compact(&|| false).unwrap();
            if let Some(compaction) = pending.replace(begun) {
                drop(collection.install(compaction));
                *pending = Some(collection.snapshot().compact(&|| false).unwrap());
            }
        }
        Step::Burst => {
            let names: Vec<String> = (0..300).map(|number| format!("burst-{number}")).collect();
            let points: Vec<Point> =
                names.iter().map(|name| point(name, Some(&serde_json::json!({"a": 1})))).collect();
            for _ in 0..4 {
                collection.upsert(SEQ, WrittenPoints::Points(&points));
            }
            let ids: Vec<PointId> = names.iter().map(|name| id(name)).collect();
            collection.delete(SEQ, &ids);
        }
    }
}

fn expected(collection: &Collection, filter: &Filter) -> Vec<PointId> {
    let points = collection.points().filter(|point| filter.matches(point.id(), point.payload()));
    points.map(|point| id(point.id())).collect()
}

fn candidates(selection: &Selection, snapshot: &Snapshot) -> Option<(Vec<PointId>, bool)> {
    let Candidates { slots, exact } = selection.candidates_in(&snapshot.slots)?;
    let entry = |number| {
        let (block, offset) = snapshot.slots.at(number as usize);
        id(block.point(offset).expect("a candidate is a point").id())
    };
    let mut ids: Vec<PointId> = slots.iter().map(entry).collect();
    ids.sort_unstable();
    Some((ids, *exact))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_selection_has_every_match_and_only_matches_if_it_is_exact(
        steps in vec(step(), 0..16),
        filters in vec(filter(), 4),
    ) {
        let mut collection = collection();
        let mut pending = None;
        let filters: Vec<Filter> = filters.iter().map(|json| Filter::parse(&json.to_string(), 64).unwrap()).collect();
        for step in &steps {
            apply(&mut collection, step, &mut pending);
            for collection in [&collection, &collection.clone()] {
                let snapshot = collection.snapshot();
                for filter in &filters {
                    let expected = expected(collection, filter);
                    let (found, exact) = candidates(&collection.select(filter.clone()), &snapshot)
                        .expect("nothing here is beyond a limit");
                    prop_assert!(exact, "{:?}", filter);
                    prop_assert_eq!(found, expected, "{:?}", filter);
                }
            }
            let snapshot = collection.snapshot();
            // A snapshot answers the same without an index.
            for filter in filters.iter().cloned() {
                let unindexed = Selection::from(filter.clone());
                let indexed = collection.select(filter);
                prop_assert_eq!(snapshot.count(Some(&indexed)), snapshot.count(Some(&unindexed)));
                prop_assert_eq!(snapshot.matching(&indexed), snapshot.matching(&unindexed));
            }
        }
    }

    #[test]
    fn a_selection_has_every_match_even_with_a_small_work_budget(
        payloads in vec(payload(), 12),
        filters in vec(filter(), 4),
        units in 0..400_usize,
    ) {
        let mut collection = collection();
        let points: Vec<Point> =
            (0..).zip(&payloads).map(|(number, json)| point(&format!("{number}"), Some(json))).collect();
        collection.upsert(SEQ, WrittenPoints::Points(&points));
        let snapshot = collection.snapshot();
        for json in &filters {
            let filter = Filter::parse(&json.to_string(), 64).unwrap();
            let expected = expected(&collection, &filter);
            let selection = collection.select_by(filter, &mut WorkBudget::of(units));
            if let Some((found, exact)) = candidates(&selection, &snapshot) {
                prop_assert!(expected.iter().all(|id| found.contains(id)), "{}", json);
                prop_assert!(!exact || found.len() == expected.len(), "{}", json);
            }
            let mut sorted = expected;
            sorted.sort_unstable();
            prop_assert_eq!(snapshot.matching(&selection), sorted);
        }
    }
}

#[test]
fn a_selection_of_another_moment_is_not_used() {
    let mut collection = collection();
    let json = serde_json::json!({"a": 1});
    let filter = Filter::parse(r#"{"must": {"key": "a", "match": {"value": 1}}}"#, 64).unwrap();
    let points = [point("x", Some(&json)), point("y", Some(&json))];
    collection.upsert(SEQ, WrittenPoints::Points(&points));
    let (earlier, selected_earlier) = (collection.snapshot(), collection.select(filter.clone()));
    assert!(candidates(&selected_earlier, &earlier).is_some());

    collection.delete(SEQ, &[id("x")]);
    drop(collection.install(collection.snapshot().compact(&|| false).unwrap()));
    collection.upsert(SEQ, WrittenPoints::Points(&[point("z", None)]));
    let (later, selected_later) = (collection.snapshot(), collection.select(filter.clone()));
    assert_eq!(candidates(&selected_later, &later), Some((vec![id("y")], true)));
    for (snapshot, selection, expected) in
        [(&later, &selected_earlier, vec![id("y")]), (&earlier, &selected_later, vec![id("x"), id("y")])]
    {
        assert!(candidates(selection, snapshot).is_none());
        assert_eq!(snapshot.matching(selection), expected);
        assert_eq!(snapshot.count(Some(selection)), expected.len());
    }
    // Also a write that changes only a payload.
    collection.change_payload(SEQ, &id("y"), &Payload::new("{}").unwrap());
    assert_eq!(collection.snapshot().count(Some(&selected_later)), 0);
}
