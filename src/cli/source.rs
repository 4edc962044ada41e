//! The source of a log: a folder or a running server.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use vectorizer_log::TenantId;

use super::failure::Failure;
use super::folder::Folder;
use super::key_client::secret;
use super::server::{Server, ServerUrl};
use crate::config::Secret;

/// The arguments for the source.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Where the log is",
    group = ArgGroup::new("place").args(["data_dir", "url"]).required(true),
    after_help = "Exit code: 0 success, 1 check failed, 2 error"
)]
pub(super) struct SourceArgs {
    /// The data folder, which no server may have open. It is not changed: the command reads a copy
    #[arg(long, value_name = "DIR", requires = "tenant")]
    data_dir: Option<PathBuf>,

    /// The tenant, with --data-dir
    #[arg(long, value_name = "TENANT", conflicts_with = "url", requires = "data_dir")]
    tenant: Option<TenantId>,

    /// The folder for the copy, with --data-dir; by default the system's temporary folder
    #[arg(long, value_name = "DIR", conflicts_with = "url", requires = "data_dir")]
    scratch: Option<PathBuf>,

    /// The address of a running server
    #[arg(long, value_name = "URL")]
    url: Option<ServerUrl>,

    // Not required by --url and not in conflict with --data-dir: the environment may have it in both cases.
    /// The key for the server, with --url; safer in the environment, as other users of this machine can see arguments
    #[arg(long, value_name = "KEY", env = "VECTORIZER_KEY", hide_env_values = true, value_parser = secret)]
    key: Option<Secret>,
}

impl SourceArgs {
    /// The source of the arguments. Opens and sends nothing yet.
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
            _ => Err(Failure::NoSource),
        }
    }
}

/// The source of a log.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A folder that no server has open.
    Folder(Folder),
    /// A running server.
    Server(Server),
}

impl Source {
    /// The name of the log in messages.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Folder(folder) => folder.subject(),
            Self::Server(server) => server.subject(),
        }
    }
}
