//! Errors of calls.

use std::error::Error;
use std::time::Duration;

use super::models::Contradiction;

/// The client could not be set up: the service key is no valid header value, or TLS failed to initialize.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for HiveHub")]
pub struct UnusableClient(#[source] pub(super) Box<dyn Error + Send + Sync>);

/// Why a call has no answer. An error says nothing about the key or the tenant of the call.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No answer: not connected, cut off, or too late. Retryable.
    #[error("HiveHub did not answer")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// An answer of 408, 429 or 5xx. Retryable.
    #[error("HiveHub answered {status}")]
    Failing {
        /// The status.
        status: u16,
        /// When to retry, if the answer has it.
        retry_after: Option<Duration>,
    },
    /// The call was not made, because the breaker is open. Retryable.
    #[error("HiveHub is not called for a while, because it failed")]
    LeftAlone {
        /// When calls are made again.
        retry_after: Duration,
    },
    /// `HiveHub` refuses this server, not the caller (401 or 403): `hivehub_api_key` is wrong. Not retryable.
    #[error("HiveHub answered {status}: it does not accept this server's own key (cluster.hivehub_api_key)")]
    ServiceKeyRejected {
        /// The status.
        status: u16,
    },
    /// An answer outside the contract. Not retryable.
    #[error("HiveHub's answer is not what the contract says")]
    Garbage(#[source] Garbage),
}

/// What is wrong with an answer, without any of its text.
#[derive(Debug, thiserror::Error)]
pub enum Garbage {
    /// A status that the contract does not have.
    #[error("status {0}")]
    Status(u16),
    /// An answer, or a line of it, is too long.
    #[error("more than {0} bytes")]
    TooLong(usize),
    /// Not the JSON of the contract.
    #[error("not the JSON it should be, at line {line}, column {column}")]
    Json {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A field that the contract requires is not there.
    #[error("the field {field:?} is missing")]
    Missing {
        /// Which.
        field: String,
    },
    /// The answer contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
}

impl HubError {
    /// Whether the same call may succeed later, without a repair.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Failing { .. } | Self::LeftAlone { .. } => true,
            Self::ServiceKeyRejected { .. } | Self::Garbage(_) => false,
        }
    }

    /// When to retry, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failing { retry_after, .. } => *retry_after,
            Self::LeftAlone { retry_after } => Some(*retry_after),
            Self::Unreachable(_) | Self::ServiceKeyRejected { .. } | Self::Garbage(_) => None,
        }
    }

    /// An error in the JSON of an answer. It has the place or the missing field only, since serde's message quotes
    /// the answer.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Garbage(match missing_field(error) {
            Some(field) => Garbage::Missing { field },
            None => Garbage::Json { line: error.line(), column: error.column() },
        })
    }
}

/// The missing field, if the error is that one is missing. Its name comes from the contract, not from the answer.
pub(super) fn missing_field(error: &serde_json::Error) -> Option<String> {
    let message = error.to_string();
    let (field, _) = message.strip_prefix("missing field `")?.split_once('`')?;
    let is_name = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    field.chars().all(is_name).then(|| field.to_owned())
}

/// A call that was cut off.
impl From<reqwest::Error> for HubError {
    fn from(error: reqwest::Error) -> Self {
        // The error may contain the address, which does not belong in logs.
        Self::Unreachable(error.without_url().into())
    }
}
