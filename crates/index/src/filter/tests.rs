//! The grammar, its errors, and a naive evaluation that the real one is compared with.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use vectorizer_log::Payload;

use super::expression::Filter;

/// The deepest nesting of objects and arrays.
const DEPTH_MAX: usize = 64;

fn parse(json: &Value) -> Filter {
    Filter::parse(&json.to_string(), DEPTH_MAX).unwrap_or_else(|refusal| panic!("{json}: {refusal}"))
}

fn matches_text(filter: &Value, payload: &str) -> bool {
    parse(filter).matches("p", Some(&Payload::new(payload).unwrap()))
}

fn matches(filter: &Value, payload: &Value) -> bool {
    matches_text(filter, &payload.to_string())
}

fn refusal(filter: &Value) -> String {
    Filter::parse(&filter.to_string(), DEPTH_MAX).unwrap_err().to_string()
}

#[test]
fn an_empty_filter_matches_everything() {
    for filter in [json!({}), json!({"must": []}), json!({"must": [], "should": [], "must_not": []})] {
        assert!(matches(&filter, &json!({"a": 1})));
        assert!(parse(&filter).matches("p", None));
    }
}

#[test]
fn must_is_all_should_is_one_must_not_is_none() {
    let is = |value: i64| json!({"key": "a", "match": {"value": value}});
    let payload = json!({"a": [1, 2]});
    assert!(matches(&json!({"must": [is(1), is(2)]}), &payload));
    assert!(!matches(&json!({"must": [is(1), is(3)]}), &payload));
    assert!(matches(&json!({"should": [is(3), is(2)]}), &payload));
    assert!(!matches(&json!({"should": [is(3), is(4)]}), &payload));
    assert!(!matches(&json!({"must": is(1), "should": is(3)}), &payload));
    assert!(matches(&json!({"must_not": [is(3), is(4)]}), &payload));
    assert!(!matches(&json!({"must_not": is(2)}), &payload));
    assert!(matches(&json!({"must": [{"should": [is(3), is(1)]}, {"must_not": is(4)}]}), &payload));
}

#[test]
fn numbers_match_as_decimals() {
    let matches = |value: &str, payload: &str| {
        let filter = format!(r#"{{"must": {{"key": "n", "match": {{"value": {value}}}}}}}"#);
        let payload = Payload::new(format!(r#"{{"n": {payload}}}"#)).unwrap();
        Filter::parse(&filter, DEPTH_MAX).unwrap().matches("p", Some(&payload))
    };
    let equal = ["42", "42.0", "4.2e1", "0.042E+3", "420e-1"];
    for (one, other) in equal.into_iter().flat_map(|one| equal.map(|other| (one, other))) {
        assert!(matches(one, other), "{one} and {other}");
    }
    assert!(matches("0", "-0.0") && matches("-0", "0e7"));
    assert!(matches("9007199254740993", "9007199254740993.0"));
    assert!(!matches("9007199254740993", "9007199254740992"));
    assert!(!matches("9007199254740993", "9007199254740992.0"));
    assert!(matches("18446744073709551615", "18446744073709551615"));
    assert!(!matches("18446744073709551615", "-1"));
    assert!(!matches("18446744073709551615", "\"18446744073709551615\""));
    assert!(!matches("0.1", "0.1000000000000000055") && matches("1e400", "10e399"));
    let big = "1".repeat(60);
    assert!(matches(&big, &big) && !matches(&big, &format!("{big}.5")));
}

#[test]
fn except_requires_another_value() {
    let filter = json!({"must": {"key": "a", "match": {"except": ["x", 1]}}});
    for (payload, expected) in [
        (json!({}), false),
        (json!({"a": null}), false),
        (json!({"a": []}), false),
        (json!({"a": "x"}), false),
        (json!({"a": ["x", 1]}), false),
        (json!({"a": ["x", 2]}), true),
        (json!({"a": "y"}), true),
        (json!({"a": 1.5}), true),
        (json!({"a": {}}), true),
    ] {
        assert_eq!(matches(&filter, &payload), expected, "{payload}");
    }
}

#[test]
fn bounds_are_inclusive_or_not_as_written() {
    let within = |range: Value, payload: Value| {
        matches(&json!({"must": {"key": "n", "range": range}}), &json!({ "n": payload }))
    };
    assert!(within(json!({"gte": 1, "lt": 2}), json!(1)));
    assert!(!within(json!({"gt": 1, "lt": 2}), json!(1)));
    assert!(within(json!({"gt": 1, "lt": 2}), json!(1.5)));
    assert!(within(json!({"lte": 2}), json!(2)));
    assert!(!within(json!({"gte": 1}), json!("5")));
    assert!(!within(json!({"gte": 1}), json!(null)));
    assert!(within(json!({"gte": 4}), json!([1, 5])));
}

#[test]
fn emptiness_and_null_are_distinguished() {
    let empty = json!({"must": {"is_empty": {"key": "a"}}});
    let null = json!({"must": {"is_null": {"key": "a"}}});
    for (payload, is_empty, is_null) in [
        (json!({}), true, false),
        (json!({"a": null}), true, true),
        (json!({"a": []}), true, false),
        (json!({"a": [null]}), false, true),
        (json!({"a": {}}), false, false),
        (json!({"a": ""}), false, false),
        (json!({"a": 0}), false, false),
    ] {
        assert_eq!(matches(&empty, &payload), is_empty, "{payload}");
        assert_eq!(matches(&null, &payload), is_null, "{payload}");
    }
    let point = "p";
    assert!(parse(&empty).matches(point, None) && !parse(&null).matches(point, None));
}

#[test]
fn keys_lead_through_objects_and_arrays() {
    let filter = json!({"must": {"key": "a.b.c", "match": {"value": 1}}});
    assert!(matches(&filter, &json!({"a": {"b": {"c": 1}}})));
    assert!(matches(&filter, &json!({"a": [{"b": 0}, {"b": [{"c": [2, 1]}]}]})));
    assert!(!matches(&filter, &json!({"a": [[{"b": {"c": 1}}]]})));
    assert!(!matches(&filter, &json!({"a": {"b": 1}, "a.b.c": 1})));
    let empty = json!({"must": {"is_empty": {"key": "a.b"}}});
    assert!(matches(&empty, &json!({"a": [{}, {"b": []}]})));
    assert!(!matches(&empty, &json!({"a": [{}, {"b": 1}]})));
}

#[test]
fn ids_are_matched_without_a_payload() {
    let filter = parse(&json!({"must": {"has_id": ["a", "b"]}}));
    assert!(filter.matches("a", None));
    assert!(!filter.matches("c", None));
}

#[test]
fn names_and_texts_with_escapes_are_read() {
    let filter = json!({"must": {"key": "ä\"", "match": {"value": "a\nb"}}});
    assert!(matches_text(&filter, r#"{"\u00e4\"": "a\u000ab"}"#));
}

#[test]
fn unusual_json_payloads_are_matched() {
    let present =
        json!({"must_not": {"is_empty": {"key": "a.a"}}, "must": {"key": "z", "match": {"value": 1}}});
    let open = Payload::BYTES_MAX / 2 - 20;
    let arrays = format!(r#"{{"a": {}{}, "z": 1}}"#, "[".repeat(open), "]".repeat(open));
    assert!(!matches_text(&present, &arrays));
    let depth = Payload::BYTES_MAX / 6 - 20;
    let objects = format!(r#"{{"a": {}1{}, "z": 1}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(matches_text(&present, &objects));
    let odd = r#"{"a": {"a": 1e999, "b": "\ud800"}, "z": 0, "z": 1}"#;
    assert!(matches_text(&present, odd));
    assert!(matches_text(&json!({"must": {"key": "a.a", "range": {"gt": 1e300}}}), odd));
    assert!(!matches_text(&json!({"must": {"key": "a.b", "match": {"value": "\u{fffd}"}}}), odd));
}

#[test]
fn an_error_names_the_place_and_what_was_expected() {
    for (filter, expected) in [
        (json!([]), "filter: expected an object, found an array"),
        (json!({"musst": []}), r#"filter: unknown field "musst", expected must, should or must_not"#),
        (json!({"must": 1}), "filter.must: expected a condition or an array of conditions, found a number"),
        (json!({"must": [1]}), "filter.must[0]: expected an object, found a number"),
        (
            json!({"must": [{"foo": 1}]}),
            r#"filter.must[0]: unknown field "foo", expected key, is_empty, is_null, has_id, must, should or must_not"#,
        ),
        (json!({"must": {"match": {"value": 1}}}), r#"filter.must: missing field "key""#),
        (json!({"must": {"key": "a"}}), "filter.must: expected exactly one of match or range"),
        (
            json!({"must": {"key": "a", "mat": 1}}),
            r#"filter.must: unknown field "mat", expected match or range"#,
        ),
        (
            json!({"must": {"key": "a", "match": {}}}),
            "filter.must.match: expected exactly one of value, any or except",
        ),
        (
            json!({"must": {"key": "a", "match": {"text": "b"}}}),
            r#"filter.must.match: unknown field "text", expected value, any or except"#,
        ),
        (
            json!({"must": [{"key": "a", "match": {"value": null}}]}),
            "filter.must[0].match.value: expected a string, a number or a boolean, found null",
        ),
        (
            json!({"should": [{"key": "a", "match": {"any": [1, [1.5]]}}]}),
            "filter.should[0].match.any[1]: expected a string, a number or a boolean, found an array",
        ),
        (json!({"must": {"key": "a", "range": {}}}), "filter.must.range: no lower or upper bound"),
        (
            json!({"must": {"key": "a", "range": {"gt": "1"}}}),
            "filter.must.range.gt: expected a number, found a string",
        ),
        (
            json!({"must": {"key": "a", "range": {"min": 1}}}),
            r#"filter.must.range: unknown field "min", expected gt, gte, lt or lte"#,
        ),
        (
            json!({"must": {"key": "a..b", "range": {"gt": 1}}}),
            r#"filter.must.key: the key "a..b" has an empty step"#,
        ),
        (
            json!({"must": {"is_null": {"key": "a", "b": 1}}}),
            r#"filter.must.is_null: unknown field "b", expected key"#,
        ),
        (json!({"must": {"is_empty": {}}}), r#"filter.must.is_empty: missing field "key""#),
        (json!({"must": {"has_id": ["a", ""]}}), "filter.must.has_id[1]: an id must not be empty"),
        (
            json!({"must_not": [{"must": [{"has_id": [1]}]}]}),
            "filter.must_not[0].must[0].has_id[0]: expected a string, found a number",
        ),
        (
            json!({"must": {"key": r"service\.name", "match": {"value": 1}}}),
            r#"filter.must.key: the key "service\\.name" has '\\' outside quotes; a name with dots, brackets, quotes or backslashes is written in double quotes"#,
        ),
        (
            json!({"must": {"has_id": ["a"], "is_null": {"key": "a"}}}),
            "filter.must: expected exactly one of key, is_empty, is_null, has_id, must, should or must_not",
        ),
    ] {
        assert_eq!(refusal(&filter), expected);
    }
}

#[test]
fn invalid_json_is_refused_where_it_becomes_invalid() {
    let refusal = |text: &str| Filter::parse(text, DEPTH_MAX).unwrap_err().to_string();
    let twice = r#"{"must": [], "must": []}"#;
    assert_eq!(refusal(twice), r#"filter: field "must" occurs more than once"#);
    let twice = r#"{"must": {"key": "a", "range": {"gt": 1, "gt": 2}}}"#;
    assert_eq!(refusal(twice), r#"filter.must.range: field "gt" occurs more than once"#);
    assert!(refusal(r#"{"must": [{"key": "\ud800"}]}"#).starts_with("filter.must[0].key: not plain JSON: "));
    assert!(refusal(r#"{"must": [{"key": "a", "is"#).starts_with("filter.must[0]: not plain JSON: "));
    assert!(refusal("{} {}").starts_with("filter: not plain JSON: "));
    let name = "ä".repeat(1_000_000);
    assert!(refusal(&json!({ name: 1 }).to_string()).len() < 300);
}

/// Parsing ends at the first error, and reads no values beyond a limit.
#[test]
fn input_beyond_a_limit_costs_nothing() {
    // Not even JSON: a parser that read it would report that.
    for (text, problem) in [
        (r#"{"must":[{"":0},{"":0},nonsense"#, "unknown field"),
        (r#"{"must":[{"is_null":{"key":5}},nonsense"#, "expected a string"),
        (r#"[{"key":1},nonsense"#, "expected an object"),
    ] {
        let error = Filter::parse(text, DEPTH_MAX).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let many = |element: &str, count: usize| vec![element; count].join(",");
    let conditions = many(r#"{"is_null":{"key":"a"}}"#, Filter::CONDITIONS_MAX + 1);
    let ids = many("\"a\"", Filter::VALUES_MAX + 1);
    for (text, problem) in [
        (format!(r#"{{"must":[{conditions},nonsense"#), "more than 1024 conditions"),
        (format!(r#"{{"must":[{{"has_id":[{ids},nonsense"#), "more than 16384 values"),
        (r#"{"must":["#.repeat(17) + "nonsense", "nested more than 16 deep"),
    ] {
        let error = Filter::parse(&text, DEPTH_MAX).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn one_element_of_an_array_is_distinguished_from_the_others() {
    let filter = json!({"must": {"key": "a[1].b", "match": {"value": 1}}});
    assert!(matches(&filter, &json!({"a": [{"b": 0}, {"b": [0, 1]}]})));
    assert!(!matches(&filter, &json!({"a": [{"b": 1}, {"b": 0}]})));
    assert!(!matches(&filter, &json!({"a": {"b": 1}})));
    let filter = json!({"must": {"key": "a[0]", "match": {"value": 1}}});
    assert!(matches(&filter, &json!({"a": [1, 2]})));
    assert!(!matches(&filter, &json!({"a": [[1], 1]})));
    assert!(!matches(&filter, &json!({"a": 1})));
    let empty = json!({"must": {"is_empty": {"key": "a[0]"}}});
    for (payload, is_empty) in [
        (json!({"a": []}), true),
        (json!({"a": [null, 1]}), true),
        (json!({"a": [[]]}), true),
        (json!({"a": [1]}), false),
        (json!({"a": [[1]]}), false),
    ] {
        assert_eq!(matches(&empty, &payload), is_empty, "{payload}");
    }
}

#[test]
fn names_with_dots_are_addressed_in_quotes() {
    let flat = json!({"service.name": "api", "a": {"b.c": [{"": 1}]}});
    let is = |key: &str, value: Value| json!({"must": {"key": key, "match": {"value": value}}});
    assert!(matches(&is(r#""service.name""#, json!("api")), &flat));
    assert!(matches(&is(r#"a."b.c"[]."""#, json!(1)), &flat));
    assert!(matches(&is(r#"a[]."b.c".""[]"#, json!(1)), &flat));
    assert!(!matches(&is("service.name", json!("api")), &flat));
}

#[test]
fn depth_conditions_values_and_steps_have_limits() {
    let nested = |depth: usize| (1..depth).fold(json!({}), |filter, _| json!({ "must": filter }));
    parse(&nested(Filter::DEPTH_MAX));
    assert!(refusal(&nested(Filter::DEPTH_MAX + 1)).ends_with("filters are nested more than 16 deep"));
    let error = Filter::parse(&nested(3).to_string(), 2).unwrap_err();
    assert_eq!(error.to_string(), "filter.must.must: nesting is more than 2 deep, at most 2 is allowed");
    assert!(error.is_nested_too_deep());

    let is_null = json!({"is_null": {"key": "a"}});
    parse(&json!({"must": vec![is_null.clone(); Filter::CONDITIONS_MAX]}));
    let error = refusal(&json!({"must": vec![is_null; Filter::CONDITIONS_MAX], "should": {"has_id": []}}));
    assert_eq!(error, "filter.should: the filter has more than 1024 conditions");

    let error = refusal(&json!({"must": {"has_id": vec!["a"; Filter::VALUES_MAX + 1]}}));
    let place = format!("filter.must.has_id[{}]", Filter::VALUES_MAX);
    let max = Filter::VALUES_MAX;
    assert_eq!(error, format!("{place}: the filter has more than {max} values in its lists, all together"));
    let half = json!({"has_id": vec!["a"; Filter::VALUES_MAX / 2]});
    parse(&json!({"must": [half, half]}));
    assert!(
        refusal(&json!({"must": [half, half, {"has_id": ["a"]}]})).starts_with("filter.must[2].has_id[0]")
    );

    let error = refusal(&json!({"must": {"is_null": {"key": vec!["a"; 33].join(".")}}}));
    assert_eq!(error, "filter.must.is_null.key: the key has more than 32 steps");
}

/// The semantics of the grammar, evaluated directly on a parsed payload.
mod naive {
    use super::*;

    fn clause<'a>(filter: &'a Value, name: &str) -> Vec<&'a Value> {
        let clause = &filter[name];
        match clause.as_array() {
            Some(conditions) => conditions.iter().collect(),
            None => [clause].into_iter().filter(|clause| !clause.is_null()).collect(),
        }
    }

    pub(super) fn matches(filter: &Value, id: &str, payload: &Value) -> bool {
        let should = clause(filter, "should");
        clause(filter, "must").iter().all(|it| matches_fields(it, id, payload))
            && !clause(filter, "must_not").iter().any(|it| matches_fields(it, id, payload))
            && (should.is_empty() || should.iter().any(|it| matches_fields(it, id, payload)))
    }

    fn matches_fields(condition: &Value, id: &str, payload: &Value) -> bool {
        if let Some(ids) = condition["has_id"].as_array() {
            return ids.iter().any(|it| it == id);
        }
        if let Some(key) = condition["is_empty"]["key"].as_str() {
            return found(payload, key).iter().all(|it| it.is_null() || **it == json!([]));
        }
        if let Some(key) = condition["is_null"]["key"].as_str() {
            return flat(found(payload, key)).iter().any(|it| it.is_null());
        }
        let Some(key) = condition["key"].as_str() else { return matches(condition, id, payload) };
        let values = flat(found(payload, key));
        let test = &condition["match"];
        let equal = |one: &Value, other: &Value| match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
            _ => one == other,
        };
        let among = |it: &Value, list: &[Value]| list.iter().any(|other| equal(it, other));
        if let Some(any) = test["any"].as_array() {
            values.iter().any(|it| among(it, any))
        } else if let Some(except) = test["except"].as_array() {
            values.iter().any(|it| !it.is_null() && !among(it, except))
        } else if test.is_object() {
            values.iter().any(|it| equal(it, &test["value"]))
        } else {
            let bound = |name: &str, holds: fn(&f64, &f64) -> bool, it: &Value| {
                let Some(bound) = condition["range"][name].as_f64() else { return true };
                it.as_f64().is_some_and(|it| holds(&it, &bound))
            };
            values.iter().any(|it| {
                it.is_number()
                    && bound("gt", f64::gt, it)
                    && bound("gte", f64::ge, it)
                    && bound("lt", f64::lt, it)
                    && bound("lte", f64::le, it)
            })
        }
    }

    fn flat(values: Vec<&Value>) -> Vec<&Value> {
        values.into_iter().flat_map(|it| it.as_array().map_or(vec![it], |it| it.iter().collect())).collect()
    }

    fn found<'a>(payload: &'a Value, key: &str) -> Vec<&'a Value> {
        key.split('.').enumerate().fold(vec![payload], |values, (step, name)| {
            let values = if step == 0 { values } else { flat(values) };
            values.into_iter().filter_map(|it| it.as_object()?.get(name)).collect()
        })
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        (-2..3_i8).prop_map(|number| json!(f64::from(number) / 2.0)),
        "[ab\"\n]{0,2}".prop_map(Value::from),
    ]
}

pub(in super::super) fn payload() -> impl Strategy<Value = Value> {
    let value = scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|map| json!(map)),
        ]
    });
    proptest::collection::btree_map("[abc]", value, 0..4).prop_map(|map| json!(map))
}

pub(in super::super) fn filter() -> impl Strategy<Value = Value> {
    let key = || "[abc](\\.[abc]){0,2}";
    let value = || scalar().prop_filter("a value to match", |it| !it.is_null());
    let number = || prop_oneof![(-2..3_i64).prop_map(Value::from), (-4.0..4.0).prop_map(Value::from)];
    let condition = prop_oneof![
        (key(), value()).prop_map(|(key, value)| json!({"key": key, "match": {"value": value}})),
        (key(), vec(value(), 0..3)).prop_map(|(key, any)| json!({"key": key, "match": {"any": any}})),
        (key(), vec(value(), 0..3)).prop_map(|(key, any)| json!({"key": key, "match": {"except": any}})),
        (key(), "gt|gte", number(), "lt|lte", number())
            .prop_map(|(key, lower, from, upper, to)| json!({"key": key, "range": {lower: from, upper: to}})),
        key().prop_map(|key| json!({"is_empty": {"key": key}})),
        key().prop_map(|key| json!({"is_null": {"key": key}})),
        vec("[pq]", 0..2).prop_map(|ids| json!({"has_id": ids})),
    ];
    let clauses = |inner: BoxedStrategy<Value>| {
        (vec(inner.clone(), 0..3), vec(inner.clone(), 0..3), vec(inner, 0..2)).prop_map(
            |(must, should, must_not)| json!({"must": must, "should": should, "must_not": must_not}),
        )
    };
    let nested = condition.prop_recursive(2, 16, 3, move |inner| clauses(inner.boxed()));
    clauses(nested.boxed())
}

proptest! {
    #[test]
    fn a_filter_answers_like_a_naive_evaluation(
        filters in vec(filter(), 4),
        payloads in vec(payload(), 8),
    ) {
        let id = "p";
        for filter in &filters {
            let parsed = parse(filter);
            for payload in &payloads {
                let kept = Payload::new(payload.to_string()).unwrap();
                prop_assert_eq!(
                    parsed.matches(id, Some(&kept)),
                    naive::matches(filter, "p", payload),
                    "{} on {}", filter, payload
                );
            }
        }
    }
}
