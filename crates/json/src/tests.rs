use serde::Deserialize;
use serde_json::value::RawValue;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its type matters")]
struct Point {
    id: String,
    numbers: Option<Vec<f32>>,
    kind: Option<Kind>,
    count: Option<u32>,
    index: Option<Index>,
    raw: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its type matters")]
struct Index {
    m: Option<u16>,
    exact: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Small,
    Large,
}

#[derive(Debug)]
struct Two;

impl Limit for Two {
    const MAX: usize = 2;
    const CODE: &'static str = "too-many-points";

    fn refuse(f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it holds 3 or more points, at most 2 are allowed")
    }
}

#[derive(Debug, Deserialize)]
struct Points {
    points: AtMost<Point, Two>,
}

fn said<T: for<'de> Deserialize<'de> + std::fmt::Debug>(text: &str) -> String {
    match read::<T>(text.as_bytes()) {
        Ok(value) => panic!("{text} is taken: {value:?}"),
        Err(Unreadable::NotJson(why)) => format!("not JSON: {why}"),
        Err(Unreadable::Wrong(wrong)) => wrong.to_string(),
    }
}

#[test]
fn what_is_right_is_read() {
    let text = r#"{"id":"ü\"","numbers":[1,-2.5,1e-3],"kind":"large","count":4294967295,
        "index":{"m":16,"exact":true},"raw":{"a":[1.10,{}]}}"#;
    let point: Point = read(text.as_bytes()).unwrap();
    assert_eq!(point.id, "ü\"");
    assert_eq!(point.numbers.unwrap(), [1.0, -2.5, 1e-3]);
    assert_eq!(point.raw.unwrap().get(), r#"{"a":[1.10,{}]}"#);
    assert!(matches!(point.kind, Some(Kind::Large)));
    assert!(point.index.unwrap().exact.unwrap());
    let none: Point = read(br#"{"id":"a","numbers":null,"kind":null}"#).unwrap();
    assert!(none.numbers.is_none() && none.kind.is_none());
}

#[test]
fn a_struct_is_an_object_at_every_depth() {
    assert_eq!(said::<Point>(r#"["a",null,null,null,null,null]"#), "expected an object, found an array");
    assert_eq!(said::<Vec<Point>>(r#"[{"id":"a"},["b"]]"#), "[1]: expected an object, found an array");
    assert_eq!(said::<Point>(r#"{"id":"a","index":[16,true]}"#), "index: expected an object, found an array");
    assert_eq!(said::<Point>(r#"{"id":"a","index":[]}"#), "index: expected an object, found an array");
    for (other, found) in [("5", "5"), ("\"a\"", "\"a\""), ("null", "null"), ("true", "true")] {
        assert_eq!(said::<Point>(other), format!("expected an object, found {found}"));
    }
}

#[test]
fn an_error_has_path_and_value_and_what_is_accepted() {
    let points = |point: &str| said::<Points>(&format!(r#"{{"points":[{{"id":"a"}},{point}]}}"#));
    for (point, expected) in [
        (r#"{"id":5}"#, "points[1].id: expected a string, found 5"),
        (r#"{"id":null}"#, "points[1].id: expected a string, found null"),
        (r#"{"id":["a"]}"#, "points[1].id: expected a string, found an array"),
        (r#"{"id":{}}"#, "points[1].id: expected a string, found an object"),
        ("{}", "points[1]: missing field \"id\""),
        (r#"{"id":"a","id":"b"}"#, "points[1]: field \"id\" is given twice"),
        (
            r#"{"id":"a","surprise":1}"#,
            "points[1]: unknown field \"surprise\", expected id, numbers, kind, count, index or raw",
        ),
        (r#"{"id":"a","numbers":[1,"2"]}"#, "points[1].numbers[1]: expected a number, found \"2\""),
        (r#"{"id":"a","numbers":5}"#, "points[1].numbers: expected an array, found 5"),
        (r#"{"id":"a","kind":"other"}"#, "points[1].kind: expected small or large, found \"other\""),
        (r#"{"id":"a","kind":{"small":null}}"#, "points[1].kind: expected small or large, found an object"),
        (r#"{"id":"a","kind":0}"#, "points[1].kind: expected small or large, found 0"),
        (
            r#"{"id":"a","count":4294967296}"#,
            "points[1].count: expected a whole number from 0 to 4294967295, found 4294967296",
        ),
        (
            r#"{"id":"a","count":1.5}"#,
            "points[1].count: expected a whole number from 0 to 4294967295, found 1.5",
        ),
        (
            r#"{"id":"a","index":{"m":-1}}"#,
            "points[1].index.m: expected a whole number from 0 to 65535, found -1",
        ),
        (r#"{"id":"a","index":{"exact":1}}"#, "points[1].index.exact: expected true or false, found 1"),
        (
            r#"{"id":"a","numbers":[1e999]}"#,
            "points[1].numbers[0]: number out of range: at most 1.8e308 is accepted",
        ),
        (
            r#"{"id":"\ud800"}"#,
            "points[1].id: a hex escape stands for half a surrogate pair, which is no character",
        ),
    ] {
        assert_eq!(points(point), expected);
    }
    let long = points(&format!(r#"{{"id":"a","kind":"{}"}}"#, "ü".repeat(10_000)));
    assert_eq!(long, format!("points[1].kind: expected small or large, found \"{}…\"", "ü".repeat(64)));
    let long = points(&format!(r#"{{"id":"a","{}":1}}"#, "x".repeat(10_000)));
    assert!(long.len() < 250, "{long}");
}

#[test]
fn a_list_is_refused_at_its_first_element_too_many() {
    assert_eq!(read::<Points>(br#"{"points":[{"id":"a"},{"id":"b"}]}"#).unwrap().points.elements.len(), 2);
    // What comes behind it is not even JSON.
    let Err(Unreadable::Wrong(wrong)) = read::<Points>(br#"{"points":[{"id":"a"},{"id":"b"},{"id":5},!"#)
    else {
        panic!("it is taken");
    };
    assert_eq!(wrong.code(), Some("too-many-points"));
    assert_eq!(wrong.to_string(), "points: it holds 3 or more points, at most 2 are allowed");
}

#[test]
fn what_is_not_json_is_told_from_what_is_wrong() {
    for (text, why) in [
        ("", "the text ends (EOF) where a value is expected, at line 1, column 0"),
        ("{", "the text ends (EOF) within an object, at line 1, column 1"),
        (r#"{"id":"a"#, "the text ends (EOF) within a string, at line 1, column 8"),
        ("nonsense", "expected true, false or null, at line 1, column 2"),
        (r#"{"id":"a"} {}"#, "trailing characters behind the value, at line 1, column 12"),
        (r#"{"id":"a",}"#, "trailing comma, at line 1, column 11"),
        (r#"{"id":NaN}"#, "expected a value, at line 1, column 7"),
        (r#"{id:"a"}"#, "expected a field's name in quotes, at line 1, column 2"),
        (r#"{"id" "a"}"#, "expected \":\", at line 1, column 7"),
        (
            "{\"id\":\"a\nb\"}",
            "a control character (\\u0000-\\u001F) in a string is not escaped, at line 2, column 0",
        ),
    ] {
        assert_eq!(said::<Point>(text), format!("not JSON: {why}"), "{text}");
    }
}

#[test]
fn parameters_are_refused_in_the_same_words() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        limit: Option<u64>,
        all: Option<bool>,
        kind: Option<Kind>,
        after: Option<String>,
    }
    let parsed = |pairs: &[(&str, &str)]| {
        parameters::<Page>(
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    };
    let page = parsed(&[("limit", "5"), ("all", "true"), ("kind", "small"), ("after", "x")]).unwrap();
    assert_eq!((page.limit, page.all, page.after.as_deref()), (Some(5), Some(true), Some("x")));
    assert!(matches!(page.kind, Some(Kind::Small)));
    for (pairs, expected) in [
        (&[("limit", "x")][..], "limit: expected a whole number, 0 or more, found \"x\""),
        (&[("limit", "")], "limit: expected a whole number, 0 or more, found \"\""),
        (&[("all", "yes")], "all: expected true or false, found \"yes\""),
        (&[("kind", "x")], "kind: expected small or large, found \"x\""),
        (&[("surprise", "1")], "unknown parameter \"surprise\", expected limit, all, kind or after"),
        (&[("limit", "1"), ("limit", "2")], "parameter \"limit\" is given twice"),
    ] {
        assert_eq!(parsed(pairs).unwrap_err().to_string(), expected);
    }
}
