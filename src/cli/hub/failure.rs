//! Why a hub could not be asked.

use std::path::PathBuf;

use crate::hivehub::ErrorAnswer;
use crate::hub::HubStoreError;

/// Why a hub did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum HubFailure {
    /// It said no: there is no such thing, or there is one already.
    #[error("{}", .0.details)]
    No(ErrorAnswer),
    /// There is none to ask.
    #[error("there is no hub in {0:?}; `vectorizer hub init` begins one")]
    NoHub(PathBuf),
    /// One runs, and has the folder's files to itself.
    #[error("a hub is running on {0:?}; stop it, or ask it with --url and --key")]
    Running(PathBuf),
    /// Its files cannot be used.
    #[error("the hub's files cannot be used")]
    Store(#[source] HubStoreError),
    /// The client could not be set up.
    #[error("cannot set up the client")]
    Client(#[source] reqwest::Error),
    /// The key has characters that no key has.
    #[error("the key is none: it cannot stand in a header")]
    Key,
    /// Not connected, or cut off.
    #[error("the hub cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It did not do as asked.
    #[error("the hub answered {status}: {details}")]
    Refused {
        /// The status.
        status: u16,
        /// Why.
        details: String,
    },
    /// It answered too much.
    #[error("the hub's answer is longer than {0} bytes")]
    TooLong(usize),
    /// It answered something else.
    #[error("the hub's answer is not what the contract says")]
    Garbage(#[source] serde_json::Error),
    /// The arguments do not say where it is.
    #[error("give either --data-dir or --url")]
    Nowhere,
}

impl HubFailure {
    /// An answer that is none of success.
    pub(in crate::cli) fn refused(status: u16, answer: &[u8]) -> Self {
        let said: Option<ErrorAnswer> = serde_json::from_slice(answer).ok();
        match said {
            Some(said) if status == 409 || status == 404 && said.error.starts_with("unknown_") => {
                Self::No(ErrorAnswer { details: printable(&said.details), ..said })
            }
            Some(said) => Self::Refused { status, details: printable(&said.details) },
            None => Self::Refused { status, details: "it does not say why".to_owned() },
        }
    }
}

/// A stranger's text without what would steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
