//! Requests: their bodies, the ends of their paths and their queries.

use axum::http::StatusCode;

use super::pieces::{joined, pieces};
use super::server::{answer, request};

/// Where requests go, and with which method.
const DOORS: [(&str, &str); 15] = [
    ("POST", "/api/v1/collections"),
    ("PUT", "/api/v1/collections/points/vectors"),
    ("PUT", "/api/v1/collections/texts/vectors"),
    ("POST", "/api/v1/collections/points/search"),
    ("POST", "/api/v1/collections/texts/search"),
    ("POST", "/api/v1/collections/points/search/batch"),
    ("POST", "/api/v1/collections/points/count"),
    ("POST", "/api/v1/collections/points/vectors/delete"),
    ("PATCH", "/api/v1/collections/points/vectors/a/payload"),
    ("GET", "/api/v1/collections/points/vectors"),
    ("GET", "/api/v1/log"),
    ("GET", "/api/v1/collections"),
    ("GET", "/api/v1/"),
    ("DELETE", "/api/v1/collections/"),
    ("POST", "/api/v1/cluster/keys/validate"),
];

/// Which door, what follows its path, and the body. Every refusal says what is wrong.
pub(super) fn run(bytes: &[u8]) {
    let mut pieces = pieces(bytes);
    let Some([door, ..]) = pieces.next() else { return };
    let (method, path) = DOORS[usize::from(*door) % DOORS.len()];
    let Ok(end) = std::str::from_utf8(pieces.next().unwrap_or_default()) else { return };
    // These answers go on until the server ends.
    if end.contains("follow") || (path.ends_with("/log") && end.contains('%')) {
        return;
    }
    let Some(request) = request(method, &format!("{path}{end}"), pieces.next().unwrap_or_default()) else {
        return;
    };
    let (status, body) = answer(request);
    if status.is_client_error() && status != StatusCode::NOT_FOUND {
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("a problem is JSON");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let vectors = r#"{"vectors": [{"id": "c", "vector": [1.5, -2, 1e3], "payload": {"k": [1, {"l": null}]}}, {"id": "d", "vector": "AACAPwAAAEAAAEBA"}]}"#;
    let documents = r#"{"vectors": [{"id": "c", "vector": [1.5, -2], "text": "green hills"}, {"id": "a", "vector": [0, 1]}]}"#;
    let search = r#"{"vector": [1, 2, 3], "limit": 3, "filter": {"must": [{"key": "n", "match": {"value": 1}}]}, "score_threshold": 0.1, "with_payload": true, "with_vector": true, "exact": false, "ef": 5}"#;
    let texts = r#"{"text": "blue", "vector": [1, 0], "limit": 2}"#;
    let batch = r#"{"searches": [{"vector": [1, 2, 3], "limit": 3}, {"vector": [1, 2, 3], "limit": 1}]}"#;
    [
        (0, "", r#"{"name": "more", "dimension": 4, "metric": "euclidean", "index": {"m": 8, "ef_construction": 20, "ef": 30}}"#),
        (0, "", r#"{"name": "words", "text": true}"#),
        (1, "", vectors),
        (2, "", documents),
        (3, "", search),
        (4, "", texts),
        (5, "", batch),
        (6, "", r#"{"filter": {"must_not": {"is_empty": {"key": "n"}}}}"#),
        (7, "", r#"{"ids": ["a", "zz"]}"#),
        (7, "", r#"{"filter": {"should": [{"key": "n", "range": {"gt": 0}}]}}"#),
        (8, "", r#"{"n": null, "more": {"deep": [1, 2]}}"#),
        (9, "?limit=1&cursor=a&with_vector=true", ""),
        (9, "/a?with_payload=false", ""),
        (10, "?from=1&to=5&format=csv&with_payload=false&since=2020-01-01T00:00:00Z", ""),
        (10, "/head", ""),
        (11, "/points", ""),
        (12, "openapi.json", ""),
        (13, "more", ""),
        (14, "", r#"{"key": "hh_live_"}"#),
    ]
    .into_iter()
    .map(|(door, end, body)| joined([&[door][..], end.as_bytes(), body.as_bytes()]))
    .collect()
}
