//! What a server asks is what the contract says.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use vectorizer_access::KeyHash;
use vectorizer_hivehub::{HiveHubClient, PoliciesQuery, PolicyNews, QuotaVerdict, UsageOutcome, Verdict};

use super::contract::assert_asks_as_promised;
use super::stage::{event, lines, serve_router};
use crate::demo::Demo;
use crate::router;

type Asked = Arc<Mutex<Vec<(String, String, Option<String>, Bytes)>>>;

async fn note(State(asked): State<Asked>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let service_key = head.headers.get("x-service-key").map(|key| key.to_str().unwrap().to_owned());
    asked.lock().unwrap().push((head.method.to_string(), head.uri.to_string(), service_key, body.clone()));
    next.run(Request::from_parts(head, Body::from(body))).await
}

#[tokio::test]
async fn every_call_of_a_server_is_in_the_contract_with_its_parameters_and_its_body() {
    let folder = tempfile::tempdir().unwrap();
    let Demo { hub, keys } = Demo::open(folder.path()).unwrap();
    let keys = keys.unwrap();
    let asked = Asked::default();
    let url = serve_router(router(hub.clone()).layer(from_fn_with_state(Arc::clone(&asked), note)));
    let client = HiveHubClient::new(&url.parse().unwrap(), &keys.hivehub_api_key).unwrap();

    let known = client.validate(&KeyHash::of(keys.operator.expose())).await.unwrap();
    assert!(matches!(known.verdict, Verdict::Valid(_)));
    assert!(matches!(client.validate(&KeyHash::of("nobody's")).await.unwrap().verdict, Verdict::Refused(_)));
    let acme = "acme".parse().unwrap();
    assert!(matches!(client.quota(&acme).await.unwrap(), QuotaVerdict::Quota(_)));
    let PolicyNews::Answer(now) = client.policies(&PoliciesQuery::default()).await.unwrap() else { panic!() };
    let since = PoliciesQuery { since: Some(now.cursor), wait: 1 };
    assert!(matches!(client.policies(&since).await.unwrap(), PolicyNews::Answer(_)));
    let report = lines([event("searches", 1, 5), event("vectors_upserted", 2, 7)]);
    let report = futures_util::stream::iter([Bytes::from(report)]);
    let mut receipts = client.report_usage(report).await.unwrap();
    while let Some(receipt) = receipts.next().await.unwrap() {
        assert_eq!(receipt.outcome.known(), Some(UsageOutcome::Accepted));
    }

    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 6);
    for (method, path, service_key, body) in &*asked {
        assert_eq!(service_key.as_deref(), Some(keys.hivehub_api_key.expose()), "{method} {path}");
        let text = std::str::from_utf8(body).unwrap();
        if text.is_empty() {
            assert_asks_as_promised(method, path, None);
        }
        for line in text.lines() {
            let body: Value = serde_json::from_str(line).unwrap();
            assert_asks_as_promised(method, path, Some(&body));
        }
    }
}
