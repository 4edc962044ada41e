//! Each limit, and what is still said beyond it.

use serde_json::{Value, json};

use super::*;
use crate::index::filter::Filter;

fn payload(json: &Value) -> Payload {
    Payload::new(json.to_string()).unwrap()
}

fn postings(payloads: &[Value]) -> Postings {
    let mut postings = Postings::default();
    for (slot, json) in (0..).zip(payloads) {
        postings.add(slot, Some(&payload(json)));
    }
    postings
}

fn select_within(postings: &Postings, filter: &Value, mut allowance: Allowance) -> Option<(Vec<u32>, bool)> {
    let filter = Filter::parse(&filter.to_string(), 64).unwrap();
    let slot_of = |id: &str| id.parse().ok();
    let candidates = postings.select(&filter, &slot_of, &mut allowance)?;
    Some((candidates.slots.into_iter().collect(), candidates.exact))
}

fn select(postings: &Postings, condition: &Value) -> Option<(Vec<u32>, bool)> {
    select_within(postings, &json!({"must": condition}), Allowance::default())
}

fn matched(key: &str, value: impl Into<Value>) -> Value {
    json!({"key": key, "match": {"value": value.into()}})
}

#[test]
fn an_indexed_path_is_answered_without_payloads() {
    let all = json!({"a": [1, {"b": "x"}], "n": 1.5, "t": true});
    let postings = postings(&[all, json!({"a": {"b": ["x", null]}, "n": -7}), json!({"n": 9})]);
    assert_eq!(select(&postings, &matched("a.b", "x")), Some((vec![0, 1], true)));
    assert_eq!(select(&postings, &matched("a", 1)), Some((vec![0], true)));
    assert_eq!(select(&postings, &matched("t", true)), Some((vec![0], true)));
    assert_eq!(select(&postings, &matched("t", false)), Some((vec![], true)));
    assert_eq!(select(&postings, &matched("missing", "x")), Some((vec![], true)));
    assert_eq!(select(&postings, &json!({"is_empty": {"key": "a"}})), Some((vec![2], true)));
    assert_eq!(select(&postings, &json!({"is_null": {"key": "a.b"}})), Some((vec![1], true)));
    assert_eq!(select(&postings, &json!({"has_id": ["2", "0"]})), Some((vec![0, 2], true)));
    assert_eq!(select(&postings, &json!({"key": "n", "range": {"gte": 1.5}})), Some((vec![0, 2], true)));
    assert_eq!(
        select(&postings, &json!({"key": "n", "range": {"gt": 1.5, "gte": 0}})),
        Some((vec![2], true))
    );
}

#[test]
fn ranges_are_exact_at_the_edges_of_integers_and_fractions() {
    let numbers = [
        "9007199254740993",
        "9007199254740992.0",
        "-0.0",
        "0",
        "1e999",
        "-1e999",
        "170141183460469231731687303715884105727",
        "-170141183460469231731687303715884105728",
        "1.7014118346046923e38",
    ];
    let mut postings = Postings::default();
    for (slot, number) in (0..).zip(numbers) {
        postings.add(slot, Some(&Payload::new(format!("{{\"n\":{number}}}")).unwrap()));
    }
    let id = "p";
    for bound in numbers.into_iter().chain(["0.5", "-0.5", "9007199254740992", "1e300", "-1e300"]) {
        for name in ["gt", "gte", "lt", "lte"] {
            // As text: serde_json's numbers do not hold the largest of these.
            let Ok(range) = serde_json::from_str(&format!("{{\"{name}\":{bound}}}")) else { continue };
            let range: Value = range;
            let condition = json!({"key": "n", "range": range});
            let filter = Filter::parse(&json!({"must": condition}).to_string(), 64).unwrap();
            let expected = (0..)
                .zip(numbers)
                .filter(|(_, number)| {
                    filter.matches(id, Some(&Payload::new(format!("{{\"n\":{number}}}")).unwrap()))
                })
                .map(|(slot, _)| slot);
            assert_eq!(select(&postings, &condition), Some((expected.collect(), true)), "{name} {bound}");
        }
    }
}

#[test]
fn a_long_text_is_asked_of_payloads_only_if_a_long_one_is_sought() {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let postings = postings(&[json!({"a": long}), json!({"a": "y"})]);
    assert_eq!(select(&postings, &matched("a", "y")), Some((vec![1], true)));
    assert_eq!(select(&postings, &matched("a", long.as_str())), Some((vec![0], false)));
    let except = |text: &str| json!({"key": "a", "match": {"except": [text]}});
    assert_eq!(select(&postings, &except("y")), Some((vec![0], true)));
    assert_eq!(select(&postings, &except(&long)), Some((vec![0, 1], false)));
}

#[test]
fn what_is_beyond_the_values_of_one_payload_is_asked_of_it() {
    let many: Vec<usize> = (0..VALUES_MAX + 10).collect();
    let mut postings = postings(&[json!({"a": many, "b": 1}), json!({"a": 3, "b": 1})]);
    assert_eq!(select(&postings, &matched("a", 3)), Some((vec![0, 1], false)));
    assert_eq!(select(&postings, &matched("b", 1)), Some((vec![0, 1], false)));
    assert_eq!(select(&postings, &json!({"is_empty": {"key": "a"}})), Some((vec![], true)));
    postings.remove(0, Some(&payload(&json!({"a": many, "b": 1}))));
    assert_eq!(select(&postings, &matched("a", 3)), Some((vec![1], true)));
    assert_eq!(select(&postings, &matched("b", 1)), Some((vec![1], true)));
}

#[test]
fn paths_beyond_the_limit_are_not_taken_for_missing() {
    let wide = |from: usize| {
        let members = (from..from + PATHS_MAX).map(|number| (format!("k{number}"), json!(1)));
        Value::Object(members.collect())
    };
    let mut postings = postings(&[wide(0), wide(1)]);
    assert_eq!(postings.fields.len(), PATHS_MAX);
    assert_eq!(select(&postings, &matched("k1", 1)), Some((vec![0, 1], true)));
    assert_eq!(select(&postings, &matched(&format!("k{PATHS_MAX}"), 1)), None);
    assert_eq!(select(&postings, &matched("missing", 1)), None);
    // Room that comes free is not used: what has gone by is not known.
    postings.remove(0, Some(&payload(&wide(0))));
    postings.remove(1, Some(&payload(&wide(1))));
    postings.add(2, Some(&payload(&wide(0))));
    assert_eq!(select(&postings, &matched("k0", 1)), None);
}

#[test]
fn paths_that_are_too_long_are_not_taken_for_missing() {
    let (fits, long) = ("k".repeat(Key::BYTES_MAX), "k".repeat(Key::BYTES_MAX - 1) + "\"");
    let mut postings = Postings::default();
    postings.add(0, Some(&payload(&json!({&fits: 1, &long: 1, "a.b": 1, "": 1}))));
    assert_eq!(select(&postings, &matched(&fits, 1)), Some((vec![0], true)));
    assert_eq!(select(&postings, &matched(&long, 1)), None);
    assert_eq!(select(&postings, &matched("a.b", 1)), Some((vec![], true)));
    assert_eq!(select(&postings, &matched("\"a.b\"", 1)), Some((vec![0], true)));
    assert_eq!(select(&postings, &matched("\"\"", 1)), Some((vec![0], true)));
    assert_eq!(postings.fields.len(), 3);
}

#[test]
fn nothing_is_left_of_what_is_removed() {
    let json =
        json!({"a": [{"b": null}, {"b": [1, 1, "x", 2.5, [], {}]}, true, null], "c": [], "d": {"e": {}}});
    let mut postings = postings(&[json.clone(), json.clone()]);
    for slot in 0..2 {
        assert!(!postings.fields.is_empty());
        postings.remove(slot, Some(&payload(&json)));
    }
    assert!(postings.fields.is_empty());
    assert!(postings.points.is_empty());
}

#[test]
fn a_filter_beyond_the_allowance_has_more_candidates_or_says_nothing() {
    let payloads: Vec<Value> =
        (0..1_000).map(|number| json!({"n": number, "even": number % 2 == 0})).collect();
    let postings = postings(&payloads);
    let range = json!({"must": {"key": "n", "range": {"lt": 600}}});
    let length = |units| {
        select_within(&postings, &range, Allowance::of(units)).map(|(slots, exact)| (slots.len(), exact))
    };
    assert_eq!(length(10_000), Some((600, true)));
    assert_eq!(length(500), Some((1_000, false)));
    assert_eq!(length(10), None);
    let both = json!({"must": [{"key": "n", "range": {"lt": 600}}, matched("even", true)]});
    let (slots, exact) = select_within(&postings, &both, Allowance::of(700)).unwrap();
    assert_eq!((slots.len(), exact), (500, false));
}

#[test]
fn postings_hold_what_was_put_in_whatever_their_form() {
    let mut posting = posting::Posting::One(500);
    let mut slots: std::collections::BTreeSet<u32> = [500].into();
    let listed = |posting: &posting::Posting| match posting {
        posting::Posting::One(only) => vec![*only],
        posting::Posting::Few(slots) => slots.clone(),
        posting::Posting::Many(slots) => slots.iter().collect(),
    };
    for step in 0..400_u32 {
        let slot = step * 7919 % 211;
        posting.insert(slot);
        slots.insert(slot);
        assert!(listed(&posting).into_iter().eq(slots.iter().copied()));
    }
    assert!(matches!(posting, posting::Posting::Many(_)));
    while slots.len() > 1 {
        let slot = *slots.iter().nth(slots.len() / 2).unwrap();
        assert!(!posting.remove(slot));
        slots.remove(&slot);
        assert!(listed(&posting).into_iter().eq(slots.iter().copied()));
    }
    assert!(matches!(posting, posting::Posting::One(_)));
    assert!(!posting.remove(100_000));
    assert!(posting.remove(*slots.first().unwrap()));
}
