//! What the client promises, against servers that misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::TcpListener;

use super::client::{Garbage, HiveHubClient, HubError};
use super::models::{Refusal, Verdict};
use crate::auth::KeyHash;
use crate::config::Secret;

/// A server that gives the n-th caller the n-th answer, and the last one from then on.
struct Script {
    client: HiveHubClient,
    calls: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Request>>>,
}

type Answer = fn() -> Response;

async fn script(answers: &'static [Answer]) -> Script {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a/path/", listener.local_addr().unwrap());
    let (calls, seen) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Request>>>::default());
    let (counter, requests) = (Arc::clone(&calls), Arc::clone(&seen));
    let router = Router::new().fallback(move |request: Request| async move {
        let call = counter.fetch_add(1, Ordering::SeqCst);
        requests.lock().unwrap().push(request);
        answers[call.min(answers.len() - 1)]()
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = HiveHubClient::new(&url.parse().unwrap(), &Secret::new("tops3cret")).unwrap();
    Script { client, calls, seen }
}

impl Script {
    async fn ask(&self) -> Result<Verdict, HubError> {
        self.client.validate(&KeyHash::of("a key")).await
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn no() -> Response {
    axum::Json(json!({"valid": false, "reason": "unknown"})).into_response()
}

fn broken() -> Response {
    StatusCode::BAD_GATEWAY.into_response()
}

#[tokio::test]
async fn the_question_carries_the_service_key_and_only_the_hash() {
    let script = script(&[no]).await;
    assert_eq!(script.ask().await.unwrap(), Verdict::Refused(Refusal::Unknown));
    let request = script.seen.lock().unwrap().remove(0);
    assert_eq!(request.uri().path(), "/a/path/api/internal/access-keys/validate");
    assert_eq!(request.headers()["x-service-key"], "tops3cret");
    let shown = format!("{:?}", script.client);
    assert!(!shown.contains("tops3cret"), "{shown}");
}

#[tokio::test]
async fn a_stumble_is_asked_about_once_more() {
    let stumbling = script(&[broken, no]).await;
    assert!(stumbling.ask().await.is_ok());
    let broken = script(&[broken]).await;
    let error = broken.ask().await.unwrap_err();
    assert!(matches!(error, HubError::Failing { status: 502, retry_after: None }) && error.is_retryable());
    assert_eq!((stumbling.calls(), broken.calls()), (2, 2));
}

#[tokio::test]
async fn who_asks_for_time_gets_it() {
    let busy = script(&[|| (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "17")]).into_response()]).await;
    assert_eq!(busy.ask().await.unwrap_err().retry_after(), Some(Duration::from_secs(17)));
    let limited = script(&[|| StatusCode::TOO_MANY_REQUESTS.into_response()]).await;
    assert!(limited.ask().await.unwrap_err().is_retryable());
    assert_eq!((busy.calls(), limited.calls()), (1, 1));

    let dated: Answer = || {
        let header = [("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")];
        (StatusCode::SERVICE_UNAVAILABLE, header).into_response()
    };
    let dated = script(Box::leak(Box::new([dated]))).await;
    assert_eq!(dated.ask().await.unwrap_err().retry_after(), Some(Duration::ZERO));
    let endless =
        script(&[|| (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "99999999")]).into_response()]);
    assert_eq!(endless.await.ask().await.unwrap_err().retry_after(), Some(Duration::from_hours(1)));
}

#[tokio::test]
async fn a_no_to_the_server_is_not_a_no_to_the_caller() {
    for answer in [
        [|| StatusCode::UNAUTHORIZED.into_response()] as [Answer; 1],
        [|| StatusCode::FORBIDDEN.into_response()],
    ] {
        let script = script(Box::leak(Box::new(answer))).await;
        let error = script.ask().await.unwrap_err();
        assert!(matches!(error, HubError::ServiceKeyRejected { .. }) && !error.is_retryable(), "{error}");
        assert_eq!(script.calls(), 1);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let script = script(&[|| (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response()]);
    let script = script.await;
    let error = script.ask().await.unwrap_err();
    assert!(matches!(error, HubError::Garbage(Garbage::Status(307))), "{error}");
    assert_eq!(script.calls(), 1);
}

#[tokio::test]
async fn an_answer_outside_the_contract_is_an_error() {
    let answers: [Answer; 6] = [
        || "tops3cret".into_response(),
        || "{\"valid\": true}".into_response(),
        || format!("{{\"valid\": false, \"reason\": \"{}\"}}", "x".repeat(70_000)).into_response(),
        || StatusCode::NOT_FOUND.into_response(),
        || StatusCode::NO_CONTENT.into_response(),
        || {
            axum::Json(json!({"valid": true, "key_id": "k", "permission": "ADMIN", "scope": "tenant"}))
                .into_response()
        },
    ];
    for answer in answers {
        let script = script(Box::leak(Box::new([answer]))).await;
        let error = script.ask().await.unwrap_err();
        assert!(matches!(error, HubError::Garbage(_)) && !error.is_retryable(), "{error}");
        assert!(!format!("{error:?}").contains("tops3cret"), "what was answered is not repeated");
        assert_eq!(script.calls(), 1);
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_that_comes_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = HiveHubClient::new(&url.parse().unwrap(), &Secret::new("k")).unwrap();
    let start = Instant::now();
    let error = client.validate(&KeyHash::of("a key")).await.unwrap_err();
    assert!(matches!(error, HubError::Unreachable(_)) && error.is_retryable(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_hub_that_never_answers_costs_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = HiveHubClient::new(&url.parse().unwrap(), &Secret::new("k")).unwrap();
    let start = Instant::now();
    let error = client.validate(&KeyHash::of("a key")).await.unwrap_err();
    assert!(matches!(error, HubError::Unreachable(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    drop(listener);
}

#[test]
fn a_service_key_that_cannot_be_sent_is_an_error_that_does_not_show_it() {
    let url = "http://127.0.0.1:1".parse().unwrap();
    let error = HiveHubClient::new(&url, &Secret::new("tops3cret\n")).unwrap_err();
    assert!(!format!("{error:?}").contains("tops3cret"));
}
