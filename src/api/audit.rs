//! The tenant's own audit log.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use utoipa::{IntoParams, ToSchema};
use vectorizer_log::{ExportDetail, Seq};

use super::App;
use super::answer::json;
use super::body::Parameters;
use super::feed::{Feed, channel};
use super::middleware::auth::{Granted, Readmission};
use super::problem::{Problem, ProblemBody};
use crate::auth::{Admin, Read};

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
    (status = 503, body = ProblemBody, description = "Too many read the log"),
))]
pub(super) async fn read(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    readmission: Readmission,
    Parameters(parameters): Parameters<LogParameters>,
) -> Result<Response, Problem> {
    let follow = parameters.follow.unwrap_or(false);
    let (place, code, doing) = if follow {
        (tenant.follower(), "too-many-followers", "follow")
    } else {
        (tenant.log_reader(), "too-many-readers", "read")
    };
    let Some(place) = place else {
        return Err(Problem::unavailable(code, format!("too many {doing} this log at the moment"), 5));
    };
    let shown = ExportDetail::default();
    let feed = Feed {
        log: tenant.log().clone(),
        published: tenant.published(),
        readmission,
        stop: app.shared.ending.clone(),
        _place: place,
        next: Seq::new(parameters.from.unwrap_or(1)).max(Seq::OLDEST),
        last: parameters.to.map(Seq::new),
        left: parameters.limit,
        follow,
        detail: ExportDetail {
            payload: parameters.with_payload.unwrap_or(shown.payload),
            vector: parameters.with_vector.unwrap_or(shown.vector),
            stored: parameters.with_stored.unwrap_or(shown.stored),
        },
    };
    let (outlet, stream) = channel();
    tokio::spawn(feed.run(outlet).in_current_span());
    let body = Body::from_stream(stream);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}
