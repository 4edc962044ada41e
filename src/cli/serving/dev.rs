//! `vectorizer dev`: a server and a HiveHub in one process, for development.

use std::fmt::Write as _;
use std::net::SocketAddr;

use clap::Args;
use vectorizer_hub::demo::{Demo, DemoKeys, KEYS_FILE};

use super::hub::GRACE;
use super::{Failure, start_logging, stop};
use crate::cli::Streams;
use crate::config::{Config, ConfigFlags};
use crate::server;
use crate::server::Server;

#[derive(Debug, Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    flags: ConfigFlags,
    /// The address of the HiveHub
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:12000")]
    hub_listen: SocketAddr,
}

impl Dev {
    pub(crate) async fn run(mut self, streams: &Streams) -> Result<(), Failure> {
        // The address and the key of the HiveHub depend on the data folder, so load that first.
        let single = ConfigFlags { cluster_enabled: Some(false), ..self.flags.clone() };
        let data_dir = Config::load(&single, &|name| std::env::var(name).ok())?.server.data_dir;
        start_logging();
        let stop = stop::requested()?;
        std::fs::create_dir_all(&data_dir)?;
        let Demo { hub, keys } = Demo::open(&data_dir)?;
        let hub_listener = server::listen(self.hub_listen)?;
        let hub_address = hub_listener.local_addr()?;
        self.flags.cluster_enabled = Some(true);
        self.flags.hivehub_api_url = Some(format!("http://{hub_address}").parse()?);
        // If the service key was rotated, the file has the old one.
        let service_key = keys.as_ref().map(|keys| keys.hivehub_api_key.clone());
        let accepted = service_key.filter(|key| hub.is_service_key(key.expose()));
        self.flags.hivehub_api_key = Some(accepted.map_or_else(|| hub.lend_service_key(), Ok)?);
        let config = Config::load(&self.flags, &|name| std::env::var(name).ok())?;
        hub.set_delete_grace(config.server.delete_grace.duration());
        let server = Server::bind(&config)?;
        let text = welcome((server.scheme(), server.address()?), hub_address, &config, keys.as_ref())?;
        streams.report(text)?;
        if let Some(address) = server.metrics_address() {
            streams.report(format_args!("metrics on http://{}/metrics", address?))?;
        }
        let stopped = tokio_util::sync::CancellationToken::new();
        let serving = tokio::spawn(server::serve(
            hub_listener,
            vectorizer_hub::router(hub.clone()),
            GRACE,
            stopped.clone().cancelled_owned(),
        ));
        server.run(stop).await;
        // Stop the HiveHub last, so that it validates the keys of requests in progress.
        hub.stop_waiting();
        stopped.cancel();
        serving.await?;
        Ok(())
    }
}

fn welcome(
    (scheme, address): (&str, SocketAddr),
    hub_address: SocketAddr,
    config: &Config,
    keys: Option<&DemoKeys>,
) -> Result<String, std::fmt::Error> {
    let data_dir = &config.server.data_dir;
    let mut text = format!(
        "vectorizer {}: cluster mode with its own HiveHub, for development\n\n  \
         API      {scheme}://{address}/api/v1\n  \
         HiveHub  http://{hub_address}\n  \
         data     {}\n  \
         keys     {}\n\n",
        env!("CARGO_PKG_VERSION"),
        data_dir.display(),
        data_dir.join(KEYS_FILE).display(),
    );
    let Some(keys) = keys else {
        writeln!(
            text,
            "The existing keys stay valid. {KEYS_FILE} does not have them, and they cannot be shown again: the hub\n\
             stores only their SHA-256. To create other keys:\n\n  \
             vectorizer hub keys create --tenant acme --permission ADMIN --data-dir {data}\n  \
             vectorizer hub keys create --cluster --permission ADMIN --data-dir {data}\n\n\
             while this server is stopped, or with an operator's key and --url http://{hub_address} while it is running.\n",
            data = data_dir.display(),
        )?;
        return Ok(text);
    };
    for tenant in &keys.tenants {
        writeln!(text, "  {} ({})", tenant.id, tenant.name)?;
        for (level, key) in [
            ("ADMIN", &tenant.keys.admin),
            ("READ_WRITE", &tenant.keys.read_write),
            ("READ_ONLY", &tenant.keys.read_only),
            ("MCP", &tenant.keys.mcp),
        ] {
            writeln!(text, "    {level:<11}{}", key.expose())?;
        }
    }
    writeln!(text, "  operator (cluster)\n    {:<11}{}\n", "ADMIN", keys.operator.expose())?;
    if let Some(tenant) = keys.tenants.first() {
        writeln!(
            text,
            "Use {}'s ADMIN key to create a collection:\n\n  \
             export KEY=<the key>\n  \
             curl {scheme}://{address}/api/v1/collections -H \"Authorization: Bearer $KEY\" \\\n    \
             --json '{{\"name\": \"words\", \"dimension\": 3, \"metric\": \"cosine\"}}'\n\n\
             Ctrl-C stops the server. All acknowledged data is durable.\n",
            tenant.id,
        )?;
    }
    Ok(text)
}
