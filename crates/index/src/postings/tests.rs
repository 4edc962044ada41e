//! Each limit, and the answers beyond it.

use serde_json::{Value, json};

use super::*;
use crate::filter::Filter;

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

fn select_within(postings: &Postings, filter: &Value, mut budget: WorkBudget) -> Option<(Vec<u32>, bool)> {
    let filter = Filter::parse(&filter.to_string(), 64).unwrap();
    let slot_of = |id: &str| id.parse().ok();
    let candidates = postings.select(&filter, &slot_of, &mut budget)?;
    Some((candidates.slots.into_iter().collect(), candidates.exact))
}

fn select(postings: &Postings, condition: &Value) -> Option<(Vec<u32>, bool)> {
    select_within(postings, &json!({"must": condition}), WorkBudget::default())
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
        "1e400",
        "1.00000000000000000000001e400",
        "0.1",
        "0.1000000000000000055511151231257827",
        "-1e-400",
    ];
    let mut postings = Postings::default();
    for (slot, number) in (0..).zip(numbers) {
        postings.add(slot, Some(&Payload::new(format!("{{\"n\":{number}}}")).unwrap()));
    }
    let id = "p";
    for bound in numbers.into_iter().chain(["0.5", "-0.5", "9007199254740992", "1e300", "-1e300"]) {
        for name in ["gt", "gte", "lt", "lte"] {
            let filter = format!(r#"{{"must": {{"key": "n", "range": {{"{name}": {bound}}}}}}}"#);
            let filter = Filter::parse(&filter, 64).unwrap();
            let expected = (0..)
                .zip(numbers)
                .filter(|(_, number)| {
                    filter.matches(id, Some(&Payload::new(format!("{{\"n\":{number}}}")).unwrap()))
                })
                .map(|(slot, _)| slot);
            let slot_of = |_: &str| None;
            let found = postings.select(&filter, &slot_of, &mut WorkBudget::default()).unwrap();
            assert!(found.exact && found.slots.iter().eq(expected), "{name} {bound}");
        }
    }
}

#[test]
fn a_text_is_indexed_whole_whatever_its_length() {
    let url = |number: usize| format!("https://example.com/{}/document-{number}", "x".repeat(10_000));
    let short = "a".repeat(15);
    let longer = "a".repeat(16);
    let postings = postings(&[
        json!({"a": url(1)}),
        json!({"a": [url(2), short]}),
        json!({"a": longer}),
        json!({"a": ""}),
        json!({"a": "\u{0}"}),
    ]);
    assert_eq!(select(&postings, &matched("a", url(1))), Some((vec![0], true)));
    assert_eq!(select(&postings, &matched("a", url(3))), Some((vec![], true)));
    assert_eq!(select(&postings, &matched("a", short.as_str())), Some((vec![1], true)));
    assert_eq!(select(&postings, &matched("a", longer)), Some((vec![2], true)));
    assert_eq!(select(&postings, &matched("a", "")), Some((vec![3], true)));
    assert_eq!(select(&postings, &matched("a", "\u{0}")), Some((vec![4], true)));
    let except = json!({"key": "a", "match": {"except": [url(1), url(2)]}});
    assert_eq!(select(&postings, &except), Some((vec![1, 2, 3, 4], true)));
}

#[test]
fn an_array_is_indexed_whole_however_long_it_is() {
    let many: Vec<usize> = (0..9_000).collect();
    let all = json!({"a": many, "b": 1});
    let mut postings = postings(&[all.clone(), json!({"a": 3, "b": 1})]);
    assert_eq!(select(&postings, &matched("a", 3)), Some((vec![0, 1], true)));
    assert_eq!(select(&postings, &matched("a", 8_999)), Some((vec![0], true)));
    assert_eq!(select(&postings, &matched("b", 1)), Some((vec![0, 1], true)));
    postings.remove(0, Some(&payload(&all)));
    assert_eq!(select(&postings, &matched("a", 3)), Some((vec![1], true)));
    assert_eq!(select(&postings, &matched("a", 8_999)), Some((vec![], true)));
}

#[test]
fn except_finds_slots_with_another_value_without_visiting_the_others() {
    let mut payloads: Vec<Value> = (0..20_000).map(|number| json!({"a": number})).collect();
    payloads[0] = json!({"a": [0, 1]});
    payloads[1] = json!({"a": [0, 0.0, "0"]});
    payloads[2] = json!({"a": [0, true, null]});
    payloads[3] = json!({"a": [0, {}]});
    payloads[4] = json!({"a": [null]});
    payloads[5] = json!({"a": [{"a": 0}, 0]});
    let postings = postings(&payloads);
    let except = |values: Value| {
        let found = select(&postings, &json!({"key": "a", "match": {"except": values}}));
        let (slots, exact) = found.unwrap();
        (slots.len(), slots.into_iter().filter(|slot| *slot < 6).collect::<Vec<_>>(), exact)
    };
    assert_eq!(except(json!([])), (19_999, vec![0, 1, 2, 3, 5], true));
    assert_eq!(except(json!([0])), (19_999, vec![0, 1, 2, 3, 5], true));
    assert_eq!(except(json!([0, 1])), (19_998, vec![1, 2, 3, 5], true));
    assert_eq!(except(json!([0, 1, "0"])), (19_997, vec![2, 3, 5], true));
    assert_eq!(except(json!([0, 1, "0", true])), (19_996, vec![3, 5], true));
    let many: Vec<usize> = (0..10_000).collect();
    assert_eq!(except(json!(many)), (10_004, vec![1, 2, 3, 5], true));
}

#[test]
fn a_path_is_left_out_only_for_lack_of_room_and_never_taken_for_absent() {
    let path = |number: usize| format!("{number:0>1000}");
    let fit = FIELDS_BYTES_MIN / (FIELD_BYTES + 1000);
    let one = |number: usize| payload(&json!({ path(number): 1 }));
    let mut postings = Postings::default();
    for number in 0..fit + 10 {
        postings.add(u32::try_from(number).unwrap(), Some(&one(number)));
    }
    assert_eq!((postings.fields.len(), postings.left_out.len()), (fit, 10));
    let slot = |number: usize| u32::try_from(number).unwrap();
    assert_eq!(select(&postings, &matched(&path(fit - 1), 1)), Some((vec![slot(fit - 1)], true)));
    assert_eq!(select(&postings, &matched(&path(fit), 1)), None);
    assert_eq!(select(&postings, &matched("missing", 1)), Some((vec![], true)));
    // A path that was left out stays so for as long as a payload has it.
    postings.remove(0, Some(&one(0)));
    postings.remove(1, Some(&one(1)));
    postings.add(0, Some(&one(fit)));
    assert_eq!(select(&postings, &matched(&path(fit), 1)), None);
    // Room is freed by paths that no payload has any more.
    postings.remove(0, Some(&one(fit)));
    postings.remove(slot(fit), Some(&one(fit)));
    postings.add(0, Some(&one(fit)));
    postings.add(1, Some(&one(1_000_000)));
    assert_eq!(select(&postings, &matched(&path(fit), 1)), Some((vec![0], true)));
    assert_eq!(select(&postings, &matched(&path(1_000_000), 1)), Some((vec![1], true)));
}

#[test]
fn paths_that_are_too_long_are_not_taken_for_absent() {
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
fn removed_points_leave_no_postings() {
    let json =
        json!({"a": [{"b": null}, {"b": [1, 1.0, "x", 2.5, [], {}]}, true, null], "c": [], "d": {"e": {}}});
    let mut postings = postings(&[json.clone(), json.clone()]);
    for slot in 0..2 {
        assert!(!postings.fields.is_empty());
        postings.remove(slot, Some(&payload(&json)));
    }
    assert!(postings.fields.is_empty());
    assert!(postings.points.is_empty());
    assert_eq!((postings.fields_bytes, postings.values_bytes, postings.payload_bytes), (0, 0, 0));
    assert_eq!((postings.paths_bytes, postings.memory_bytes()), (0, 0));
}

#[test]
fn the_memory_of_postings_is_counted_as_they_change() {
    let counted = |postings: &Postings| {
        let fields: usize = postings.fields.values().map(Field::memory_bytes).sum();
        let held = |posting: &posting::Posting| posting.memory_bytes();
        let texts = |field: &Field| field.texts.values().map(held).sum::<usize>();
        for field in postings.fields.values() {
            assert_eq!(field.texts_bytes, texts(field));
            assert_eq!(field.numbers.held_bytes, field.numbers.counted_bytes());
        }
        fields
    };
    let json = |slot: u32| {
        let list: Vec<u32> = (0..slot % 5).map(|step| slot * step % 3_001).collect();
        payload(&json!({
            "few": slot % 3, "own": format!("text-{slot}"), "list": list, "exact": format!("{}", slot % 200),
            format!("path-{}", slot % 40): [null, slot.is_multiple_of(2), {}],
        }))
    };
    let mut postings = Postings::default();
    for slot in 0..4_000 {
        postings.add(slot, Some(&json(slot)));
    }
    assert_eq!(postings.values_bytes, counted(&postings));
    for slot in (0..4_000).filter(|slot| slot % 4 > 0) {
        postings.remove(slot, Some(&json(slot)));
    }
    assert_eq!(postings.values_bytes, counted(&postings));
    for slot in (0..4_000).filter(|slot| slot % 4 == 0) {
        postings.remove(slot, Some(&json(slot)));
    }
    assert_eq!((postings.values_bytes, postings.memory_bytes()), (0, 0));
}

#[test]
fn many_values_and_their_complement_are_found_within_the_work_budget() {
    const VALUES: u32 = 12_000;
    let payloads: Vec<Value> = (0..20 * VALUES).map(|number| json!({"n": number % VALUES})).collect();
    let postings = postings(&payloads);
    let sought: Vec<u32> = (0..VALUES).filter(|value| value % 3 == 1).collect();
    for (match_, is_sought) in [(json!({"any": sought}), true), (json!({"except": sought}), false)] {
        let filter = json!({"must": {"key": "n", "match": match_}});
        let (slots, exact) = select_within(&postings, &filter, WorkBudget::default()).unwrap();
        let expected: Vec<u32> =
            (0..20 * VALUES).filter(|number| (number % VALUES % 3 == 1) == is_sought).collect();
        assert!(exact && slots == expected, "{filter}: {} of {}", slots.len(), expected.len());
    }
}

#[test]
fn a_filter_beyond_the_work_budget_has_more_candidates_or_none() {
    let payloads: Vec<Value> =
        (0..1_000).map(|number| json!({"n": number, "even": number % 2 == 0})).collect();
    let postings = postings(&payloads);
    let range = json!({"must": {"key": "n", "range": {"lt": 600}}});
    let length = |units| {
        select_within(&postings, &range, WorkBudget::of(units)).map(|(slots, exact)| (slots.len(), exact))
    };
    assert_eq!(length(10_000), Some((600, true)));
    assert_eq!(length(500), Some((1_000, false)));
    assert_eq!(length(10), None);
    let both = json!({"must": [{"key": "n", "range": {"lt": 600}}, matched("even", true)]});
    let (slots, exact) = select_within(&postings, &both, WorkBudget::of(700)).unwrap();
    assert_eq!((slots.len(), exact), (500, false));
}

#[test]
fn postings_hold_the_same_slots_in_every_form() {
    use posting::Removed;
    let mut posting = posting::Posting::One(500);
    let mut slots: std::collections::BTreeSet<u32> = [500].into();
    let listed = |posting: &posting::Posting| match posting {
        posting::Posting::One(only) => vec![*only],
        posting::Posting::Few(slots) => slots.clone(),
        posting::Posting::Many(slots) => slots.iter().collect(),
    };
    for step in 0..400_u32 {
        let slot = step * 7919 % 211;
        assert_eq!(posting.insert(slot), slots.insert(slot));
        assert!(listed(&posting).into_iter().eq(slots.iter().copied()));
    }
    assert!(matches!(posting, posting::Posting::Many(_)));
    while slots.len() > 1 {
        let slot = *slots.iter().nth(slots.len() / 2).unwrap();
        assert_eq!(posting.remove(slot), Removed::Slot);
        assert_eq!(posting.remove(slot), Removed::Nothing);
        slots.remove(&slot);
        assert!(listed(&posting).into_iter().eq(slots.iter().copied()));
    }
    assert!(matches!(posting, posting::Posting::One(_)));
    assert_eq!(posting.remove(100_000), Removed::Nothing);
    assert_eq!(posting.remove(*slots.first().unwrap()), Removed::Last);
}
