//! `vectorizer serve`: the server.

use std::io::Write as _;

use clap::Args;

use super::{Failure, start_logging, stop};
use crate::config::{Config, ConfigFlags};
use crate::server::Server;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.flags, &|name| std::env::var(name).ok())?;
        start_logging();
        let stop = stop::asked()?;
        let server = Server::bind(&config).await?;
        let mode = if config.cluster.is_some() { "cluster mode" } else { "one tenant, no keys" };
        writeln!(
            std::io::stdout(),
            "vectorizer {}: {mode}, listening on http://{}, data in {}",
            env!("CARGO_PKG_VERSION"),
            server.address()?,
            config.server.data_dir.display(),
        )?;
        server.run(stop).await;
        Ok(())
    }
}
