//! The tenant's own audit log.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, error};
use utoipa::{IntoParams, ToSchema};
use vectorizer_log::{ExportDetail, LogReader, Seq, write_line};

use super::body::Parameters;
use super::middleware::auth::{Granted, Readmission};
use super::problem::{Problem, ProblemBody};
use super::{App, json};
use crate::auth::{Admin, Read};

/// How much is read from the log at once.
const SLICE_RECORDS_MAX: usize = 256;
const SLICE_BYTES_MAX: usize = 1 << 20;

/// How often somebody who follows is asked for the right to.
const READMISSION_INTERVAL: Duration = Duration::from_millis(500);

/// Which records to show, and how much of each.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogParameters {
    /// The first seq; 1 unless said otherwise.
    from: Option<u64>,
    /// The last seq.
    to: Option<u64>,
    /// The most records.
    limit: Option<u64>,
    /// Go on with what is written from now on.
    follow: Option<bool>,
    /// Show payloads; true unless said otherwise.
    with_payload: Option<bool>,
    /// Show vectors, as base64 of little-endian f32; false unless said otherwise.
    with_vector: Option<bool>,
    /// Show each record's stored bytes as base64: enough to verify the chain and to replay.
    with_stored: Option<bool>,
}

/// Where a log ends.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeadAnswer {
    /// Its last record.
    seq: u64,
    /// The hash of everything up to it, in hexadecimal.
    chain: String,
    /// The last record that changed data.
    data_seq: u64,
}

/// Read where the log ends.
#[utoipa::path(get, path = "/api/v1/log/head", operation_id = "read_log_head",
    responses((status = 200, body = HeadAnswer)))]
pub(super) async fn head(Granted(tenant): Granted<Read>) -> Response {
    let (head, data_seq) = tenant.head();
    let body = HeadAnswer { seq: head.seq.get(), chain: head.chain.to_string(), data_seq: data_seq.get() };
    json(StatusCode::OK, &body)
}

/// Read the audit log: one JSON object a line, who did what, when, in which request.
#[utoipa::path(get, path = "/api/v1/log", operation_id = "read_log", params(LogParameters), responses(
    (status = 200, content_type = "application/x-ndjson", body = String),
    (status = 400, body = ProblemBody),
    (status = 503, body = ProblemBody, description = "Too many follow the log"),
))]
pub(super) async fn read(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    readmission: Readmission,
    Parameters(parameters): Parameters<LogParameters>,
) -> Result<Response, Problem> {
    let follow = parameters.follow.unwrap_or(false);
    let place = match follow.then(|| tenant.follower()) {
        Some(None) => return Err(Problem::unavailable("too-many-followers", "too many follow this log", 5)),
        Some(Some(place)) => Some(place),
        None => None,
    };
    let mut feed = Feed::new(tenant.log().clone(), parameters);
    let mut published = tenant.follow();
    let stop = app.shared.ending.clone();
    // One slice is read while another is sent, and no more.
    let (send, receive) = mpsc::channel(1);
    let copy = async move {
        let _place = place;
        loop {
            published.borrow_and_update();
            if feed.send_all(&send).await.is_break() || !follow {
                return;
            }
            // Up to date. Until something new is published, see to it that the caller is still
            // welcome and there.
            loop {
                tokio::select! {
                    changed = published.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = send.closed() => return,
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(READMISSION_INTERVAL) => {}
                }
                if !readmission.is_granted().await {
                    return;
                }
            }
            if !readmission.is_granted().await {
                return;
            }
        }
    };
    tokio::spawn(copy.in_current_span());
    let body = Body::from_stream(ReceiverStream::new(receive));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// What is still to be sent of a log.
struct Feed {
    log: LogReader,
    next: Seq,
    last: Option<Seq>,
    left: Option<u64>,
    detail: ExportDetail,
}

/// A stream that breaks off, so that the client cannot take it for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the log could not be read to its end")]
struct Broken;

type Slice = Result<Bytes, Broken>;

impl Feed {
    fn new(log: LogReader, parameters: LogParameters) -> Self {
        let shown = ExportDetail::default();
        Self {
            log,
            next: Seq::new(parameters.from.unwrap_or(1)).max(Seq::OLDEST),
            last: parameters.to.map(Seq::new),
            left: parameters.limit,
            detail: ExportDetail {
                payload: parameters.with_payload.unwrap_or(shown.payload),
                vector: parameters.with_vector.unwrap_or(shown.vector),
                stored: parameters.with_stored.unwrap_or(shown.stored),
            },
        }
    }

    /// Sends everything up to the head. Breaks when there is or can be nothing more.
    async fn send_all(&mut self, send: &mpsc::Sender<Slice>) -> std::ops::ControlFlow<()> {
        loop {
            let records_max = self.records_max();
            if records_max == 0 {
                return std::ops::ControlFlow::Break(());
            }
            if self.next > self.log.head().seq {
                return std::ops::ControlFlow::Continue(());
            }
            let (log, next, detail) = (self.log.clone(), self.next, self.detail);
            let read = move || {
                let records = log.read(next, records_max, SLICE_BYTES_MAX)?;
                let mut lines = Vec::new();
                for record in &records {
                    write_line(&mut lines, record, detail);
                }
                Ok::<_, vectorizer_log::Error>((records.len() as u64, Bytes::from(lines)))
            };
            let slice = match tokio::task::spawn_blocking(read).await {
                Ok(Ok((records, lines))) => {
                    self.next = Seq::new(self.next.get() + records);
                    self.left = self.left.map(|left| left - records);
                    Ok(lines)
                }
                Ok(Err(error)) => {
                    error!(%error, "the audit log could not be read");
                    Err(Broken)
                }
                Err(_) => Err(Broken),
            };
            let broken = slice.is_err();
            if send.send(slice).await.is_err() || broken {
                return std::ops::ControlFlow::Break(());
            }
        }
    }

    /// How many records the next slice may have.
    fn records_max(&self) -> usize {
        let through_last =
            self.last.map_or(u64::MAX, |last| last.get().saturating_add(1).saturating_sub(self.next.get()));
        let left = self.left.unwrap_or(u64::MAX).min(through_last);
        usize::try_from(left).unwrap_or(usize::MAX).min(SLICE_RECORDS_MAX)
    }
}
