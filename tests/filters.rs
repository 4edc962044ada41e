//! Which vectors filters select, and which filters are refused.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_testing::Stopwatch;

use crate::support::node::{Client, Node};

const DELETE: &str = "/collections/words/vectors/delete";

async fn with_payloads(data: &TempDir, payloads: &[(&str, Value)]) -> (Node, Client) {
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    let vectors: Vec<Value> = payloads
        .iter()
        .map(|(id, payload)| json!({"id": id, "vector": [1, 2], "payload": payload}))
        .collect();
    if !vectors.is_empty() {
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
    (node, client)
}

async fn count(client: &Client, filter: &Value) -> Value {
    let counted = client.post("/collections/words/count", &json!({ "filter": filter })).await;
    counted.expect(200)["count"].clone()
}

fn is(key: &str, value: impl Into<Value>) -> Value {
    json!({"key": key, "match": {"value": value.into()}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_asks_nothing_selects_all_and_deletes_none() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_payloads(&data, &[("a", json!({"n": 1})), ("b", json!({}))]).await;
    for filter in [
        json!({}),
        json!({"must": []}),
        json!({"should": [], "must_not": []}),
        json!({"must": [{}]}),
        json!({"must": [{"should": [{"must": []}]}]}),
        json!({"should": [{}, is("n", 1)]}),
        json!({"must_not": [{"has_id": []}]}),
        json!({"must_not": [{"key": "n", "match": {"any": []}}]}),
    ] {
        assert_eq!(count(&client, &filter).await, 2, "{filter}");
        let refused = client.post(DELETE, &json!({ "filter": filter })).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (422, "filter-selects-all"), "{filter}");
        assert!(refused.detail().contains("\"all\": true"), "{}", refused.detail());
    }
    // Without a condition there is nothing that could have been meant.
    let refused = client.post(DELETE, &json!({"filter": {"must_not": [{}]}})).await;
    assert_eq!(refused.problem(), "filter-selects-all");
    assert_eq!(count(&client, &json!({})).await, 2);
    assert_eq!(
        client.post(DELETE, &json!({"filter": {"must": [{"has_id": []}]}})).await.expect(200)["deleted"],
        0
    );
    assert_eq!(client.post(DELETE, &json!({"all": true})).await.expect(200)["deleted"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_dots_brackets_and_quotes_are_found_by_their_quoted_keys() {
    let data = TempDir::new().unwrap();
    let payload = json!({
        "service.name": "api", "http.status_code": 500, "a": [{"b.c": 1}, {"b": [2, 3]}], "": "empty",
        "q\"[0]\\": "odd",
    });
    let (_node, client) =
        with_payloads(&data, &[("x", payload), ("y", json!({"service": {"name": "web"}}))]).await;
    for (key, value) in [
        (r#""service.name""#, json!("api")),
        (r#""http.status_code""#, json!(500)),
        (r#"a[]."b.c""#, json!(1)),
        (r#"a."b.c""#, json!(1)),
        ("a[].b[]", json!(3)),
        ("a[1].b[0]", json!(2)),
        (r#""""#, json!("empty")),
        (r#""q\"[0]\\""#, json!("odd")),
        ("service.name", json!("web")),
    ] {
        assert_eq!(count(&client, &json!({"must": [is(key, value)]})).await, 1, "{key}");
    }
    assert_eq!(count(&client, &json!({"must": [is("a[1].b[0]", 3)]})).await, 0);
    assert_eq!(count(&client, &json!({"must": [is("service.name", "api")]})).await, 0);
    // What can lead nowhere is not taken for what no payload has.
    for key in ["service\\.name", "['service.name']", "a[x]", "a[][]", "\"a", "a]", ".a"] {
        let refused = client.post(DELETE, &json!({"filter": {"must_not": [is(key, "api")]}})).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (422, "invalid-filter"), "{key}");
    }
    assert_eq!(count(&client, &json!({})).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_many_megabytes_is_refused_at_its_first_error() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_payloads(&data, &[]).await;
    let body = format!(r#"{{"filter":{{"must":[{}{{}}]}}}}"#, r#"{"":0},"#.repeat(4 << 20));
    let started = Stopwatch::start();
    let request = client.request(reqwest::Method::POST, "/collections/words/count");
    let request = request.header("content-type", "application/json").body(body);
    let refused = client.send(request).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (422, "invalid-filter"));
    let detail = refused.detail();
    assert!(detail.starts_with("filter.must[0]: unknown field \"\""), "{detail}");
    // It took 22 seconds when it was made a tree of values first.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_numbers_are_equal_however_they_were_sent() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    let sent = [
        ("int", "42"),
        ("float", "42.0"),
        ("exp", "4.2e1"),
        ("text", "\"42\""),
        ("big", "9007199254740993"),
        ("less", "9007199254740992"),
        ("minus", "-0.0"),
        ("zero", "0"),
        ("beyond", "18446744073709551617"),
        ("tenth", "0.1"),
        ("above", "0.1000000000000000055"),
        ("pi", "3.141592653589793238462643383279"),
    ];
    let lines: Vec<String> = sent
        .iter()
        .map(|(id, number)| format!(r#"{{"id":"{id}","vector":[1,2],"payload":{{"n":{number}}}}}"#))
        .collect();
    let put = client.request(reqwest::Method::PUT, "/collections/words/vectors");
    let put = put.header("content-type", "application/x-ndjson").body(lines.join("\n"));
    client.send(put).await.expect(200);
    let found = async |test: String| {
        let body = format!(r#"{{"vector":[1,2],"limit":50,"filter":{{"must":[{{"key":"n",{test}}}]}}}}"#);
        let search = client.request(reqwest::Method::POST, "/collections/words/search");
        let search = search.header("content-type", "application/json").body(body);
        let results = client.send(search).await.expect(200);
        let ids =
            results["results"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned());
        let mut ids: Vec<String> = ids.collect();
        ids.sort_unstable();
        ids
    };
    for number in ["42", "42.0", "4.2e1", "420E-1"] {
        assert_eq!(found(format!(r#""match":{{"value":{number}}}"#)).await, ["exp", "float", "int"]);
        assert_eq!(
            found(format!(r#""range":{{"gte":{number},"lte":{number}}}"#)).await,
            ["exp", "float", "int"]
        );
    }
    assert_eq!(found(r#""match":{"value":0}"#.to_owned()).await, ["minus", "zero"]);
    // Each is found by what was sent, and nothing else is.
    for (id, number) in
        sent.iter().filter(|(id, _)| !["int", "float", "exp", "minus", "zero", "text"].contains(id))
    {
        assert_eq!(found(format!(r#""match":{{"value":{number}}}"#)).await, [*id]);
        assert_eq!(found(format!(r#""range":{{"gte":{number},"lte":{number}}}"#)).await, [*id]);
    }
}
