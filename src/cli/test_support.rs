//! Support for the tests of commands: a tenant's folder, a server with its log, and captured output.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vectorizer_durable::copy_tree;
use vectorizer_log::{
    Actor, CollectionId, Draft, Error, Event, ExportDetail, ExportFormat, ExportRange, Head, IndexParameters,
    LogReader, Metric, Payload, Point, PointId, RangePosition, Seq, StoredRecord, TenantFolder, TenantId,
    TenantLog, Timestamp, Vector, Via, write_line,
};

use super::{Arguments, Exit, Streams, run};

pub(super) const KEY: &str = "hh_live_stage_key";

/// The exit code and the output of a command.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) exit: Exit,
    pub(super) output: String,
    pub(super) remarks: String,
}

/// Runs a command line.
pub(super) async fn vectorizer(arguments: &[&str]) -> Outcome {
    let (output, remarks) = (CapturedStream::default(), CapturedStream::default());
    let exit = vectorizer_with(arguments, Streams::new(output.clone(), remarks.clone())).await;
    Outcome { exit, output: output.text(), remarks: remarks.text() }
}

pub(super) async fn vectorizer_with(arguments: &[&str], streams: Streams) -> Exit {
    let line = std::iter::once("vectorizer").chain(arguments.iter().copied());
    run(Arguments::try_parse_from(line).unwrap(), streams).await
}

/// A stream that captures what is written to it.
#[derive(Clone, Debug, Default)]
pub(super) struct CapturedStream(Arc<Mutex<Vec<u8>>>);

impl CapturedStream {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for CapturedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A data folder with the log of `acme`.
pub(super) struct Fixture {
    data: TempDir,
    folder: TenantFolder,
}

impl Fixture {
    /// A closed log with these events.
    pub(super) fn with(events: Vec<Event>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = TenantFolder::new(data.path(), &tenant());
        folder.create().unwrap();
        let fixture = Self { data, folder };
        commit(&mut fixture.log(), events);
        fixture
    }

    /// A log with a collection and `count` upserts.
    pub(super) fn of_upserts(count: u32) -> Self {
        Self::with(std::iter::once(created()).chain((0..count).map(upserted)).collect())
    }

    /// A log whose head is at record 5 but whose last two records are lost.
    pub(super) fn truncated() -> Self {
        let short = Self::of_upserts(2);
        let copy = tempfile::tempdir().unwrap();
        copy_tree(short.data.path(), copy.path()).unwrap();
        commit(&mut short.log(), (2..4).map(upserted));
        fs::copy(short.folder.path().join("head"), copy.path().join("acme/head")).unwrap();
        Self { folder: TenantFolder::new(copy.path(), &tenant()), data: copy }
    }

    /// A log whose head is at record 3 and that has five records.
    pub(super) fn beyond_its_head() -> Self {
        let fixture = Self::of_upserts(2);
        let head = fs::read(fixture.folder.path().join("head")).unwrap();
        commit(&mut fixture.log(), (2..4).map(upserted));
        fs::write(fixture.folder.path().join("head"), head).unwrap();
        fixture
    }

    /// The log, opened for writing as a server does.
    pub(super) fn log(&self) -> TenantLog {
        self.folder.open().unwrap().recover(|_| Ok::<_, Error>(())).unwrap().log
    }

    /// Runs a command on this folder.
    pub(super) async fn run(&self, command: &[&str], options: &[&str]) -> Outcome {
        let place = ["--data-dir", self.data.path().to_str().unwrap(), "--tenant", "acme"];
        vectorizer(&[command, &place, options].concat()).await
    }

    pub(super) fn data(&self) -> &Path {
        self.data.path()
    }
}

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

pub(super) fn created() -> Event {
    Event::CollectionCreated {
        name: "words".parse().unwrap(),
        dimension: 3.try_into().unwrap(),
        metric: Metric::Dot,
        index: IndexParameters::default(),
    }
}

pub(super) fn upserted(number: u32) -> Event {
    let point = Point {
        id: PointId::text(format!("point-{number}")).unwrap(),
        vector: Vector::dense(vec![1.0, 2.5, -3.0]).unwrap(),
        payload: Some(Payload::new(format!("{{\"number\": {number}}}")).unwrap()),
    };
    Event::VectorsUpserted { collection: CollectionId::created_at(Seq::OLDEST), points: vec![point] }
}

pub(super) fn commit(log: &mut TenantLog, events: impl IntoIterator<Item = Event>) {
    commit_at(log, Timestamp::from_micros(1_767_323_045_000_000), events);
}

pub(super) fn commit_at(log: &mut TenantLog, now: Timestamp, events: impl IntoIterator<Item = Event>) {
    let mut commit = log.begin().unwrap();
    for event in events {
        let actor = Actor { key_id: Some("k1".to_owned()), via: Via::Rest };
        let draft = Draft { actor, request_id: "request-1".to_owned(), idempotency: None, event };
        commit.stage(draft, now).unwrap();
    }
    commit.commit().unwrap();
}

/// A server that has a log open. A test can alter its answers.
#[derive(Clone)]
pub(super) struct Server {
    reader: LogReader,
    /// The most records of one answer.
    pub(super) answer_max: usize,
    /// Alters the records of an answer.
    pub(super) alter_records: fn(Vec<StoredRecord>) -> Vec<StoredRecord>,
    /// Alters the head.
    pub(super) alter_head: fn(Head) -> Head,
    /// The number of records after which the server ends a stream that follows the log.
    pub(super) followed_max: usize,
}

impl Server {
    pub(super) fn of(log: &TenantLog) -> Self {
        Self {
            reader: log.reader(),
            answer_max: usize::MAX,
            alter_records: |records| records,
            alter_head: |head| head,
            followed_max: usize::MAX,
        }
    }

    /// Starts the server. Returns its address.
    pub(super) async fn start(self) -> String {
        let router = Router::new()
            .route("/api/v1/log", get(log))
            .route("/api/v1/log/head", get(head))
            .route("/api/v1/cluster/usage", get(usage))
            .with_state(self);
        serve(router).await
    }
}

pub(super) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Runs a command on the log of a running server.
pub(super) async fn run_on_server(url: &str, command: &[&str], options: &[&str]) -> Outcome {
    vectorizer(&[command, &["--url", url, "--key", KEY], options].concat()).await
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the query has these parameters")]
struct LogParameters {
    from: Option<Seq>,
    to: Option<Seq>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    format: Option<String>,
    with_payload: bool,
    with_vector: bool,
    with_stored: bool,
    #[serde(default)]
    follow: bool,
}

async fn head(State(server): State<Server>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let Head { seq, chain } = (server.alter_head)(server.reader.head());
    axum::Json(json!({"seq": seq, "chain": chain.to_string(), "data_seq": seq})).into_response()
}

async fn usage(headers: HeaderMap) -> Response {
    refusal(&headers).unwrap_or_else(|| axum::Json(json!({"tenant": "acme"})).into_response())
}

async fn log(
    State(server): State<Server>,
    headers: HeaderMap,
    Query(parameters): Query<LogParameters>,
) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let detail = ExportDetail {
        payload: parameters.with_payload,
        vector: parameters.with_vector,
        stored: parameters.with_stored,
    };
    let from = parameters.from.unwrap_or(Seq::OLDEST);
    let mut format = ExportFormat::default();
    let body = if parameters.follow {
        let followed = stream::unfold((from, 0), move |(next, sent)| {
            let server = server.clone();
            async move {
                if sent == server.followed_max {
                    return None;
                }
                loop {
                    if let Some(stored) = server.reader.read(next, 1, 0).unwrap().pop() {
                        let mut line = Vec::new();
                        write_line(&mut line, &stored, detail);
                        return Some((Ok::<_, io::Error>(line), (next.next(), sent + 1)));
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        });
        Body::from_stream(followed)
    } else {
        let records_max = parameters.limit.unwrap_or(usize::MAX).min(server.answer_max);
        let moment = |text: Option<&String>| text.map(|text| text.parse().unwrap());
        let range = ExportRange {
            from: Some(from),
            to: parameters.to,
            since: moment(parameters.since.as_ref()),
            until: moment(parameters.until.as_ref()),
        };
        let mut records = server.reader.read(from, usize::MAX, usize::MAX).unwrap();
        records.retain(|stored| range.place(stored.record.seq, stored.record.at) == RangePosition::Within);
        records.truncate(records_max);
        format = match parameters.format.as_deref() {
            Some("csv") => ExportFormat::Csv,
            Some(_) | None => ExportFormat::Ndjson,
        };
        let mut lines = Vec::new();
        format.begin(&mut lines);
        for stored in (server.alter_records)(records) {
            format.write(&mut lines, &stored, detail);
        }
        // Split at arbitrary positions: lines end at line feeds, not at the ends of chunks.
        let pieces: Vec<_> = lines.chunks(100).map(|piece| Ok::<_, io::Error>(piece.to_vec())).collect();
        Body::from_stream(stream::iter(pieces))
    };
    ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
}

fn refusal(headers: &HeaderMap) -> Option<Response> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown == Some(&format!("Bearer {KEY}")) {
        return None;
    }
    let problem = json!({
        "title": "Unauthorized",
        "detail": "the key is unknown\u{1b}[2J",
        "request_id": "request-7",
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    Some((StatusCode::UNAUTHORIZED, kind, problem.to_string()).into_response())
}
