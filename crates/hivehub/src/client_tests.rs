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
use vectorizer_access::{KeyHash, Secret};
use vectorizer_testing::Stopwatch;

use super::client::{HiveHubClient, QuotaVerdict};
use super::clock::Clock;
use super::clock::ManualClock;
use super::error::{Garbage, HubError};
use super::feed::PolicyNews;
use super::models::{PoliciesQuery, QuotaAnswer, QuotaNumbers, Refusal, Verdict};
use super::observer::{Call, CallObserver, CallOutcome};

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
        self.client.validate(&KeyHash::of("a key")).await.map(|judgement| judgement.verdict)
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
async fn a_stumble_is_asked_about_twice_more() {
    let stumbling = script(&[broken, no]).await;
    assert!(stumbling.ask().await.is_ok());
    let broken = script(&[broken]).await;
    let error = broken.ask().await.unwrap_err();
    assert!(matches!(error, HubError::Failing { status: 502, retry_after: None }) && error.is_retryable());
    assert_eq!((stumbling.calls(), broken.calls()), (2, 3));
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
    assert_eq!(dated.calls(), 3, "the time is over");
    let endless =
        script(&[|| (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "99999999")]).into_response()]);
    assert_eq!(endless.await.ask().await.unwrap_err().retry_after(), Some(Duration::from_hours(1)));
}

#[tokio::test]
async fn a_moment_that_is_asked_for_is_waited_for() {
    let start = Instant::now();
    let busy = script(&[|| (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response(), no]);
    let busy = busy.await;
    assert!(busy.ask().await.is_ok());
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(busy.calls(), 2);
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            // Closed with the question unread: a reset.
            let (stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
        }
        let router = Router::new().fallback(|| async { no() });
        axum::serve(listener, router).await.unwrap();
    });
    let client = HiveHubClient::new(&url.parse().unwrap(), &Secret::new("k")).unwrap();
    assert!(client.validate(&KeyHash::of("a key")).await.is_ok());
    server.abort();
}

#[tokio::test]
async fn a_hub_that_fails_is_left_alone_and_then_found_again() {
    let (mut script, clock) =
        (script(&[broken, broken, broken, broken, broken, no]).await, Arc::new(ManualClock::default()));
    script.client = script.client.on_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    assert!(matches!(script.ask().await, Err(HubError::Failing { .. })));
    assert!(matches!(script.ask().await, Err(HubError::Failing { .. })));
    let mut took = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        let Err(HubError::LeftAlone { retry_after }) = script.ask().await else { panic!("it was asked") };
        took.push(start.elapsed());
        assert!(retry_after <= Duration::from_secs(1));
    }
    // However long the machine may have stood still in one of them.
    took.sort_unstable();
    assert!(took[50] < Duration::from_millis(2), "{took:?}");
    assert_eq!(script.calls(), 5);
    let quota = script.client.quota(&"acme".parse().unwrap()).await;
    assert!(matches!(quota, Err(HubError::LeftAlone { .. })), "every call knows");
    clock.pass(1);
    assert!(script.ask().await.is_ok());
}

fn quota_of_five() -> serde_json::Value {
    json!({
        "storage_bytes": 5, "log_bytes": null, "vectors": null, "collections": null,
        "requests_per_minute": null, "requests_per_hour": null,
    })
}

#[tokio::test]
async fn a_quota_is_asked_for_by_its_tenant() {
    let script = script(&[
        || axum::Json(quota_of_five()).into_response(),
        || {
            (StatusCode::NOT_FOUND, axum::Json(json!({"error": "unknown_tenant", "details": ""})))
                .into_response()
        },
        || (StatusCode::NOT_FOUND, axum::Json(json!({"error": "not_found", "details": ""}))).into_response(),
        || {
            let mut wrong = quota_of_five();
            wrong["policy_cursor"] = json!("5");
            axum::Json(wrong).into_response()
        },
    ])
    .await;
    let acme = "acme".parse().unwrap();
    let numbers = QuotaNumbers { storage_bytes: Some(5), ..QuotaNumbers::default() };
    let quota = QuotaAnswer { numbers, ..QuotaAnswer::default() };
    assert_eq!(script.client.quota(&acme).await.unwrap(), QuotaVerdict::Quota(quota));
    assert_eq!(script.client.quota(&acme).await.unwrap(), QuotaVerdict::NoSuchTenant);
    let absent = script.client.quota(&acme).await;
    assert!(matches!(absent, Err(HubError::Garbage(Garbage::Status(404)))), "no such call is no such tenant");
    assert!(matches!(script.client.quota(&acme).await, Err(HubError::Garbage(_))), "not a cursor");
    let request = script.seen.lock().unwrap().remove(0);
    assert_eq!(
        (request.method().as_str(), request.uri().path()),
        ("GET", "/a/path/api/internal/vectorizer/tenants/acme/quota")
    );
}

#[tokio::test]
async fn policies_are_asked_for_once_and_told_apart() {
    const CURSOR: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff:17";
    let script = script(&[
        || axum::Json(json!({"cursor": CURSOR, "events": []})).into_response(),
        || (StatusCode::GONE, axum::Json(json!({"error": "cursor_lost", "details": ""}))).into_response(),
        || StatusCode::NOT_FOUND.into_response(),
        || axum::Json(json!({"cursor": "17", "events": []})).into_response(),
        broken,
    ])
    .await;
    let since = CURSOR.parse().unwrap();
    let asked = PoliciesQuery { since: Some(since), wait: 25 };
    let Ok(PolicyNews::Answer(answer)) = script.client.policies(&PoliciesQuery::default()).await else {
        panic!("no answer");
    };
    assert_eq!((answer.cursor, answer.events.len()), (since, 0));
    assert_eq!(script.client.policies(&asked).await.unwrap(), PolicyNews::CursorLost);
    assert_eq!(script.client.policies(&asked).await.unwrap(), PolicyNews::NotOffered);
    assert!(matches!(script.client.policies(&asked).await, Err(HubError::Garbage(_))));
    for _ in 0..10 {
        assert!(matches!(script.client.policies(&asked).await, Err(HubError::Failing { status: 502, .. })));
    }
    assert_eq!(script.calls(), 14, "whatever failed before");
    let seen = script.seen.lock().unwrap();
    assert_eq!(seen[0].uri().query(), None);
    let query = seen[1].uri().query().unwrap();
    assert_eq!(query, "since=6f9619ff-8b86-4d01-b42d-00cf4fc964ff%3A17&wait=25");
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<(Call, CallOutcome)>>);

impl CallObserver for Notes {
    fn called(&self, call: Call, outcome: CallOutcome, _: Duration) {
        self.0.lock().unwrap().push((call, outcome));
    }
}

#[tokio::test]
async fn every_try_is_told_of() {
    let script = script(&[broken, no, || StatusCode::UNAUTHORIZED.into_response(), || "?".into_response()]);
    let script = script.await;
    let notes = Arc::new(Notes::default());
    let client = script.client.clone().observed_by(Arc::clone(&notes) as Arc<dyn CallObserver>);
    let key = KeyHash::of("a key");
    client.validate(&key).await.unwrap();
    client.quota(&"acme".parse().unwrap()).await.unwrap_err();
    client.policies(&PoliciesQuery::default()).await.unwrap_err();
    let expected = [
        (Call::Validate, CallOutcome::Failing),
        (Call::Validate, CallOutcome::Answered),
        (Call::Quota, CallOutcome::ServiceKeyRejected),
        (Call::Policies, CallOutcome::Garbage),
    ];
    assert_eq!(*notes.0.lock().unwrap(), expected);
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
async fn an_unreachable_hub_is_an_error_that_comes_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = HiveHubClient::new(&url.parse().unwrap(), &Secret::new("k")).unwrap();
    let start = Stopwatch::start();
    let error = client.validate(&KeyHash::of("a key")).await.unwrap_err();
    assert!(matches!(error, HubError::Unreachable(_)) && error.is_retryable(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_hub_that_never_answers_costs_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = HiveHubClient::new(&url.parse().unwrap(), &Secret::new("k")).unwrap();
    let start = Stopwatch::start();
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
