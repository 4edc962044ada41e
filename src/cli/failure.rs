//! Why a command could not finish.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use vectorizer_log::{TenantId, Timestamp};

use super::correct::CorrectFailure;
use super::exit::Exit;
use super::hub::HubFailure;
use super::migrate::MigrateFailure;
use super::server::ServerError;

/// What kept a command from its end. Damage is none of these: finding it is an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A server holds the lock of the folder.
    #[error(
        "tenant {tenant}: a server has {folder:?} open; stop it, or read the log from it with --url and --key"
    )]
    Locked {
        /// Whose folder.
        tenant: TenantId,
        /// Which folder.
        folder: PathBuf,
    },
    /// The folder cannot be read.
    #[error("tenant {tenant}")]
    Log {
        /// Whose log.
        tenant: TenantId,
        /// Why not.
        source: vectorizer_log::Error,
    },
    /// The server did not answer, or not with a log.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The hub did not do what it was asked.
    #[error(transparent)]
    Hub(#[from] HubFailure),
    /// Nothing was corrected.
    #[error(transparent)]
    Correct(#[from] CorrectFailure),
    /// The folder does not become a tenant.
    #[error(transparent)]
    Migrate(#[from] MigrateFailure),
    /// The arguments do not say where the log is.
    #[error("give either --data-dir and --tenant, or --url")]
    Nowhere,
    /// Following reads from a running server; a folder that can be read has none.
    #[error("--follow needs a running server: give --url instead of --data-dir")]
    FollowsNobody,
    /// No window ends within such a span.
    #[error("--from {from} is not before --to {to}: no window ends between them")]
    NoSpan {
        /// The first moment, not included.
        from: Timestamp,
        /// The last one.
        to: Timestamp,
    },
    /// A table is for reading, not for verifying.
    #[error("--with-stored needs --format ndjson: a table has no stored bytes")]
    NothingStoredInTables,
    /// The output does not take any more.
    #[error("could not write the output")]
    Output(#[source] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Whether whoever reads the output has seen enough: `| head` is no fault.
    pub(super) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// How a command that fails like this ends.
    pub(super) fn exit(&self) -> Exit {
        if let Self::Migrate(failure) = self {
            return failure.exit();
        }
        if self.is_closed_output() { Exit::Holds } else { Exit::CouldNotAsk }
    }
}

/// An error's message with those of its causes, for one line on a terminal.
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
