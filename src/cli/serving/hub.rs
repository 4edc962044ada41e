//! `vectorizer hub`: runs a small HiveHub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vectorizer_hub::demo::HUB_FOLDER;

use super::{Failure, start_logging, stop};
use crate::cli::Streams;
use crate::cli::hub::HubCommand;
use crate::server;

/// How long a stop waits for requests, which take milliseconds.
pub(super) const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Hub {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<HubCommand>,
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:12000")]
    listen: SocketAddr,
    /// For how long a deleted tenant can be undeleted; at most the nodes' `server.delete_grace`
    #[arg(long, value_name = "SECONDS", default_value_t = vectorizer_hub::DELETE_GRACE_SECONDS)]
    delete_grace: u64,
}

impl Hub {
    pub(crate) async fn run(self, streams: &Streams) -> Result<(), Failure> {
        start_logging();
        let stop = stop::requested()?;
        let hub = self.opened()?;
        hub.set_delete_grace(Duration::from_secs(self.delete_grace));
        let listener = server::listen(self.listen)?;
        let address = listener.local_addr()?;
        streams.report(format_args!(
            "vectorizer hub: listening on http://{address}, data in {data}\n\n\
             To run a server with this HiveHub, with the key that `vectorizer hub init` has printed:\n\n  \
             export HIVEHUB_API_KEY=...\n  \
             vectorizer serve --cluster-enabled --hivehub-api-url http://{address}\n\n\
             To create a tenant, with the operator's key:\n\n  \
             export VECTORIZER_KEY=...\n  \
             vectorizer hub plans set small --vectors 100000 --url http://{address}\n  \
             vectorizer hub tenants create initech --plan small --url http://{address}\n  \
             vectorizer hub keys create --tenant initech --permission ADMIN --url http://{address}\n",
            data = self.data_dir.display(),
        ))?;
        let waited_for = hub.clone();
        let stop = async move {
            stop.await;
            waited_for.stop_waiting();
        };
        server::serve(listener, vectorizer_hub::router(hub), GRACE, stop).await;
        Ok(())
    }

    /// Opens the hub in the folder. Does not create one.
    fn opened(&self) -> Result<vectorizer_hub::Hub, Failure> {
        let folder = self.data_dir.join(HUB_FOLDER);
        if vectorizer_hub::Hub::is_in(&folder) {
            let hub = vectorizer_hub::Hub::open(&folder)?;
            if hub.is_initialised() {
                return Ok(hub);
            }
        }
        let data = self.data_dir.display();
        Err(format!(
            "there is no hub with keys in {data}: `vectorizer hub init --data-dir {data}` creates its first keys and \
             prints them"
        )
        .into())
    }
}
