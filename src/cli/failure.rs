//! The errors of commands.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use vectorizer_log::{TenantId, Timestamp};
use vectorizer_replay::BaseError;

use super::correct::CorrectFailure;
use super::exit::Exit;
use super::hub::HubFailure;
use super::migrate::MigrateFailure;
use super::server::ServerError;

/// Why a command failed. Damage is not among these: finding it is a result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A server has locked the folder.
    #[error(
        "tenant {tenant}: a server has {folder:?} open; stop it, or read the log from it with --url and --key"
    )]
    Locked {
        /// The tenant.
        tenant: TenantId,
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be read.
    #[error("tenant {tenant}")]
    Log {
        /// The tenant.
        tenant: TenantId,
        /// The error of the log.
        source: vectorizer_log::Error,
    },
    /// The base of the log cannot be folded.
    #[error("tenant {tenant}")]
    Base {
        /// The tenant.
        tenant: TenantId,
        /// Why not.
        source: BaseError,
    },
    /// The server did not answer, or its answer is invalid.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The request to the hub failed.
    #[error(transparent)]
    Hub(#[from] HubFailure),
    /// The correction failed.
    #[error(transparent)]
    Correct(#[from] CorrectFailure),
    /// The migration failed.
    #[error(transparent)]
    Migrate(#[from] MigrateFailure),
    /// The arguments do not say where the log is.
    #[error("give either --data-dir and --tenant, or --url")]
    NoSource,
    /// Only the log of a running server can be followed.
    #[error("--follow needs a running server: give --url instead of --data-dir")]
    FollowNeedsServer,
    /// The end of the period is not after its start.
    #[error("--from {from} is not before --to {to}: no window ends between them")]
    EmptyPeriod {
        /// The start, exclusive.
        from: Timestamp,
        /// The end, inclusive.
        to: Timestamp,
    },
    /// CSV cannot have stored bytes.
    #[error("--with-stored needs --format ndjson: CSV has no stored bytes")]
    StoredNeedsNdjson,
    /// Writing the output failed.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Whether the reader has closed the output, as `| head` does. That is not a failure.
    pub(super) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code of a command with this failure.
    pub(super) fn exit(&self) -> Exit {
        if let Self::Migrate(failure) = self {
            return failure.exit();
        }
        if self.is_closed_output() { Exit::Success } else { Exit::Error }
    }
}

/// The message of an error and of its causes, in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
