//! The errors of requests to a hub.

use std::path::PathBuf;

use vectorizer_hivehub::ErrorAnswer;
use vectorizer_hub::HubStoreError;

use crate::cli::problem::printable;

/// Why a request to a hub failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum HubFailure {
    /// The hub rejected the request: an object does not exist, or exists already.
    #[error("{}", .0.details)]
    Rejected(ErrorAnswer),
    /// The folder has no hub.
    #[error("there is no hub in {0:?}; `vectorizer hub init` creates one")]
    NoHub(PathBuf),
    /// A running hub has locked the folder.
    #[error("a hub is running on {0:?}; stop it, or connect to it with --url and --key")]
    Running(PathBuf),
    /// The hub's files cannot be used.
    #[error("the hub's files cannot be used")]
    Store(#[source] HubStoreError),
    /// The client cannot be set up.
    #[error("cannot set up the client")]
    Client(#[source] reqwest::Error),
    /// The key has characters that a header cannot have.
    #[error("the key is not a valid header value")]
    Key,
    /// The connection failed or was closed.
    #[error("the hub cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The hub answered with an error.
    #[error("the hub answered {status}: {details}")]
    Status {
        /// The status.
        status: u16,
        /// The hub's explanation.
        details: String,
    },
    /// The answer is too long.
    #[error("the hub's answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer is invalid.
    #[error("the hub's answer does not follow the contract")]
    InvalidAnswer(#[source] serde_json::Error),
    /// The arguments do not say where the hub is.
    #[error("give either --data-dir or --url")]
    NoSource,
}

impl HubFailure {
    /// The failure of an answer without a status of success.
    pub(in crate::cli) fn of_answer(status: u16, answer: &[u8]) -> Self {
        let said: Option<ErrorAnswer> = serde_json::from_slice(answer).ok();
        match said {
            Some(said) if status == 409 || status == 404 && said.error.starts_with("unknown_") => {
                Self::Rejected(ErrorAnswer { details: printable(&said.details), ..said })
            }
            Some(said) => Self::Status { status, details: printable(&said.details) },
            None => Self::Status { status, details: "the answer has no explanation".to_owned() },
        }
    }
}
