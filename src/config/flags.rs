//! The configuration's keys as command-line flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use vectorizer_access::Secret;
use vectorizer_hivehub::DeploymentName;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::Dimension;

use super::values::{
    BodyBytes, FilePath, HostName, JsonDepth, MemoryBytes, ModelName, Network, PageOrigin, RequestCount,
    Seconds, from_flag,
};

/// Where the configuration file is, and values that win over it.
#[derive(Clone, Debug, Default, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the documentation is what --help prints")]
#[command(next_help_heading = "Configuration (wins over the file)")]
pub struct ConfigFlags {
    /// The configuration file [default: ./config.yml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where REST and MCP are served [default: 127.0.0.1:15002]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = from_flag::<SocketAddr>)]
    pub listen: Option<SocketAddr>,

    /// The folder of every tenant's data [default: ./data]
    #[arg(long, value_name = "FOLDER", value_parser = from_flag::<PathBuf>)]
    pub data_dir: Option<PathBuf>,

    /// Names under which the server may be addressed, beside the loopback's
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', value_parser = from_flag::<HostName>)]
    pub allowed_hosts: Option<Vec<HostName>>,

    /// Origins whose pages in browsers may use the API, each with its scheme; * is every one [default: none]
    #[arg(long, value_name = "ORIGIN,...", value_delimiter = ',', value_parser = from_flag::<PageOrigin>)]
    pub cors_origins: Option<Vec<PageOrigin>>,

    /// The largest request body [default: 33554432]
    #[arg(long, value_name = "BYTES", value_parser = from_flag::<BodyBytes>)]
    pub body_bytes_max: Option<BodyBytes>,

    /// The deepest nesting of a JSON body [default: 32]
    #[arg(long, value_name = "DEPTH", value_parser = from_flag::<JsonDepth>)]
    pub json_depth_max: Option<JsonDepth>,

    /// Proxies whose word about a client's address is taken [default: none]
    #[arg(long, value_name = "NETWORK,...", value_delimiter = ',', value_parser = from_flag::<Network>)]
    pub trusted_proxies: Option<Vec<Network>>,

    /// A listener of its own for /metrics [default: none]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = from_flag::<SocketAddr>)]
    pub metrics_listen: Option<SocketAddr>,

    /// The server's certificate and those that vouch for it, as PEM; with --tls-key [default: none, plain HTTP]
    #[arg(long, value_name = "FILE", value_parser = from_flag::<FilePath>)]
    pub tls_cert: Option<FilePath>,

    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", value_parser = from_flag::<FilePath>)]
    pub tls_key: Option<FilePath>,

    /// How long everything is served still while /ready says 503, before the server stops [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    pub shutdown_delay: Option<Seconds>,

    /// How long requests in flight may take to end when the server stops [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    pub shutdown_grace: Option<Seconds>,

    /// How long a deleted tenant can be had back before it is erased [default: 604800]
    #[arg(long, value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    pub delete_grace: Option<Seconds>,

    /// How long nobody uses a tenant of a cluster before it sleeps [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    pub tenant_idle: Option<Seconds>,

    /// How much memory tenants may take up before they sleep sooner [default: three quarters of all]
    #[arg(long, value_name = "BYTES", value_parser = from_flag::<MemoryBytes>)]
    pub memory_budget: Option<MemoryBytes>,

    /// Many tenants, each with keys of its own [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true",
        value_parser = from_flag::<bool>)]
    pub cluster_enabled: Option<bool>,

    /// Where HiveHub is [default: api.hivehub.io, by https]
    #[arg(long, value_name = "URL", value_parser = from_flag::<ServiceUrl>)]
    pub hivehub_api_url: Option<ServiceUrl>,

    /// This server's key for HiveHub; better left to the environment, where other users of the machine
    /// do not see it [default: $HIVEHUB_API_KEY]
    #[arg(long, value_name = "KEY", value_parser = from_flag::<Secret>)]
    pub hivehub_api_key: Option<Secret>,

    /// The deployment that this server is of: tenants that HiveHub says are of another are not served [default: none]
    #[arg(long, value_name = "NAME", value_parser = from_flag::<DeploymentName>)]
    pub deployment: Option<DeploymentName>,

    /// How often quotas are asked for anew [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    pub quota_check_interval: Option<Seconds>,

    /// How often usage is reported [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    pub usage_report_interval: Option<Seconds>,

    /// Whether requests need a key; cluster mode does not start without [default: true]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true",
        value_parser = from_flag::<bool>)]
    pub require_authentication: Option<bool>,

    /// How long a valid key may be used while HiveHub cannot be asked [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    pub api_key_cache_ttl: Option<Seconds>,

    /// A tenant's requests per minute, where its plan names no number [default: 1000]
    #[arg(long, value_name = "COUNT", value_parser = from_flag::<RequestCount>)]
    pub default_requests_per_minute: Option<RequestCount>,

    /// A tenant's requests per hour, where its plan names no number [default: 10000]
    #[arg(long, value_name = "COUNT", value_parser = from_flag::<RequestCount>)]
    pub default_requests_per_hour: Option<RequestCount>,

    /// A service that turns texts into vectors: POST {url}/embeddings, as OpenAI has it [default: none]
    #[arg(long, value_name = "URL", value_parser = from_flag::<ServiceUrl>)]
    pub embedding_url: Option<ServiceUrl>,

    /// Its model
    #[arg(long, value_name = "NAME", value_parser = from_flag::<ModelName>)]
    pub embedding_model: Option<ModelName>,

    /// This server's key for it; better left to a variable in the file [default: none]
    #[arg(long, value_name = "KEY", value_parser = from_flag::<Secret>)]
    pub embedding_key: Option<Secret>,

    /// How many numbers its vectors have
    #[arg(long, value_name = "COUNT", value_parser = from_flag::<Dimension>)]
    pub embedding_dimension: Option<Dimension>,
}
