//! Reading a log from the server that has it open.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::{
    ChainHash, Damage, DamageKind, ExportDetail, ExportFormat, ExportRange, ExportedLine, ExportedRecord,
    Head, LogId, Record, RemoteVerification, Seq, TenantId, Timestamp,
};

use vectorizer_replay::{BaseError, BaseFold, Projection};

use super::key_client::{KeyHeader, client};
use super::lines::{LINE_BYTES_MAX, Lines};
use super::problem::Problem;
use super::reading::Reading;
use crate::config::Secret;

/// The longest wait for a server. A sleeping tenant wakes first, which may take as long as reading its log.
const WAIT_MAX: Duration = Duration::from_mins(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The detail that verification needs: only the stored bytes.
const STORED_ONLY: ExportDetail = ExportDetail { payload: false, vector: false, stored: true };

/// The address of a server: an `http` or `https` URL, optionally with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUrl(ServiceUrl);

/// The error of an invalid [`ServerUrl`]. It does not show the text, which may have a password.
#[derive(Debug, thiserror::Error)]
#[error("it must be an http:// or https:// URL without user name, query and fragment")]
pub(super) struct InvalidServerUrl;

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ServiceUrl::parse(text).map(Self).ok_or(InvalidServerUrl)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The parameters of reading a log. The server has defaults for `None`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogQuery {
    pub(super) range: ExportRange,
    pub(super) limit: Option<u64>,
    pub(super) format: ExportFormat,
    pub(super) detail: ExportDetail,
    /// Continue with new records as they are written.
    pub(super) follow: bool,
}

/// Why a request to a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    /// The client cannot be set up.
    #[error("cannot set up the client")]
    Client(#[source] reqwest::Error),
    /// The key has characters that a header cannot have.
    #[error("the key (--key or VECTORIZER_KEY) is not a valid header value")]
    Key,
    /// The connection failed or was closed.
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server did not answer in time.
    #[error("the server did not answer for {} s", WAIT_MAX.as_secs())]
    Timeout,
    /// The server answered with an error.
    #[error("{0}")]
    Refused(Problem),
    /// The answer is invalid.
    #[error("the server's answer to {of} cannot be read: {reason}")]
    Answer {
        /// The request.
        of: &'static str,
        /// Why it is invalid.
        reason: String,
    },
    /// A line is invalid.
    #[error("a line of the server's answer is not a record")]
    Line(#[source] serde_json::Error),
    /// A line is longer than any record.
    #[error("a line of the server's answer is longer than {bytes_max} bytes")]
    LineTooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// The answer ends within a line.
    #[error("the server's answer ends within a line")]
    LineTruncated,
    /// The server ended a stream that follows the log.
    #[error("the server ended the stream")]
    StreamEnded,
}

/// The field of the server's answer about usage that the command line reads.
#[derive(Deserialize)]
struct UsageTenant {
    tenant: TenantId,
}

/// A visitor of a log that is read from its beginning.
pub(super) trait LogVisitor {
    /// The log begins with this state. Called before the first record, if at all.
    fn begin(&mut self, beginning: Projection);

    /// The next record. Breaking ends the reading.
    fn record(&mut self, record: &Record) -> ControlFlow<()>;
}

fn invalid_base(error: &BaseError) -> ServerError {
    ServerError::Answer { of: "log", reason: error.to_string() }
}

#[derive(Deserialize)]
struct HeadAnswer {
    seq: Seq,
    chain: String,
}

/// A client of a server, with a key.
#[derive(Clone, Debug)]
pub(super) struct Server {
    http: Client,
    url: ServerUrl,
}

impl Server {
    /// Creates a client of the server at `url`. Sends nothing yet.
    pub(super) fn new(url: ServerUrl, key: Option<&Secret>) -> Result<Self, ServerError> {
        let http = client(key, KeyHeader::Bearer).map_err(|_| ServerError::Key)?;
        let http = http.build().map_err(ServerError::Client)?;
        Ok(Self { http, url })
    }

    /// The name of the log in messages. Only the server knows the tenant of the key.
    pub(super) fn subject(&self) -> String {
        format!("the log at {}", self.url)
    }

    /// The tenant of the key.
    pub(super) async fn tenant(&self) -> Result<TenantId, ServerError> {
        let UsageTenant { tenant } = self.answer("cluster/usage").await?;
        Ok(tenant)
    }

    /// The end of the log.
    pub(super) async fn head(&self) -> Result<Head, ServerError> {
        let HeadAnswer { seq, chain } = self.answer("log/head").await?;
        let no_hash = |_| ServerError::Answer { of: "log/head", reason: "chain is not a hash".to_owned() };
        let chain: ChainHash = chain.parse().map_err(no_hash)?;
        Ok(Head { seq, chain })
    }

    /// Reads a small answer.
    async fn answer<A: DeserializeOwned>(&self, of: &'static str) -> Result<A, ServerError> {
        let mut response = self.get(self.path(of)).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(ServerError::Unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(ServerError::Answer { of, reason: "it is too long".to_owned() });
            }
        }
        serde_json::from_slice(&body).map_err(|error| ServerError::Answer { of, reason: error.to_string() })
    }

    /// Reads a part of the log. Returns the server's lines, one for each record.
    pub(super) async fn lines(&self, query: LogQuery) -> Result<Lines, ServerError> {
        let LogQuery { range, limit, format, detail, follow } = query;
        let ExportRange { from, to, since, until } = range;
        let mut url = self.path("log");
        {
            let mut pairs = url.query_pairs_mut();
            let seq = |seq: Option<Seq>| seq.map(|seq| seq.to_string());
            let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
            let limits = [
                ("from", seq(from)),
                ("to", seq(to)),
                ("since", moment(since)),
                ("until", moment(until)),
                ("limit", limit.map(|limit| limit.to_string())),
            ];
            for (name, value) in limits {
                if let Some(value) = value {
                    pairs.append_pair(name, &value);
                }
            }
            match format {
                ExportFormat::Ndjson => {}
                ExportFormat::Csv => {
                    pairs.append_pair("format", "csv");
                }
            }
            let ExportDetail { payload, vector, stored } = detail;
            let switches = [("with_payload", payload), ("with_vector", vector), ("with_stored", stored)];
            for (name, switch) in switches {
                pairs.append_pair(name, if switch { "true" } else { "false" });
            }
            if follow {
                pairs.append_pair("follow", "true");
            }
        }
        let wait_max = (!follow).then_some(WAIT_MAX);
        Ok(Lines::new(self.get(url).await?, LINE_BYTES_MAX, wait_max))
    }

    /// Verifies the log from its beginning to `head` and passes the state that it begins with and each record to
    /// `visitor`. Stops at the first damage, as later records of the same server cannot be trusted.
    pub(super) async fn read(
        &self,
        head: Head,
        visitor: &mut (dyn LogVisitor + Send),
    ) -> Result<Reading, ServerError> {
        let mut verification = RemoteVerification::default();
        let mut reading =
            Reading { log_id: None, head: Some(head), records: 0, damage: Vec::new(), notes: Vec::new() };
        let mut last = Seq::NONE;
        let mut base: Option<(LogId, Seq, BaseFold)> = None;
        'answers: while last < head.seq {
            // Without a first record, the log begins with its base.
            let from = (last > Seq::NONE).then(|| last.next());
            let range = ExportRange { from, to: Some(head.seq), ..ExportRange::default() };
            let query = LogQuery { range, detail: STORED_ONLY, ..LogQuery::default() };
            let before = last;
            // A server may return fewer records than requested, so request the rest from there.
            let mut lines = self.lines(query).await?;
            while let Some(line) = lines.next().await? {
                match ExportedLine::parse(&line).map_err(ServerError::Line)? {
                    ExportedLine::Base(found) => {
                        let chain = found.chain.parse().map_err(|_| ServerError::Answer {
                            of: "log",
                            reason: "the chain hash of the base is not a hash".to_owned(),
                        })?;
                        verification.begin(found.log_id, Head { seq: found.through, chain });
                        reading.log_id = Some(found.log_id);
                        reading.notes.push(format!(
                            "the records up to seq {} were dropped; the log begins with their state",
                            found.through
                        ));
                        last = found.through;
                        base = Some((found.log_id, found.through, BaseFold::default()));
                    }
                    ExportedLine::BaseItem(item) => {
                        if let Some((.., fold)) = &mut base {
                            fold.push(item).map_err(|error| invalid_base(&error))?;
                        }
                    }
                    ExportedLine::Record(ExportedRecord { log_id, stored, .. }) => {
                        if let Some((log_id, through, fold)) = base.take() {
                            visitor
                                .begin(fold.finish(log_id, through).map_err(|error| invalid_base(&error))?);
                        }
                        reading.log_id.get_or_insert(log_id);
                        match verification.push(log_id, &stored) {
                            Ok(record) if visitor.record(&record).is_break() => return Ok(reading),
                            Ok(record) => last = record.seq,
                            Err(damage) => {
                                reading.damage.push(damage);
                                return Ok(reading);
                            }
                        }
                        reading.records = verification.records();
                    }
                }
                if last == head.seq && base.is_none() {
                    break 'answers;
                }
            }
            if let Some((log_id, through, fold)) = base.take() {
                visitor.begin(fold.finish(log_id, through).map_err(|error| invalid_base(&error))?);
            }
            if last == before {
                let next = before.next();
                reading.damage.push(Damage { seq: next, kind: DamageKind::Missing { found: None } });
                return Ok(reading);
            }
        }
        if let Some(found) = verification.head().filter(|found| *found != head) {
            let kind = DamageKind::OtherHistory { found: found.chain, acknowledged: head.chain };
            reading.damage.push(Damage { seq: head.seq, kind });
        }
        Ok(reading)
    }

    fn path(&self, of: &str) -> Url {
        self.url.0.join(&format!("/api/v1/{of}"))
    }

    async fn get(&self, url: Url) -> Result<Response, ServerError> {
        let response = tokio::time::timeout(WAIT_MAX, self.http.get(url).send())
            .await
            .map_err(|_| ServerError::Timeout)?
            .map_err(|error| ServerError::Unreachable(error.without_url()))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(ServerError::Refused(Problem::read(response).await))
        }
    }
}
