//! The tenant's own audit log.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vectorizer_engine::admission::{Admin, Read};
use vectorizer_hivehub::rfc3339;
use vectorizer_log::{ExportDetail, ExportFormat, ExportRange, Seq, Timestamp};
use vectorizer_service::{LogRequest, Readmission};

use super::answer::json;
use super::body::Parameters;
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::{App, openapi};

/// The parameters of reading the log.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogParameters {
    /// The first seq; by default 1.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    from: Option<u64>,
    /// The last seq; by default the end of the log.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    to: Option<u64>,
    /// Return records of this time or later, in RFC 3339.
    #[serde(default, with = "rfc3339")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Return records before this time, in RFC 3339.
    #[serde(default, with = "rfc3339")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The largest number of records.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    limit: Option<u64>,
    /// The format of the records: by default `ndjson`, one JSON object per line. `csv` is a table with the columns
    /// seq, at, event, collection (its id), `key_id`, via, `request_id`, count and details (the event as JSON). Texts
    /// are not escaped for spreadsheets, which may take a text that begins with = + - or @ for a formula.
    #[param(inline)]
    format: Option<LogFormat>,
    /// Keep the connection open and return new records as they are written.
    follow: Option<bool>,
    /// Include payloads; by default true.
    with_payload: Option<bool>,
    /// Include vectors, as base64 of little-endian f32; by default false.
    with_vector: Option<bool>,
    /// Include each record's stored bytes as base64, which verify the chain and can be replayed. Needs `ndjson`.
    with_stored: Option<bool>,
}

/// The format of the records.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    /// One JSON object per line.
    Ndjson,
    /// A table.
    Csv,
}

impl From<LogFormat> for ExportFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Ndjson => Self::Ndjson,
            LogFormat::Csv => Self::Csv,
        }
    }
}

/// The end of a log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeadAnswer {
    /// The seq of the last record.
    seq: u64,
    /// The hash of all records up to it, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    chain: String,
    /// The seq of the last record that changed data.
    data_seq: u64,
}

/// Read the end of the log.
#[utoipa::path(get, path = "/api/v1/log/head", operation_id = "read_log_head",
    responses((status = 200, body = HeadAnswer)))]
pub(super) async fn head(State(app): State<App>, Granted(tenant): Granted<Read>) -> Response {
    let (head, data_seq) = app.service().log_head(&tenant);
    let body = HeadAnswer { seq: head.seq.get(), chain: head.chain.to_string(), data_seq: data_seq.get() };
    json(StatusCode::OK, &body)
}

/// Read the audit log, one line per record: which key did what, when, in which request.
#[utoipa::path(get, path = "/api/v1/log", operation_id = "read_log", params(LogParameters), responses(
    (status = 200, content((openapi::LogRecord = "application/x-ndjson"), (String = "text/csv"))),
    (status = 503, description = "Too many requests read or follow this log, or the server is busy."),
))]
pub(super) async fn read(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    readmission: Readmission,
    Parameters(parameters): Parameters<LogParameters>,
) -> Result<Response, Problem> {
    let format: ExportFormat = parameters.format.map(Into::into).unwrap_or_default();
    let shown = ExportDetail::default();
    let request = LogRequest {
        range: ExportRange {
            from: parameters.from.map(Seq::new),
            to: parameters.to.map(Seq::new),
            since: parameters.since,
            until: parameters.until,
        },
        limit: parameters.limit,
        follow: parameters.follow.unwrap_or(false),
        format,
        detail: ExportDetail {
            payload: parameters.with_payload.unwrap_or(shown.payload),
            vector: parameters.with_vector.unwrap_or(shown.vector),
            stored: parameters.with_stored.unwrap_or(shown.stored),
        },
    };
    let stream = app.service().read_log(&tenant, request, readmission).await?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], Body::from_stream(stream)).into_response())
}
