//! `vectorizer serve`: runs the server.

use clap::Args;

use super::{Failure, start_logging, stop};
use crate::cli::Streams;
use crate::config::{Config, ConfigFlags};
use crate::server::Server;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Serve {
    pub(crate) async fn run(self, streams: &Streams) -> Result<(), Failure> {
        let config = Config::load(&self.flags, &|name| std::env::var(name).ok())?;
        start_logging();
        let stop = stop::requested()?;
        let server = Server::bind(&config)?;
        let mode = if config.cluster.is_some() { "cluster mode" } else { "one tenant, no keys" };
        streams.report(format_args!(
            "vectorizer {}: {mode}, listening on {}://{}, data in {}",
            env!("CARGO_PKG_VERSION"),
            server.scheme(),
            server.address()?,
            config.server.data_dir.display(),
        ))?;
        if let Some(address) = server.metrics_address() {
            streams.report(format_args!("metrics on http://{}/metrics", address?))?;
        }
        server.run(stop).await;
        Ok(())
    }
}
