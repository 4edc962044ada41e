//! What reporting promises, against servers that misbehave.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use tokio::net::TcpListener;
use vectorizer_access::Secret;

use super::client::HiveHubClient;
use super::error::{Garbage, HubError};
use super::models::{Extensible, UsageOutcome, UsageReceipt};

/// A client of a server that answers every report like this.
async fn client(answer: fn(HeaderMap, Bytes) -> Response) -> HiveHubClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router =
        Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move { answer(headers, body) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    HiveHubClient::new(&url.parse().unwrap(), &Secret::new("k")).unwrap()
}

fn lines() -> impl stream::Stream<Item = Bytes> + Send + 'static {
    stream::iter(["one\n", "two\n", "three\n"].map(Bytes::from))
}

async fn receipts(client: &HiveHubClient) -> Result<Vec<UsageReceipt>, HubError> {
    let mut answer = client.report_usage(lines()).await?;
    let mut receipts = Vec::new();
    while let Some(receipt) = answer.next().await? {
        receipts.push(receipt);
    }
    Ok(receipts)
}

#[tokio::test]
async fn every_line_is_answered_however_the_answer_is_cut_up() {
    let client = client(|headers, body| {
        assert_eq!((&headers["content-type"], &*body), (&"application/x-ndjson".parse().unwrap(), &b"one\ntwo\nthree\n"[..]));
        let answer = "{\"id\":\"one\",\"outcome\":\"accepted\"}\n\n{\"id\":\"two\",\"outcome\":\"duplicate\"}\r\n\
                      {\"id\":\"three\",\"outcome\":\"rejected\",\"reason\":\"no such tenant\"}";
        let pieces: Vec<_> = answer.as_bytes().chunks(7).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        Body::from_stream(stream::iter(pieces)).into_response()
    })
    .await;
    let receipts = receipts(&client).await.unwrap();
    let outcomes: Vec<_> = receipts.iter().map(|receipt| (&*receipt.id, receipt.outcome.clone())).collect();
    let expected = [
        ("one", Extensible::Known(UsageOutcome::Accepted)),
        ("two", Extensible::Known(UsageOutcome::Duplicate)),
        ("three", Extensible::Known(UsageOutcome::Rejected)),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(receipts[2].reason.as_deref(), Some("no such tenant"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_end() {
    let client = client(|_, _| {
        let pieces = stream::iter([Some("{\"id\":\"one\",\"outcome\":\"accepted\"}\n"), None]);
        let pieces = pieces.then(|piece| async move {
            if piece.is_none() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            piece.ok_or(std::io::Error::other("broken"))
        });
        Body::from_stream(pieces).into_response()
    })
    .await;
    let mut answer = client.report_usage(lines()).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap().id, "one");
    assert!(matches!(answer.next().await, Err(HubError::Unreachable(_))));
}

#[tokio::test]
async fn a_line_without_end_is_not_read_to_its_end() {
    for newline in ["", "\n"] {
        let client = client(if newline.is_empty() {
            |_, _| "x".repeat(1 << 20).into_response()
        } else {
            |_, _| format!("{}\n", "x".repeat(1 << 20)).into_response()
        })
        .await;
        let error = receipts(&client).await.unwrap_err();
        assert!(matches!(error, HubError::Garbage(Garbage::TooLong(_))), "{error}");
    }
}

#[tokio::test]
async fn a_line_that_is_no_receipt_is_an_error_that_repeats_nothing() {
    let client =
        client(|_, _| "{\"id\":\"one\",\"outcome\":\"accepted\"}\ntops3cret\n".into_response()).await;
    let mut answer = client.report_usage(lines()).await.unwrap();
    answer.next().await.unwrap();
    let error = answer.next().await.unwrap_err();
    assert!(matches!(error, HubError::Garbage(Garbage::Json { line: 2, .. })), "{error:?}");
    assert!(!format!("{error:?}").contains("tops3cret"));
}

#[tokio::test]
async fn a_report_that_is_not_taken_is_an_error() {
    let busy = client(|_, _| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "9")]).into_response()).await;
    let error = receipts(&busy).await.unwrap_err();
    assert!(error.is_retryable() && error.retry_after().is_some());
    assert!(
        matches!(receipts(&busy).await, Err(HubError::LeftAlone { .. })),
        "and is not sent again too soon"
    );
    let absent = client(|_, _| StatusCode::NOT_FOUND.into_response()).await;
    assert!(matches!(receipts(&absent).await, Err(HubError::Garbage(Garbage::Status(404)))));
}
