//! Why `HiveHub` could not be asked.

use std::error::Error;
use std::time::Duration;

use super::models::Contradiction;

/// The client could not be set up: the service key cannot stand in a header, or there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for HiveHub")]
pub struct UnusableClient(#[source] pub(super) Box<dyn Error + Send + Sync>);

/// Why there is no answer. None of these says anything about the key or the tenant in question.
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
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// It was not asked, because it failed or asked for time before. Retryable.
    #[error("HiveHub is left alone for a while, because it failed")]
    LeftAlone {
        /// When it will be asked again.
        retry_after: Duration,
    },
    /// It refuses this server (401 or 403), not the caller: `hivehub_api_key` is wrong. Not retryable.
    #[error("HiveHub answered {status}: it does not accept this server's own key (cluster.hivehub_api_key)")]
    ServiceKeyRejected {
        /// The status.
        status: u16,
    },
    /// An answer outside the contract. Not retryable.
    #[error("HiveHub's answer is not what the contract says")]
    Garbage(#[source] Garbage),
}

/// What is wrong with an answer. Nothing of its text is repeated.
#[derive(Debug, thiserror::Error)]
pub enum Garbage {
    /// A status that the contract does not know.
    #[error("status {0}")]
    Status(u16),
    /// An answer, or a line of it, is too long.
    #[error("more than {0} bytes")]
    TooLong(usize),
    /// Not the JSON of the contract.
    #[error("not the JSON it should be, at line {line}, column {column}")]
    Json {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
    },
    /// A field that the contract requires is not there.
    #[error("the field {field:?} is missing")]
    Missing {
        /// Which.
        field: String,
    },
    /// It contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
}

impl HubError {
    /// Whether the same question may be answered later, without anyone mending anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Failing { .. } | Self::LeftAlone { .. } => true,
            Self::ServiceKeyRejected { .. } | Self::Garbage(_) => false,
        }
    }

    /// When to ask again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failing { retry_after, .. } => *retry_after,
            Self::LeftAlone { retry_after } => Some(*retry_after),
            Self::Unreachable(_) | Self::ServiceKeyRejected { .. } | Self::Garbage(_) => None,
        }
    }

    /// An error in the JSON of an answer. Only the place, or which field is missing: serde's own message quotes
    /// what it met.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Garbage(match missing_field(error) {
            Some(field) => Garbage::Missing { field },
            None => Garbage::Json { line: error.line(), column: error.column() },
        })
    }
}

/// The field that is missing, if that is what is wrong. Its name is the contract's and not the answer's.
pub(super) fn missing_field(error: &serde_json::Error) -> Option<String> {
    let message = error.to_string();
    let (field, _) = message.strip_prefix("missing field `")?.split_once('`')?;
    let is_name = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    field.chars().all(is_name).then(|| field.to_owned())
}

/// A call that broke off.
impl From<reqwest::Error> for HubError {
    fn from(error: reqwest::Error) -> Self {
        // The address may be in it, and addresses belong into no log that others read.
        Self::Unreachable(error.without_url().into())
    }
}
