//! Bad input is refused whole, before anything is appended: with its status and code, in words that
//! name the field, the value and the limit.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{Answer, Client, Node};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const PATCH: &str = "application/merge-patch+json";

/// Paths of the routes that take a body; `words` is the collection that is there, `good-1` is in it.
const CREATE: &str = "/collections";
const VECTORS: &str = "/collections/words/vectors";
const VECTOR: &str = "/collections/words/vectors/good-1";
const PAYLOAD: &str = "/collections/words/vectors/good-1/payload";
const DELETE: &str = "/collections/words/vectors/delete";
const SEARCH: &str = "/collections/words/search";
const BATCH: &str = "/collections/words/search/batch";
const COUNT: &str = "/collections/words/count";

/// What is sent and what must come back.
struct Case {
    method: Method,
    path: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Option<Vec<u8>>,
    status: u16,
    code: &'static str,
    /// What the detail must say.
    says: Vec<String>,
}

impl Case {
    fn new(method: Method, path: impl Into<String>, status: u16, code: &'static str) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: None, status, code, says: Vec::new() }
    }

    fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }.header("content-type", content_type)
    }

    fn says<S: AsRef<str>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.says.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    async fn send(&self, client: &Client) -> Answer {
        let mut request = client.request(self.method.clone(), &self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_slice());
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        client.send(request).await
    }
}

/// A node with a collection under `cosine` that holds two vectors.
async fn prepared(data: &TempDir, flags: &[&str]) -> (Node, Client) {
    let node = Node::start("serve", data.path(), flags);
    let client = node.keyless();
    client.create("words", 3, "cosine").await;
    let vectors = json!({"vectors": [
        {"id": "good-1", "vector": [1, 2, 3], "payload": {"text": "x".repeat(100)}},
        {"id": "good-2", "vector": [3, 2, 1]},
    ]});
    client.put(VECTORS, &vectors).await.expect(200);
    (node, client)
}

/// Everything that a refused request must leave as it is.
async fn state(client: &Client) -> (Value, Value) {
    (client.head().await, client.get("/collections").await.expect(200))
}

async fn all_are_refused(client: &Client, cases: Vec<Case>) {
    let before = state(client).await;
    assert_eq!(before.1["collections"][0]["count"], 2);
    for case in cases {
        let answer = case.send(client).await;
        let body = String::from_utf8_lossy(case.body.as_deref().unwrap_or_default());
        let shown: String = body.chars().take(300).collect();
        let what = format!("{} {} {:?} {shown}: {}", case.method, case.path, case.headers, answer.body);
        assert_eq!(answer.status.as_u16(), case.status, "{what}");
        assert_eq!(answer.problem(), case.code, "{what}");
        for words in &case.says {
            assert!(answer.detail().contains(words.as_str()), "{words:?} is not said: {what}");
        }
        assert_eq!(state(client).await, before, "{what}");
    }
}

fn base64_of(numbers: &[f32]) -> String {
    format!("{:?}", BASE64.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()))
}

/// An upsert with `point` between two good ones, in both formats. `says` is what only the format
/// with lines or the one without can say.
fn upserts(point: &str, status: u16, code: &'static str, says: &[&str]) -> [Case; 2] {
    let good = |id| format!(r#"{{"id":"{id}","vector":[1,1,1]}}"#);
    let (first, last) = (good("first"), good("last"));
    let put = || Case::new(Method::PUT, VECTORS, status, code).says(says);
    [
        put().body(JSON, format!(r#"{{"vectors":[{first},{point},{last}]}}"#)),
        put().body(LINES, format!("{first}\n\n{point}\n{last}\n")),
    ]
}

/// Vectors as they are written in JSON, and what is said of them.
fn bad_vectors() -> Vec<(String, u16, &'static str, Vec<&'static str>)> {
    let many = vec!["1"; 16_385].join(",");
    let invalid = |text: &str, says| (text.to_owned(), 422, "invalid-body", says);
    let not_finite = |text: String, says| (text, 422, "not-finite", says);
    let wrong = |text: String, says| (text, 422, "wrong-dimension", says);
    let zero = |text: String| (text, 422, "zero-vector", vec!["zero"]);
    vec![
        wrong("[1,2]".to_owned(), vec!["dimension 2", "3"]),
        wrong("[1,2,3,4]".to_owned(), vec!["dimension 4", "3"]),
        wrong("[]".to_owned(), vec!["dimension 0", "3"]),
        wrong("\"\"".to_owned(), vec!["dimension 0", "3"]),
        wrong(base64_of(&[1.0, 2.0]), vec!["dimension 2", "3"]),
        wrong(base64_of(&vec![1.0; 16_385]), vec!["dimension 16385", "3"]),
        zero("[0,0,0]".to_owned()),
        zero("[0,-0.0,0]".to_owned()),
        zero("[1e-60,0,0]".to_owned()),
        zero(base64_of(&[0.0, -0.0, 0.0])),
        not_finite("[0,1e39,0]".to_owned(), vec!["component 1", "inf"]),
        not_finite("[0,0,-1e300]".to_owned(), vec!["component 2", "-inf"]),
        not_finite(base64_of(&[f32::NAN, 0.0, 0.0]), vec!["component 0", "NaN"]),
        not_finite(base64_of(&[0.0, f32::INFINITY, 0.0]), vec!["component 1", "inf"]),
        not_finite(base64_of(&[0.0, 0.0, f32::NEG_INFINITY]), vec!["component 2", "-inf"]),
        (format!("{:?}", BASE64.encode([0; 13])), 422, "invalid-vector", vec!["13 bytes"]),
        invalid("\"###\"", vec!["vector", "not base64"]),
        invalid("\"AACAPw\"", vec!["vector", "not base64", "padded"]),
        invalid("[1,null,3]", vec!["vector[1]", "null"]),
        invalid("[1,2,\"3\"]", vec!["vector[2]", "\"3\""]),
        invalid("[[1],2,3]", vec!["vector[0]"]),
        invalid("5", vec!["vector", "5", "array of numbers or base64"]),
        invalid("null", vec!["vector", "null"]),
        invalid("true", vec!["vector", "true"]),
        invalid("{}", vec!["vector", "an object"]),
        invalid(&format!("[{many}]"), vec!["vector", "more than 16384"]),
        ("[NaN,0,0]".to_owned(), 400, "malformed-json", vec!["not JSON"]),
        ("[Infinity,0,0]".to_owned(), 400, "malformed-json", vec!["not JSON"]),
        invalid("[1e999,0,0]", vec!["vector[0]", "number out of range"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_vector_is_refused_in_every_encoding_on_every_route_with_all_that_came_with_it() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    for (vector, status, code, says) in bad_vectors() {
        // What is known after parsing names the vector by its id.
        let named = matches!(code, "wrong-dimension" | "zero-vector" | "not-finite" | "invalid-vector");
        let [whole, lines] =
            upserts(&format!(r#"{{"id":"bad","vector":{vector}}}"#), status, code, says.as_slice());
        let decided_by_the_writer = matches!(code, "wrong-dimension" | "zero-vector");
        cases.push(match code {
            "invalid-body" => whole.says(["vectors[1]"]),
            _ if named => whole.says(["\"bad\""]),
            _ => whole,
        });
        cases.push(if decided_by_the_writer { lines.says(["\"bad\""]) } else { lines.says(["line 3"]) });
        let post = |path| Case::new(Method::POST, path, status, code).says(&says);
        cases.push(post(SEARCH).body(JSON, format!(r#"{{"vector":{vector}}}"#)));
        let batch = format!(r#"{{"searches":[{{"vector":[1,1,1]}},{{"vector":{vector}}}]}}"#);
        let batched = post(BATCH).body(JSON, batch);
        cases.push(if status == 422 { batched.says(["searches[1]"]) } else { batched });
    }
    // `not-finite` of a search says where but not what; the table is of the strictest route.
    for case in &mut cases {
        if case.path == SEARCH || case.path == BATCH {
            case.says.retain(|words| !["inf", "-inf", "NaN"].contains(&words.as_str()));
        }
    }
    all_are_refused(&client, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_ids_and_payloads_are_refused_on_every_route() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    let long = format!("\"{}\"", "i".repeat(257));
    let wide = format!("\"{}\"", "é".repeat(129));
    for (id, code, says) in [
        (r#""""#, "invalid-id", vec!["empty"]),
        (&long, "invalid-id", vec!["257", "256"]),
        (&wide, "invalid-id", vec!["258", "256"]),
        (r#""a\u0000b""#, "invalid-id", vec!["control character"]),
        (r#""a\nb""#, "invalid-id", vec!["control character"]),
        (r#""\u0085""#, "invalid-id", vec!["control character"]),
        ("5", "invalid-body", vec!["5", "string"]),
        ("null", "invalid-body", vec!["null", "string"]),
        ("[\"a\"]", "invalid-body", vec!["string"]),
    ] {
        let [whole, lines] = upserts(&format!(r#"{{"id":{id},"vector":[1,2,3]}}"#), 422, code, &says);
        cases.push(whole.says(["vectors[1]"]));
        cases.push(lines.says(["line 3"]));
        let ids = format!(r#"{{"ids":["good-1",{id}]}}"#);
        cases.push(Case::new(Method::POST, DELETE, 422, code).says(&says).says(["ids[1]"]).body(JSON, ids));
        for (path, body) in filtered(&format!(r#"{{"must":[{{"has_id":["x",{id}]}}]}}"#)) {
            let case = Case::new(Method::POST, path, 422, "invalid-filter").body(JSON, body);
            cases.push(case.says(["filter.must[0].has_id[1]"]));
        }
    }
    for (id, says) in [("i".repeat(257), vec!["257", "256"]), ("a%00b".to_owned(), vec!["control character"])]
    {
        let path = format!("{VECTORS}/{id}");
        for method in [Method::GET, Method::DELETE] {
            cases.push(Case::new(method, &path, 422, "invalid-id").says(&says));
        }
        let patch = Case::new(Method::PATCH, format!("{path}/payload"), 422, "invalid-id").says(&says);
        cases.push(patch.body(PATCH, "{}"));
    }
    let same = r#"{"id":"same","vector":[1,2,3]}"#;
    let [whole, _] = upserts(&format!("{same},{same}"), 422, "repeated-id", &["\"same\"", "more than once"]);
    let [_, lines] = upserts(&format!("{same}\n{same}"), 422, "repeated-id", &["\"same\"", "more than once"]);
    cases.extend([whole, lines]);
    let twice = Case::new(Method::POST, DELETE, 422, "repeated-id").says(["\"good-1\"", "more than once"]);
    cases.push(twice.body(JSON, r#"{"ids":["good-1","good-2","good-1"]}"#));

    let deep = |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{}", "}".repeat(depth - 1));
    for (payload, status, code, says) in [
        ("[1]".to_owned(), 422, "invalid-payload", vec!["object"]),
        ("5".to_owned(), 422, "invalid-payload", vec!["object"]),
        ("\"a\"".to_owned(), 422, "invalid-payload", vec!["object"]),
        ("false".to_owned(), 422, "invalid-payload", vec!["object"]),
        (r#"{"a":1e999}"#.to_owned(), 422, "invalid-payload", vec!["payload", "number out of range"]),
        (r#"{"a":"\ud800"}"#.to_owned(), 422, "invalid-payload", vec!["payload", "hex escape"]),
        (sized(65_537), 413, "payload-too-large", vec!["65537", "65536"]),
        (deep(33), 422, "nested-too-deep", vec!["33", "32"]),
        (deep(2_000), 422, "nested-too-deep", vec!["2000", "32"]),
        ("{\"a\":".to_owned(), 400, "malformed-json", vec!["not JSON"]),
        ("{\"a\":1,}".to_owned(), 400, "malformed-json", vec!["not JSON"]),
    ] {
        let point = format!(r#"{{"id":"bad","vector":[1,2,3],"payload":{payload}}}"#);
        let [whole, lines] = upserts(&point, status, code, &says);
        cases.push(if status == 400 { whole } else { whole.says(["\"bad\""]) });
        cases.push(lines.says(["line 3"]));
        for content_type in [PATCH, JSON] {
            let patch = Case::new(Method::PATCH, PAYLOAD, status, code).says(&says);
            cases.push(patch.body(content_type, payload.clone()));
        }
    }
    // Each fits, both together do not.
    let grown =
        Case::new(Method::PATCH, PAYLOAD, 413, "payload-too-large").says(["after the change", "65536"]);
    cases.push(grown.body(PATCH, sized(65_500)));
    cases.push(Case::new(Method::PATCH, PAYLOAD, 422, "invalid-payload").body(PATCH, "null"));
    all_are_refused(&client, cases).await;
}

/// A JSON object of exactly so many bytes.
fn sized(bytes: usize) -> String {
    format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8))
}

/// Every body that holds a filter, with this one.
fn filtered(filter: &str) -> [(&'static str, String); 4] {
    [
        (SEARCH, format!(r#"{{"vector":[1,1,1],"filter":{filter}}}"#)),
        (BATCH, format!(r#"{{"searches":[{{"vector":[1,1,1],"filter":{filter}}}]}}"#)),
        (COUNT, format!(r#"{{"filter":{filter}}}"#)),
        (DELETE, format!(r#"{{"filter":{filter}}}"#)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_cannot_be_is_refused() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    let long = "n".repeat(129);
    for name in ["", "-a", "_a", ".", "..", "../x", "a/b", "a b", "é", "a\\u0000", &long] {
        let body = format!(r#"{{"name":"{name}","dimension":3,"metric":"dot"}}"#);
        let case = Case::new(Method::POST, CREATE, 422, "invalid-name").says(["name:", "{0,127}"]);
        cases.push(case.body(JSON, body));
    }
    for (dimension, code, says) in [
        ("0", "invalid-dimension", vec!["dimension 0", "1 to 16384"]),
        ("16385", "invalid-dimension", vec!["dimension 16385", "1 to 16384"]),
        ("-1", "invalid-body", vec!["dimension", "-1"]),
        ("1.5", "invalid-body", vec!["dimension", "1.5"]),
        ("4294967296", "invalid-body", vec!["dimension", "4294967296"]),
        ("\"3\"", "invalid-body", vec!["dimension", "\"3\""]),
        ("null", "invalid-body", vec!["dimension", "null"]),
    ] {
        let body = format!(r#"{{"name":"new","dimension":{dimension},"metric":"dot"}}"#);
        cases.push(Case::new(Method::POST, CREATE, 422, code).says(says).body(JSON, body));
    }
    for (field, value, limits) in [
        ("m", 1, "2 to 128"),
        ("m", 129, "2 to 128"),
        ("ef_construction", 3, "4 to 4096"),
        ("ef_construction", 4_097, "4 to 4096"),
        ("ef", 0, "1 to 4096"),
        ("ef", 4_097, "1 to 4096"),
    ] {
        let body = json!({"name": "new", "dimension": 3, "metric": "dot", "index": {field: value}});
        let says = [format!("index.{field} is {value}"), limits.to_owned()];
        cases.push(
            Case::new(Method::POST, CREATE, 422, "invalid-index").says(says).body(JSON, body.to_string()),
        );
    }
    for (body, says) in [
        (r#"{"name":"new","dimension":3,"metric":"manhattan"}"#, vec!["metric", "manhattan", "euclidean"]),
        (r#"{"name":"new","dimension":3}"#, vec!["metric"]),
        (r#"{"name":"new","metric":"dot"}"#, vec!["dimension"]),
        (r#"{"dimension":3,"metric":"dot"}"#, vec!["name"]),
        (r#"{"name":5,"dimension":3,"metric":"dot"}"#, vec!["name", "5"]),
        (r#"{"name":"new","dimension":3,"metric":"dot","index":{"ef":"x"}}"#, vec!["index.ef"]),
    ] {
        cases.push(Case::new(Method::POST, CREATE, 422, "invalid-body").says(says).body(JSON, body));
    }
    all_are_refused(&client, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_searches_pages_and_cursors_are_refused() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    for (field, value, code, says) in [
        ("limit", "0", "invalid-limit", vec!["limit is 0", "1 to 1000"]),
        ("limit", "1001", "invalid-limit", vec!["limit is 1001", "1 to 1000"]),
        ("limit", "18446744073709551615", "invalid-limit", vec!["1 to 1000"]),
        ("limit", "-1", "invalid-body", vec!["limit", "-1"]),
        ("limit", "1.5", "invalid-body", vec!["limit", "1.5"]),
        ("limit", "\"10\"", "invalid-body", vec!["limit", "\"10\""]),
        ("ef", "0", "invalid-ef", vec!["ef is 0", "1 to 4096"]),
        ("ef", "4097", "invalid-ef", vec!["ef is 4097", "1 to 4096"]),
        ("exact", "1", "invalid-body", vec!["exact", "1"]),
        ("score_threshold", "1e39", "not-finite", vec!["score_threshold"]),
        ("score_threshold", "\"x\"", "invalid-body", vec!["score_threshold"]),
        ("with_payload", "1", "invalid-body", vec!["with_payload"]),
        ("with_vector", "\"yes\"", "invalid-body", vec!["with_vector"]),
        ("top_k", "5", "invalid-body", vec!["unknown field \"top_k\""]),
    ] {
        let search = format!(r#"{{"vector":[1,1,1],"{field}":{value}}}"#);
        let case = |path| Case::new(Method::POST, path, 422, code).says(&says);
        cases.push(case(SEARCH).body(JSON, search.clone()));
        let batch = format!(r#"{{"searches":[{{"vector":[1,1,1]}},{search}]}}"#);
        cases.push(case(BATCH).says(["searches[1]"]).body(JSON, batch));
    }
    for (searches, says) in [(0, "holds 0"), (101, "holds 101")] {
        let body = json!({"searches": vec![json!({"vector": [1, 1, 1]}); searches]});
        let case = Case::new(Method::POST, BATCH, 422, "invalid-batch").says([says, "1 to 100"]);
        cases.push(case.body(JSON, body.to_string()));
    }
    for (query, status, code, says) in [
        ("limit=0", 422, "invalid-limit", vec!["limit is 0", "1 to 1000"]),
        ("limit=1001", 422, "invalid-limit", vec!["limit is 1001", "1 to 1000"]),
        ("limit=-1", 400, "invalid-parameter", vec!["limit"]),
        ("limit=x", 400, "invalid-parameter", vec!["limit"]),
        ("limit=", 400, "invalid-parameter", vec!["limit"]),
        ("limit=1&limit=2", 400, "invalid-parameter", vec!["limit"]),
        ("with_vector=yes", 400, "invalid-parameter", vec!["with_vector"]),
        ("cursor=", 422, "invalid-cursor", vec!["cursor"]),
        ("cursor=!!", 422, "invalid-cursor", vec!["!!"]),
        ("cursor=a%00", 422, "invalid-cursor", vec!["cursor"]),
        (&format!("cursor={}", URL_SAFE_NO_PAD.encode([0xff, 0xfe])), 422, "invalid-cursor", vec!["cursor"]),
        (&format!("cursor={}", URL_SAFE_NO_PAD.encode("a\n")), 422, "invalid-cursor", vec!["cursor"]),
        (
            &format!("cursor={}", URL_SAFE_NO_PAD.encode("i".repeat(257))),
            422,
            "invalid-cursor",
            vec!["cursor"],
        ),
    ] {
        cases.push(Case::new(Method::GET, format!("{VECTORS}?{query}"), status, code).says(says));
    }
    all_are_refused(&client, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_filters_and_selections_are_refused() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    let nested = |depth: usize| {
        format!("{}{}{}", "{\"must\":[".repeat(depth), r#"{"is_null":{"key":"a"}}"#, "]}".repeat(depth))
    };
    for (filter, code, says) in [
        ("[]", "invalid-filter", vec!["filter: expected an object"]),
        ("5", "invalid-filter", vec!["filter: expected an object"]),
        (r#"{"all":[]}"#, "invalid-filter", vec!["\"all\"", "must, should or must_not"]),
        (r#"{"must":5}"#, "invalid-filter", vec!["filter.must"]),
        (r#"{"must":[5]}"#, "invalid-filter", vec!["filter.must[0]"]),
        (r#"{"must":[{"key":"a"}]}"#, "invalid-filter", vec!["filter.must[0]", "match or range"]),
        (r#"{"must":[{"match":{"value":1}}]}"#, "invalid-filter", vec!["missing field \"key\""]),
        (
            r#"{"should":[{"key":"a","match":{"value":[1.5]}}]}"#,
            "invalid-filter",
            vec!["filter.should[0].match.value"],
        ),
        (r#"{"must":[{"key":"a","match":{"text":"x"}}]}"#, "invalid-filter", vec!["\"text\""]),
        (r#"{"must":[{"key":"a","match":{"value":1,"any":[2]}}]}"#, "invalid-filter", vec!["exactly one of"]),
        (r#"{"must":[{"key":"a","range":{}}]}"#, "invalid-filter", vec!["no lower or upper bound"]),
        (r#"{"must":[{"key":"a","range":{"gt":"5"}}]}"#, "invalid-filter", vec!["range.gt"]),
        (r#"{"must":[{"key":"a","range":{"above":5}}]}"#, "invalid-filter", vec!["\"above\""]),
        (r#"{"must_not":[{"key":"a..b","match":{"value":1}}]}"#, "invalid-filter", vec!["\"a..b\""]),
        (r#"{"must":[{"is_null":{}}]}"#, "invalid-filter", vec!["missing field \"key\""]),
        (r#"{"must_not":[{"is_null":{"key":"service\\.name"}}]}"#, "invalid-filter", vec!["outside quotes"]),
        (r#"{"must_not":[{"is_null":{"key":"a[][]"}}]}"#, "invalid-filter", vec!["arrays within arrays"]),
        (r#"{"must":[],"must":[]}"#, "invalid-filter", vec!["\"must\" occurs more than once"]),
        (r#"{"must":[{"is_null":{"key":"\ud800"}}]}"#, "invalid-filter", vec!["filter.must[0].is_null.key"]),
        (&nested(16), "nested-too-deep", vec!["more than 32 deep"]),
        (&nested(1_000), "nested-too-deep", vec!["32"]),
        (
            &format!(
                "{{\"must\":{}}}",
                "{\"must\":".repeat(17) + "{\"is_null\":{\"key\":\"a\"}}" + &"}".repeat(17)
            ),
            "invalid-filter",
            vec!["16"],
        ),
    ] {
        for (path, body) in filtered(filter) {
            cases.push(Case::new(Method::POST, path, 422, code).says(&says).body(JSON, body));
        }
    }
    for body in [r#"{"ids":["good-1"],"filter":{}}"#, "{}", r#"{"ids":null}"#, r#"{"filter":null}"#]
        .into_iter()
        .chain([r#"{"all":false}"#, r#"{"all":true,"ids":["good-1"]}"#, r#"{"all":true,"filter":{}}"#])
    {
        let case = Case::new(Method::POST, DELETE, 422, "invalid-selection").says(["either ids or filter"]);
        cases.push(case.body(JSON, body));
    }
    let none = |content_type, body: &str| {
        Case::new(Method::PUT, VECTORS, 422, "no-vectors").says(["vectors"]).body(content_type, body)
    };
    cases.extend([none(JSON, r#"{"vectors":[]}"#), none(LINES, ""), none(LINES, "\n \r\n")]);
    all_are_refused(&client, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_a_path_leads_nowhere_but_to_a_collection() {
    let data = TempDir::new().unwrap();
    let (node, client) = prepared(&data, &[]).await;
    let long = "n".repeat(129);
    // No client of ours would send some of these, so they go out as they are.
    let before = state(&client).await;
    for (name, status, code) in [
        ("..", 422, "invalid-name"),
        (".", 422, "invalid-name"),
        ("%2e%2e", 422, "invalid-name"),
        ("..%2f..%2facme", 422, "invalid-name"),
        ("%2e%2e%2f_node", 422, "invalid-name"),
        ("..%5c..", 422, "invalid-name"),
        ("_node", 422, "invalid-name"),
        ("a%20b", 422, "invalid-name"),
        ("words%00", 422, "invalid-name"),
        ("w%C3%B6rter", 422, "invalid-name"),
        (&long, 422, "invalid-name"),
        ("%ff%fe", 400, "invalid-path"),
    ] {
        for (method, rest, body) in [
            ("GET", "", ""),
            ("DELETE", "", ""),
            ("PUT", "/vectors", r#"{"vectors":[{"id":"a","vector":[1]}]}"#),
            ("GET", "/vectors", ""),
            ("GET", "/vectors/a", ""),
            ("DELETE", "/vectors/a", ""),
            ("PATCH", "/vectors/a/payload", "{}"),
            ("POST", "/vectors/delete", r#"{"ids":["a"]}"#),
            ("POST", "/search", r#"{"vector":[1]}"#),
            ("POST", "/search/batch", r#"{"searches":[{"vector":[1]}]}"#),
            ("POST", "/count", "{}"),
        ] {
            let answer =
                node.raw(&request(&node, method, &format!("/api/v1/collections/{name}{rest}"), body));
            assert_eq!((answer.status.as_u16(), answer.problem()), (status, code), "{method} {name}{rest}");
        }
    }
    for (method, path) in [
        ("GET", "/api/v1/collections/words/vectors/%ff"),
        ("DELETE", "/api/v1/collections/words/vectors/%ff"),
        ("PATCH", "/api/v1/collections/words/vectors/%ff/payload"),
    ] {
        let answer = node.raw(&request(&node, method, path, "{}"));
        assert_eq!((answer.status.as_u16(), answer.problem()), (400, "invalid-path"), "{method} {path}");
    }
    for path in [
        "/api/v1/../../etc/passwd",
        "/api/v1/collections/../../../etc/passwd",
        "//api/v1/log",
        "/api/v1/collections/",
    ] {
        let answer = node.raw(&request(&node, "GET", path, ""));
        assert_eq!((answer.status.as_u16(), answer.problem()), (404, "no-such-route"), "{path}");
    }
    assert_eq!(state(&client).await, before);
}

fn request(node: &Node, method: &str, path: &str, body: &str) -> Vec<u8> {
    let (host, length) = (node.authority(), body.len());
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// Every route that takes a body, with a body that would do.
fn bodies() -> [(Method, &'static str, &'static str); 8] {
    [
        (Method::POST, CREATE, r#"{"name":"new","dimension":3,"metric":"dot"}"#),
        (Method::PUT, VECTORS, r#"{"vectors":[{"id":"a","vector":[1,2,3]}]}"#),
        (Method::PATCH, PAYLOAD, r#"{"a":1}"#),
        (Method::POST, DELETE, r#"{"ids":["good-1"]}"#),
        (Method::POST, SEARCH, r#"{"vector":[1,2,3]}"#),
        (Method::POST, BATCH, r#"{"searches":[{"vector":[1,2,3]}]}"#),
        (Method::POST, COUNT, "{}"),
        (Method::POST, DELETE, r#"{"filter":{"must":[{"has_id":["good-1"]}]}}"#),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_body_is_refused_on_every_route() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    for (method, path, good) in bodies() {
        let case = |status, code| Case::new(method.clone(), path, status, code);
        for bad in ["", "{", "nonsense", "\u{feff}{}"] {
            cases.push(case(400, "malformed-json").body(JSON, bad).says(["not JSON"]));
        }
        cases.push(case(400, "malformed-json").body(JSON, format!("{good} {{}}")).says(["trailing"]));
        cases.push(case(400, "malformed-json").body(JSON, format!("{good}x")).says(["trailing"]));
        cases.push(case(400, "malformed-json").body(JSON, &good[..good.len() - 1]).says(["EOF"]));
        let not_utf8: Vec<u8> = good.bytes().map(|byte| if byte == b'a' { 0xff } else { byte }).collect();
        if not_utf8 != good.as_bytes() {
            cases.push(case(400, "malformed-json").body(JSON, not_utf8));
        }
        if path != PAYLOAD {
            let unknown = good.replacen('{', r#"{"surprise":1"#, 1).replace("1\"", "1,\"");
            cases.push(case(422, "invalid-body").body(JSON, unknown).says(["unknown field \"surprise\""]));
            cases.push(case(422, "invalid-body").body(JSON, "5").says(["5"]));
        }
        for wrong in ["text/plain", "application/xml", "application/jsonp", ""] {
            let says = [format!("{wrong:?}"), JSON.to_owned()];
            cases.push(case(415, "unsupported-content-type").body(wrong, good).says(says));
        }
        cases.push(Case { headers: Vec::new(), ..case(415, "unsupported-content-type").body(JSON, good) });
        if path != VECTORS {
            cases.push(case(415, "unsupported-content-type").body(LINES, good).says([LINES]));
        }
        if path != PAYLOAD {
            cases.push(case(415, "unsupported-content-type").body(PATCH, good).says([PATCH]));
        }
    }
    for (point, says) in [
        (r#"{"id":"bad","vector":[1,2,3],"extra":1}"#, "unknown field \"extra\""),
        (r#"{"vector":[1,2,3]}"#, "missing field \"id\""),
        (r#"{"id":"bad","id":"bad","vector":[1,2,3]}"#, "field \"id\" is given twice"),
        ("5", "5"),
    ] {
        let [whole, lines] = upserts(point, 422, "invalid-body", &[says]);
        cases.extend([whole.says(["vectors[1]"]), lines.says(["line 3"])]);
    }
    cases.extend(upserts(r#"{"id":"bad"}"#, 422, "vector-missing", &["vector", "\"bad\"", "dimension 3"]));
    let nested = r#"{"name":"new","dimension":3,"metric":"dot","index":{"surprise":1}}"#;
    let nested = Case::new(Method::POST, CREATE, 422, "invalid-body").body(JSON, nested);
    cases.push(nested.says(["index", "unknown field \"surprise\""]));
    all_are_refused(&client, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_field_by_field_from_an_array() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    for (method, path, body, at) in [
        (Method::POST, CREATE, r#"["arr",3,"dot",null,null]"#, "body"),
        (Method::POST, CREATE, r#"{"name":"a","dimension":3,"metric":"dot","index":[16,100,50]}"#, "index"),
        (Method::PUT, VECTORS, r#"[[{"id":"a","vector":[1,2,3]}]]"#, "body"),
        (Method::PUT, VECTORS, r#"{"vectors":[["a",[1,2,3],null,null]]}"#, "vectors[0]"),
        (Method::POST, DELETE, r#"[["good-1"],null]"#, "body"),
        (Method::POST, SEARCH, "[[1,2,3],null,null,1,null,null,null,null,null,null,null]", "body"),
        (Method::POST, BATCH, r#"[[{"vector":[1,2,3]}]]"#, "body"),
        (Method::POST, BATCH, r#"{"searches":[[[1,2,3]]]}"#, "searches[0]"),
        (Method::POST, COUNT, "[null]", "body"),
    ] {
        let says = format!("{at}: expected an object, found an array");
        cases.push(Case::new(method, path, 422, "invalid-body").says([says]).body(JSON, body));
    }
    for filter in [
        "[[],[],[]]",
        r#"{"must":[["a",{"value":1}]]}"#,
        r#"{"must":[{"key":"a","match":[1]}]}"#,
        r#"{"must":[{"key":"a","range":[1,2]}]}"#,
        r#"{"must":[{"is_null":["a"]}]}"#,
    ] {
        for (path, body) in filtered(filter) {
            cases
                .push(Case::new(Method::POST, path, 422, "invalid-filter").says(["filter"]).body(JSON, body));
        }
    }
    let line = Case::new(Method::PUT, VECTORS, 422, "invalid-body").body(LINES, r#"["a",[1,2,3],null,null]"#);
    cases.push(line.says(["line 1: expected an object, found an array"]));
    all_are_refused(&client, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parameters_and_bad_headers_are_refused_on_every_route() {
    let data = TempDir::new().unwrap();
    let (_node, client) = prepared(&data, &[]).await;
    let mut cases = Vec::new();
    let bodiless = [
        (Method::GET, CREATE),
        (Method::GET, "/collections/words"),
        (Method::DELETE, "/collections/words"),
        (Method::GET, VECTORS),
        (Method::GET, VECTOR),
        (Method::DELETE, VECTOR),
        (Method::GET, "/log"),
        (Method::GET, "/log/head"),
    ];
    let routes = bodies()
        .map(|(method, path, body)| (method, path, Some(body)))
        .into_iter()
        .chain(bodiless.map(|(method, path)| (method, path, None)));
    for (method, path, body) in routes {
        let case = |path: &str, code| {
            let case = Case::new(method.clone(), path, 400, code);
            if let Some(body) = body { case.body(JSON, body) } else { case }
        };
        cases.push(case(&format!("{path}?surprise=1"), "invalid-parameter").says(["surprise"]));
        let writes = method != Method::GET && ![SEARCH, BATCH, COUNT].contains(&path);
        if !writes {
            continue;
        }
        let bad = |name, value: &[u8]| case(path, "invalid-header").header(name, value);
        for value in [b"".as_slice(), &[b'k'; 256], "clé".as_bytes(), b"a\tb"] {
            cases.push(bad("idempotency-key", value).says(["dempotency-"]));
        }
        cases.push(bad("idempotency-key", b"a").header("idempotency-key", b"a").says(["once"]));
        for value in [
            "5",
            "\"x\"",
            "\"\"",
            "\"5",
            "\"-1\"",
            "\"5\" \"6\"",
            "",
            "\"5\",",
            "W/5",
            "\"18446744073709551616\"",
        ] {
            cases.push(
                bad("if-match", value.as_bytes())
                    .says([format!("{value:?}"), "seq in double quotes".to_owned()]),
            );
        }
        cases.push(bad("if-match", b"\"1\"").header("if-match", b"\"2\"").says(["once"]));
    }
    for query in ["from=x", "to=-1", "limit=x", "follow=1", "with_stored=yes"] {
        let name = query.split_once('=').unwrap().0;
        cases.push(Case::new(Method::GET, format!("/log?{query}"), 400, "invalid-parameter").says([name]));
    }
    all_are_refused(&client, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
    let data = TempDir::new().unwrap();
    let (node, client) = prepared(&data, &["--body-bytes-max", "4096"]).await;
    let before = state(&client).await;
    let prefix = r#"{"vectors":[{"id":"a","vector":[1,2,3]}]}"#;
    let fits = format!("{prefix:<4096}");
    let over = format!("{prefix:<4097}");
    for body in [&over, &format!("{prefix:<60000}")] {
        let stated = client.request(Method::PUT, VECTORS).header("content-type", JSON).body(body.clone());
        let answer = client.send(stated).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (413, "body-too-large"));
        assert!(answer.detail().contains("4096"), "{}", answer.detail());
        let mut chunked = String::new();
        for chunk in body.as_bytes().chunks(500) {
            let text = std::str::from_utf8(chunk).unwrap();
            write!(chunked, "{:x}\r\n{text}\r\n", text.len()).unwrap();
        }
        let head = format!(
            "PUT /api/v1{VECTORS} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {JSON}\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            node.authority()
        );
        let answer = node.raw(format!("{head}{chunked}0\r\n\r\n").as_bytes());
        assert_eq!((answer.status.as_u16(), answer.problem()), (413, "body-too-large"));
    }
    assert_eq!(state(&client).await, before);
    let request = client.request(Method::PUT, VECTORS).header("content-type", JSON).body(fits);
    client.send(request).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_on_the_limits_are_accepted() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    let longest = "n".repeat(128);
    client.create(&longest, 1, "dot").await;
    client.create("wide", 16_384, "cosine").await;
    client.create("0.a_b-C", 3, "cosine").await;
    let id = "é".repeat(128);
    assert_eq!(id.len(), 256);
    let path = format!("/collections/{longest}/vectors");
    let payload: Value = serde_json::from_str(&sized(65_536)).unwrap();
    let body = json!({"vectors": [{"id": id, "vector": [0], "payload": payload}]});
    client.put(&path, &body).await.expect(200);
    let encoded = "%C3%A9".repeat(128);
    let found = client.get(&format!("{path}/{encoded}?with_vector=true")).await.expect(200);
    assert_eq!(found, json!({"id": id, "payload": payload, "vector": [0.0]}));
    client
        .send(client.request(Method::PATCH, &format!("{path}/{encoded}/payload")).json(&json!({"a": 1})))
        .await
        .expect(200);
    let whole = client.request(Method::PATCH, &format!("{path}/{encoded}/payload")).json(&payload);
    client.send(whole).await.expect(200);
    for limit in [1, 1_000] {
        client.get(&format!("{path}?limit={limit}")).await.expect(200);
        client
            .post(&format!("/collections/{longest}/search"), &json!({"vector": [1], "limit": limit}))
            .await
            .expect(200);
    }
    let numbers: Vec<f32> = (0..16_384_u16).map(f32::from).collect();
    client
        .put("/collections/wide/vectors", &json!({"vectors": [{"id": "w", "vector": numbers}]}))
        .await
        .expect(200);
    let found = client.get("/collections/wide/vectors/w?with_vector=true").await.expect(200);
    assert_eq!(found["vector"], json!(numbers));
    let deep = (0..31).fold(json!({}), |inner, _| json!({"a": inner}));
    let body = json!({"vectors": [{"id": "deep", "vector": [0], "payload": deep}]});
    client.put(&path, &body).await.expect(200);
    let searches = vec![json!({"vector": [1]}); 100];
    client
        .post(&format!("/collections/{longest}/search/batch"), &json!({"searches": searches}))
        .await
        .expect(200);
    let key = "k".repeat(255);
    let request = client.request(Method::DELETE, &format!("{path}/deep")).header("idempotency-key", key);
    client.send(request).await.expect(200);
    let huge = u64::MAX.to_string();
    let records = client.log("").await.len();
    assert!(records > 5);
    assert_eq!(client.log(&format!("?to={huge}")).await.len(), records);
    assert_eq!(client.log(&format!("?from=0&to={huge}&limit={huge}")).await.len(), records);
    assert_eq!(client.log(&format!("?from={huge}")).await.len(), 0);
}
