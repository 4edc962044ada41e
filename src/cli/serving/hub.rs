//! `vectorizer hub`: a small HiveHub to run yourself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Failure, start_logging, stop};
use crate::cli::Streams;
use crate::cli::hub::HubCommand;
use crate::hub::demo::{Demo, KEYS_FILE};
use crate::{hub, server};

/// Its answers take milliseconds.
pub(super) const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Hub {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<HubCommand>,
    /// Where it keeps what it is told
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Where it listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:12000")]
    listen: SocketAddr,
}

impl Hub {
    pub(crate) async fn run(self, streams: &Streams) -> Result<(), Failure> {
        start_logging();
        let stop = stop::asked()?;
        let demo = Demo::open(&self.data_dir)?;
        let listener = server::listen(self.listen)?;
        let address = listener.local_addr()?;
        let keys = self.data_dir.join(KEYS_FILE);
        streams.report(format_args!(
            "vectorizer hub: listening on http://{address}, keys in {keys}\n\n\
             A server that asks this HiveHub:\n\n  \
             export HIVEHUB_API_KEY=<hivehub_api_key in {keys}>\n  \
             vectorizer serve --cluster-enabled --hivehub-api-url http://{address}\n\n\
             A tenant of your own:\n\n  \
             export VECTORIZER_KEY=<operator in {keys}>\n  \
             vectorizer hub tenants create initech --plan generous --url http://{address}\n  \
             vectorizer hub keys create --tenant initech --permission ADMIN --url http://{address}\n",
            keys = keys.display(),
        ))?;
        let waited_for = demo.hub.clone();
        let stop = async move {
            stop.await;
            waited_for.stop_waiting();
        };
        server::serve(listener, hub::router(demo.hub), GRACE, stop).await;
        Ok(())
    }
}
