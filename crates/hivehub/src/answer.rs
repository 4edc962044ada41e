//! Reading `HiveHub`'s answers.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::error::{Garbage, HubError};

/// The longest pause that a hub can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// An answer, unless its status means the same for every call.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Reads the whole `response`, of at most `bytes_max` bytes.
    pub(super) async fn read(mut response: Response, bytes_max: usize) -> Result<Self, HubError> {
        refuse_failures(&response)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > bytes_max {
                return Err(HubError::Garbage(Garbage::TooLong(bytes_max)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, body })
    }

    /// The body of a 200.
    pub(super) fn body(&self) -> Result<&[u8], HubError> {
        if self.status == StatusCode::OK { Ok(&self.body) } else { Err(unexpected(self.status)) }
    }
}

/// The error for a status that the contract does not have for this call.
pub(super) fn unexpected(status: StatusCode) -> HubError {
    HubError::Garbage(Garbage::Status(status.as_u16()))
}

/// The statuses that mean the same for every call.
pub(super) fn refuse_failures(response: &Response) -> Result<(), HubError> {
    let status = response.status();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(HubError::ServiceKeyRejected { status: status.as_u16() })
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(failing(response)),
        _ if status.is_server_error() => Err(failing(response)),
        _ => Ok(()),
    }
}

fn failing(response: &Response) -> HubError {
    HubError::Failing { status: response.status().as_u16(), retry_after: retry_after(response.headers()) }
}

/// `Retry-After` in either of its forms, seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}
