//! Reports of usage, with streamed bodies and answers that are read line by line.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Response};
use tokio::time::Instant;

use super::answer::refuse_failures;
use super::client::{HiveHubClient, accepted};
use super::error::{Garbage, HubError, missing_field};
use super::models::{USAGE_CONTENT_TYPE, UsageReceipt};
use super::observer::Call;

/// The longest a report takes, from its first byte to the last one of the answer.
const REPORT_TIME_MAX: Duration = Duration::from_mins(2);
/// The longest pause within an answer.
const ANSWER_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest line of an answer.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// The answer to a report, as it arrives.
pub struct UsageReceipts {
    response: Response,
    /// Bytes of lines that were not returned yet.
    rest: BytesMut,
    lines: usize,
    ended: bool,
}

impl HiveHubClient {
    /// Reports usage. `lines` are the bytes that are sent, one event a line. Makes one attempt; the caller sends
    /// lines without a receipt again, as the same bytes. The stream may end after any line, since lines are
    /// independent.
    pub async fn report_usage<S>(&self, lines: S) -> Result<UsageReceipts, HubError>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let admitted = self.admitted(Call::Usage)?;
        let body = Body::wrap_stream(lines.map(Ok::<_, Infallible>));
        let start = Instant::now();
        let request = self
            .http
            .post(self.usage_url())
            .header(CONTENT_TYPE, USAGE_CONTENT_TYPE)
            .timeout(REPORT_TIME_MAX)
            .body(body);
        let outcome = async {
            let response = request.send().await?;
            refuse_failures(&response)?;
            accepted(response.status())?;
            Ok(response)
        }
        .await;
        self.ended(admitted, Call::Usage, &outcome, start.elapsed());
        Ok(UsageReceipts { response: outcome?, rest: BytesMut::new(), lines: 0, ended: false })
    }
}

impl UsageReceipts {
    /// The receipt for the next event; `None` at the end of the answer. An error says nothing about events without a
    /// receipt.
    pub async fn next(&mut self) -> Result<Option<UsageReceipt>, HubError> {
        while let Some(line) = self.line().await? {
            self.lines += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            return serde_json::from_slice(&line).map(Some).map_err(|error| {
                HubError::Garbage(match missing_field(&error) {
                    Some(field) => Garbage::Missing { field },
                    None => Garbage::Json { line: self.lines, column: error.column() },
                })
            });
        }
        Ok(None)
    }

    async fn line(&mut self) -> Result<Option<BytesMut>, HubError> {
        let mut searched = 0;
        loop {
            let end = self.rest[searched..].iter().position(|byte| *byte == b'\n');
            let end = end.map(|end| searched + end + 1);
            if end.unwrap_or(self.rest.len()) > LINE_BYTES_MAX {
                return Err(HubError::Garbage(Garbage::TooLong(LINE_BYTES_MAX)));
            }
            if let Some(end) = end {
                return Ok(Some(self.rest.split_to(end)));
            }
            if self.ended {
                let last = self.rest.split();
                return Ok((!last.is_empty()).then_some(last));
            }
            searched = self.rest.len();
            let chunk = tokio::time::timeout(ANSWER_PAUSE_MAX, self.response.chunk())
                .await
                .map_err(|elapsed| HubError::Unreachable(elapsed.into()))?;
            match chunk? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }
}
