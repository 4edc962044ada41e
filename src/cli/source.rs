//! Where a command reads a log from.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use vectorizer_log::TenantId;

use super::failure::Failure;
use super::folder::Folder;
use super::server::{Server, ServerUrl};
use crate::config::Secret;

/// The arguments that say where the log is.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Where the log is",
    group = ArgGroup::new("place").args(["data_dir", "url"]).required(true),
    after_help = "Exit code: 0 it holds, 1 it does not hold, 2 it could not be asked"
)]
pub(super) struct SourceArgs {
    /// The data folder, while no server has it open. It is not changed: a copy is read
    #[arg(long, value_name = "DIR", requires = "tenant")]
    data_dir: Option<PathBuf>,

    /// Whose log, with --data-dir
    #[arg(long, value_name = "TENANT", conflicts_with = "url", requires = "data_dir")]
    tenant: Option<TenantId>,

    /// Where the copy is made, with --data-dir; the system's folder for temporary files if not given
    #[arg(long, value_name = "DIR", conflicts_with = "url", requires = "data_dir")]
    scratch: Option<PathBuf>,

    /// The address of a running server
    #[arg(long, value_name = "URL")]
    url: Option<ServerUrl>,

    // No rule binds it to --url: in the environment it must not disturb --data-dir.
    /// The key to the server, with --url; better in the environment, for arguments can be seen by
    /// other users of this machine
    #[arg(long, value_name = "KEY", env = "VECTORIZER_KEY", hide_env_values = true, value_parser = secret)]
    key: Option<Secret>,
}

/// A parser that cannot fail, so that no message repeats the key.
#[expect(clippy::unnecessary_wraps, reason = "what clap calls")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

impl SourceArgs {
    /// The place they name. Nothing is opened or sent yet.
    pub(super) fn source(self) -> Result<Source, Failure> {
        let Self { data_dir, tenant, scratch, url, key } = self;
        if let Some(url) = url {
            let key = key.filter(|key| !key.expose().is_empty());
            return Ok(Source::Server(Server::new(url, key.as_ref())?));
        }
        match (data_dir, tenant) {
            (Some(data), Some(tenant)) => {
                let scratch = scratch.unwrap_or_else(std::env::temp_dir);
                Ok(Source::Folder(Folder::new(&data, tenant, scratch)))
            }
            _ => Err(Failure::Nowhere),
        }
    }
}

/// A log's place.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// On this machine's disk, asleep.
    Folder(Folder),
    /// Behind a running server.
    Server(Server),
}

impl Source {
    /// Whose log it is, for messages.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Folder(folder) => folder.subject(),
            Self::Server(server) => server.subject(),
        }
    }
}
