//! Reports of usage. A report is a stream of events, one in each line. The answer is a stream of receipts, one for each
//! line, and begins before the report has ended.
//!
//! Only one group of lines is in memory, however long the report is: the next group is read once the client has read
//! the answer to the previous one. A group consists of the lines that have arrived. Its events share one sync.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tracing::error;
use vectorizer_hivehub::{Extensible, USAGE_CONTENT_TYPE, UsageEvent, UsageOutcome, UsageReceipt};

use super::rejection::HubRejection;
use super::{Served, with_hub};
use crate::store::Reported;

/// The longest line. An event has about six hundred bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// The most lines that share a sync.
const GROUP_LINES_MAX: usize = 512;
/// How long a line may take to arrive.
const LINE_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest id that the receipt of an unreadable line repeats.
const ID_BYTES_MAX: usize = 256;

pub(super) async fn report(State(served): State<Served>, body: Body) -> Result<Response, HubRejection> {
    let place = served.reports.clone().try_acquire_owned().map_err(|_| HubRejection::Busy)?;
    let report = Report { served, lines: Lines::new(body.into_data_stream()), _place: Arc::new(place) };
    let answer = stream::unfold(Some(report), |report| async {
        let mut report = report?;
        match report.answer_group().await {
            Ok(Some(lines)) => Some((Ok(lines), Some(report))),
            Ok(None) => None,
            // The answer ends with an error, so that no client takes it for complete.
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(([(CONTENT_TYPE, USAGE_CONTENT_TYPE)], Body::from_stream(answer)).into_response())
}

struct Report {
    served: Served,
    lines: Lines,
    _place: Arc<OwnedSemaphorePermit>,
}

/// A line of a report.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Bytes),
    TooLong,
}

/// A parsed line, before its event is entered into the ledger.
enum Read {
    Event(Box<UsageEvent>),
    /// The id, empty if it cannot be read, and the reason.
    Unreadable(String, String),
}

impl Report {
    /// The receipts for the lines that have arrived. Waits for at least one line. `None` at the end of the report.
    async fn answer_group(&mut self) -> io::Result<Option<Bytes>> {
        let group = self.lines.group().await?;
        if group.is_empty() {
            return Ok(None);
        }
        let read: Vec<_> = group.into_iter().map(Read::from).collect();
        let events = read.iter().filter_map(|read| match read {
            Read::Event(event) => Some((**event).clone()),
            Read::Unreadable(..) => None,
        });
        let events: Vec<_> = events.collect();
        let entered = with_hub(&self.served, move |hub| hub.report(&events)).await;
        let mut entered = entered
            .map_err(|rejection| {
                error!(?rejection, "a report of usage breaks off");
                io::Error::other("the hub's files failed")
            })?
            .into_iter();
        let mut answer = Vec::new();
        for read in read {
            let receipt = match read {
                Read::Event(event) => {
                    let reported = entered.next().ok_or(io::ErrorKind::InvalidData)?;
                    receipt(event.id.to_string(), reported)
                }
                Read::Unreadable(id, reason) => receipt(id, Reported::Rejected(reason)),
            };
            serde_json::to_writer(&mut answer, &receipt)?;
            answer.push(b'\n');
        }
        Ok(Some(answer.into()))
    }
}

fn receipt(id: String, reported: Reported) -> UsageReceipt {
    let (outcome, reason) = match reported {
        Reported::Accepted => (UsageOutcome::Accepted, None),
        Reported::Duplicate => (UsageOutcome::Duplicate, None),
        Reported::Rejected(reason) => (UsageOutcome::Rejected, Some(reason)),
    };
    UsageReceipt { id, outcome: Extensible::Known(outcome), reason }
}

impl From<Line> for Read {
    fn from(line: Line) -> Self {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        match line {
            Line::TooLong => {
                Self::Unreadable(String::new(), format!("the line is longer than {LINE_BYTES_MAX} bytes"))
            }
            Line::Whole(bytes) => serde_json::from_slice(&bytes).map_or_else(
                |error| {
                    let named: Option<Named> = serde_json::from_slice(&bytes).ok();
                    let id = named.map(|named| named.id).filter(|id| id.len() <= ID_BYTES_MAX);
                    Self::Unreadable(id.unwrap_or_default(), format!("not the contract's: {error}"))
                },
                |event| Self::Event(Box::new(event)),
            ),
        }
    }
}

/// Splits a body into lines. Empty lines are skipped.
struct Lines {
    body: BodyDataStream,
    arrived: BytesMut,
    /// Whether the body is within a line that is too long. The rest of that line is skipped.
    skipping: bool,
    ended: bool,
}

impl Lines {
    fn new(body: BodyDataStream) -> Self {
        Self { body, arrived: BytesMut::new(), skipping: false, ended: false }
    }

    /// The lines that have arrived. Waits for at least one line, unless the body has ended.
    async fn group(&mut self) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        let first = async {
            loop {
                if let Some(line) = self.arrived_line() {
                    return Ok(Some(line));
                }
                if self.ended {
                    return Ok(None);
                }
                let chunk = self.body.next().await;
                self.take(chunk)?;
            }
        };
        let first: io::Result<_> =
            tokio::time::timeout(LINE_TIME_MAX, first).await.map_err(|_| io::ErrorKind::TimedOut)?;
        lines.extend(first?);
        while !lines.is_empty() && lines.len() < GROUP_LINES_MAX {
            if let Some(line) = self.arrived_line() {
                lines.push(line);
            } else if let Some(chunk) = (!self.ended).then(|| self.body.next().now_or_never()).flatten() {
                self.take(chunk)?;
            } else {
                break;
            }
        }
        Ok(lines)
    }

    /// Takes the next chunk of the body. A body that ends early ends the report: its last, partial line is dropped.
    fn take(&mut self, chunk: Option<Result<Bytes, axum::Error>>) -> io::Result<()> {
        match chunk {
            Some(Ok(chunk)) => self.arrived.extend_from_slice(&chunk),
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => self.ended = true,
        }
        Ok(())
    }

    /// The next complete line in the bytes that have arrived. The last line needs no line feed.
    fn arrived_line(&mut self) -> Option<Line> {
        loop {
            let feed = self.arrived.iter().position(|byte| *byte == b'\n');
            let (length, rest) = match feed {
                Some(at) => (at, 1),
                None if self.ended && !self.arrived.is_empty() => (self.arrived.len(), 0),
                None => {
                    if self.skipping {
                        self.arrived.clear();
                    } else if self.arrived.len() > LINE_BYTES_MAX {
                        self.arrived.clear();
                        self.skipping = true;
                        return Some(Line::TooLong);
                    }
                    return None;
                }
            };
            let line = self.arrived.split_to(length).freeze();
            self.arrived.advance(rest);
            if std::mem::take(&mut self.skipping) || line.trim_ascii().is_empty() {
                continue;
            }
            return Some(if line.len() > LINE_BYTES_MAX { Line::TooLong } else { Line::Whole(line) });
        }
    }
}
