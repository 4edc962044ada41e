//! A log read from the server that has it open.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use vectorizer_log::{
    ChainHash, Damage, DamageKind, ExportDetail, ExportFormat, ExportRange, ExportedRecord, Head, Record,
    RemoteVerification, Seq, TenantId, Timestamp,
};

use super::asking::{Shown, client};
use super::lines::{LINE_BYTES_MAX, Lines};
use super::problem::Problem;
use super::reading::Reading;
use crate::config::Secret;

/// How long a server may say nothing. A sleeping tenant wakes first, which takes as long as its log.
const SILENCE_MAX: Duration = Duration::from_mins(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is shown to verify a log: the stored bytes, and nothing a second time.
const STORED_ONLY: ExportDetail = ExportDetail { payload: false, vector: false, stored: true };

/// Where a server is: an `http` or `https` address, perhaps with a path, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUrl(Url);

/// A text that is no [`ServerUrl`]. Does not repeat it, for it might hold a password.
#[derive(Debug, thiserror::Error)]
#[error("it should be an http:// or https:// address without user name, query and fragment")]
pub(super) struct InvalidServerUrl;

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| InvalidServerUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if plain { Ok(Self(url)) } else { Err(InvalidServerUrl) }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which part of the log is asked for, and how much of each record. What is `None` is left to the
/// server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogQuery {
    pub(super) range: ExportRange,
    pub(super) limit: Option<u64>,
    pub(super) format: ExportFormat,
    pub(super) detail: ExportDetail,
    /// Go on with what is written later.
    pub(super) follow: bool,
}

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    /// The client could not be set up.
    #[error("cannot set up the client")]
    Client(#[source] reqwest::Error),
    /// The key has characters that no key has.
    #[error("the key (--key or VECTORIZER_KEY) is none: it cannot stand in a header")]
    Key,
    /// Not connected, or cut off.
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It took too long.
    #[error("the server said nothing for {} s", SILENCE_MAX.as_secs())]
    Silent,
    /// It refused.
    #[error("{0}")]
    Refused(Problem),
    /// An answer is not what the contract says.
    #[error("the server's answer to {of} cannot be read: {reason}")]
    Answer {
        /// To what.
        of: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A line is not what the contract says.
    #[error("a line of the server's answer is no record")]
    Line(#[source] serde_json::Error),
    /// A line is longer than any record.
    #[error("a line of the server's answer is longer than {bytes_max} bytes")]
    LineTooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// The answer ends within a line.
    #[error("the server's answer breaks off within a line")]
    LineBrokenOff,
    /// A stream that should go on does not.
    #[error("the server ended the stream")]
    StreamEnded,
}

#[derive(Deserialize)]
struct UsageAnswer {
    tenant: TenantId,
}

#[derive(Deserialize)]
struct HeadAnswer {
    seq: Seq,
    chain: String,
}

/// A server, and a key to it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    http: Client,
    url: ServerUrl,
}

impl Server {
    /// The server at `url`. Nothing is sent yet.
    pub(super) fn new(url: ServerUrl, key: Option<&Secret>) -> Result<Self, ServerError> {
        let http = client(key, Shown::Bearer).map_err(|_| ServerError::Key)?;
        let http = http.build().map_err(ServerError::Client)?;
        Ok(Self { http, url })
    }

    /// Whose log it is, for messages: which tenant's the key alone says.
    pub(super) fn subject(&self) -> String {
        format!("the log at {}", self.url)
    }

    /// Whose key it is.
    pub(super) async fn tenant(&self) -> Result<TenantId, ServerError> {
        let UsageAnswer { tenant } = self.answer("cluster/usage").await?;
        Ok(tenant)
    }

    /// How far the log reaches.
    pub(super) async fn head(&self) -> Result<Head, ServerError> {
        let HeadAnswer { seq, chain } = self.answer("log/head").await?;
        let no_hash = |_| ServerError::Answer { of: "log/head", reason: "chain is no hash".to_owned() };
        let chain: ChainHash = chain.parse().map_err(no_hash)?;
        Ok(Head { seq, chain })
    }

    /// A small answer, read whole.
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

    /// A part of the log, a line for each record, as the server writes them.
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
        let silence_max = (!follow).then_some(SILENCE_MAX);
        Ok(Lines::new(self.get(url).await?, LINE_BYTES_MAX, silence_max))
    }

    /// Verifies the log from its first record to `head` and shows each record to `visit`. Ends at the
    /// first damage: a server that sends one wrong record is not worth being asked for the next.
    pub(super) async fn read(
        &self,
        head: Head,
        visit: &mut (dyn FnMut(&Record) -> ControlFlow<()> + Send),
    ) -> Result<Reading, ServerError> {
        let mut verification = RemoteVerification::default();
        let mut reading =
            Reading { log_id: None, head: Some(head), records: 0, damage: Vec::new(), notes: Vec::new() };
        'answers: while reading.records < head.seq.get() {
            let next = Seq::new(reading.records).next();
            let range = ExportRange { from: Some(next), to: Some(head.seq), ..ExportRange::default() };
            let query = LogQuery { range, detail: STORED_ONLY, ..LogQuery::default() };
            // A server may answer with less than it was asked for, so it is asked again from there on.
            let mut lines = self.lines(query).await?;
            while let Some(line) = lines.next().await? {
                let ExportedRecord { log_id, stored, .. } =
                    serde_json::from_slice(&line).map_err(ServerError::Line)?;
                reading.log_id.get_or_insert(log_id);
                match verification.push(log_id, &stored) {
                    Ok(record) if visit(&record).is_break() => return Ok(reading),
                    Ok(_) => reading.records = verification.records(),
                    Err(damage) => {
                        reading.damage.push(damage);
                        return Ok(reading);
                    }
                }
                if reading.records == head.seq.get() {
                    break 'answers;
                }
            }
            if reading.records < next.get() {
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
        let mut url = self.url.0.clone();
        url.set_path(&format!("{}/api/v1/{of}", self.url.0.path().trim_end_matches('/')));
        url
    }

    async fn get(&self, url: Url) -> Result<Response, ServerError> {
        let response = tokio::time::timeout(SILENCE_MAX, self.http.get(url).send())
            .await
            .map_err(|_| ServerError::Silent)?
            .map_err(|error| ServerError::Unreachable(error.without_url()))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(ServerError::Refused(Problem::read(response).await))
        }
    }
}
