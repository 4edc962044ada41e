//! What the server is told at its start: `config.yml`, the environment, and the command line.
//!
//! A value on the command line wins over the file, and the file over the default. Everything is
//! checked here, once: past this module a value of a wrong shape cannot be expressed.

mod document;
mod error;
mod keys;
#[cfg(test)]
mod tests;
mod values;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use document::Document;
use vectorizer_hivehub::DeploymentName;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::Dimension;

pub use error::ConfigError;
pub use keys::ConfigFlags;
use keys::{Given, KEYS};
pub use values::{
    BodyBytes, FilePath, HostName, JsonDepth, MemoryBytes, ModelName, Network, PageOrigin, RequestCount,
    Seconds,
};
pub use vectorizer_access::Secret;

/// The file that is read when the command line names none, if it is there.
pub const DEFAULT_FILE: &str = "config.yml";

/// No honest configuration comes near this.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The listener, the data folder, and the limits on requests.
    pub server: Server,
    /// Cluster mode; `None` is single-tenant mode.
    pub cluster: Option<Cluster>,
    /// How callers are told apart.
    pub auth: Auth,
    /// The limits of a tenant whose plan names none.
    pub rate_limiting: RateLimiting,
    /// What turns texts into vectors, if anything does.
    pub embedding: Option<Embedding>,
}

/// Section `server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where REST and MCP are served.
    pub listen: SocketAddr,
    /// The folder of every tenant's data.
    pub data_dir: PathBuf,
    /// Names under which the server may be addressed, beside those of this machine's loopback.
    pub allowed_hosts: Vec<HostName>,
    /// The origins whose pages in browsers may use the API.
    pub cors_origins: Vec<PageOrigin>,
    /// The largest request body.
    pub body_bytes_max: BodyBytes,
    /// The deepest nesting of a JSON body.
    pub json_depth_max: JsonDepth,
    /// Proxies whose word about a client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// A listener of its own for `/metrics`.
    pub metrics_listen: Option<SocketAddr>,
    /// What connections are encrypted with; `None` is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long everything is served still after `/ready` has begun to say 503, when the server stops.
    pub shutdown_delay: Option<Seconds>,
    /// How long requests in flight may take to end after the server was told to stop.
    pub shutdown_grace: Seconds,
    /// How long a deleted tenant can be had back.
    pub delete_grace: Seconds,
    /// How long nobody uses a tenant of a cluster before it sleeps.
    pub tenant_idle: Seconds,
    /// How much memory tenants may take up before they sleep sooner; `None` is three quarters of all.
    pub memory_budget: Option<MemoryBytes>,
}

/// `server.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that vouch for it, as PEM.
    pub cert: FilePath,
    /// Its private key, as PEM.
    pub key: FilePath,
}

/// Section `cluster`, where it is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Where `HiveHub` is.
    pub hivehub_api_url: ServiceUrl,
    /// The key this server shows to `HiveHub`.
    pub hivehub_api_key: Secret,
    /// The deployment that this server is of. A tenant of another one is not served; `None` is of none.
    pub deployment: Option<DeploymentName>,
    /// How often a tenant's quota is asked for anew.
    pub quota_check_interval: Seconds,
    /// How often usage is reported.
    pub usage_report_interval: Seconds,
}

/// Section `auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Always true in cluster mode; single-tenant mode has no keys to ask for.
    pub require_authentication: bool,
    /// How long a key once found valid may be used while `HiveHub` cannot be asked.
    pub api_key_cache_ttl: Seconds,
}

/// Section `rate_limiting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimiting {
    /// Requests a tenant may make within a minute.
    pub default_requests_per_minute: RequestCount,
    /// Requests a tenant may make within an hour.
    pub default_requests_per_hour: RequestCount,
}

/// Section `embedding`, where it has a url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Where the service is: `/embeddings` is added.
    pub url: ServiceUrl,
    /// Its model.
    pub model: ModelName,
    /// The key this server shows to it.
    pub key: Option<Secret>,
    /// How many numbers its vectors have.
    pub dimension: Dimension,
}

impl Config {
    /// The configuration from the file that `flags` name (or [`DEFAULT_FILE`], if there is one), the
    /// `environment`, and `flags`.
    pub fn load(
        flags: &ConfigFlags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let text = if let Some(path) = &flags.config {
            read(path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?
        } else {
            match read(Path::new(DEFAULT_FILE)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(source) => {
                    return Err(ConfigError::Unreadable { path: DEFAULT_FILE.into(), source });
                }
                Ok(text) => text,
            }
        };
        Self::from_yaml(&text, flags, environment)
    }

    /// The configuration from the text of a `config.yml`; an empty one leaves every default.
    pub fn from_yaml(
        text: &str,
        flags: &ConfigFlags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let given = Given { document: Document::parse(text, environment)?, flags };
        let config = Self {
            server: Server::read(&given)?,
            cluster: Cluster::read_if_enabled(&given)?,
            auth: Auth::read(&given)?,
            rate_limiting: RateLimiting::read(&given)?,
            embedding: Embedding::read(&given)?,
        };
        if config.cluster.is_some() && !config.auth.require_authentication {
            return Err(ConfigError::ClusterWithoutAuthentication);
        }
        Ok(config)
    }
}

impl Server {
    fn read(given: &Given<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: given.listen()?,
            data_dir: given.data_dir()?,
            allowed_hosts: given.allowed_hosts()?,
            cors_origins: given.cors_origins()?,
            body_bytes_max: given.body_bytes_max()?,
            json_depth_max: given.json_depth_max()?,
            trusted_proxies: given.trusted_proxies()?,
            metrics_listen: given.metrics_listen()?,
            tls: TlsFiles::read(given)?,
            shutdown_delay: given.shutdown_delay()?,
            shutdown_grace: given.shutdown_grace()?,
            delete_grace: given.delete_grace()?,
            tenant_idle: given.tenant_idle()?,
            memory_budget: given.memory_budget()?,
        })
    }
}

impl TlsFiles {
    fn read(given: &Given<'_>) -> Result<Option<Self>, ConfigError> {
        let cert = given.tls_cert()?;
        let key = given.tls_key()?;
        let half = |given, missing| Err(ConfigError::HalfTls { given, missing });
        match (cert, key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(Self { cert, key })),
            (Some(_), None) => half(KEYS.tls_cert, KEYS.tls_key),
            (None, Some(_)) => half(KEYS.tls_key, KEYS.tls_cert),
        }
    }
}

impl Cluster {
    fn read_if_enabled(given: &Given<'_>) -> Result<Option<Self>, ConfigError> {
        let enabled = given.cluster_enabled()?;
        match Self::read(given) {
            Ok(cluster) => Ok(enabled.then_some(cluster)),
            // The default key is a variable, and who runs a single tenant has no reason to set it.
            Err(ConfigError::UnsetVariable { .. }) if !enabled => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The key comes last: where the section is not in use, its variable may be unset, and the other
    /// values are to be checked all the same.
    fn read(given: &Given<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            hivehub_api_url: given.hivehub_api_url()?,
            deployment: given.deployment()?,
            quota_check_interval: given.quota_check_interval()?,
            usage_report_interval: given.usage_report_interval()?,
            hivehub_api_key: given
                .hivehub_api_key()?
                .sendable()
                .ok_or(ConfigError::UnusableSecret { key: KEYS.hivehub_api_key })?,
        })
    }
}

impl Auth {
    fn read(given: &Given<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            require_authentication: given.require_authentication()?,
            api_key_cache_ttl: given.api_key_cache_ttl()?,
        })
    }
}

impl RateLimiting {
    fn read(given: &Given<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            default_requests_per_minute: given.default_requests_per_minute()?,
            default_requests_per_hour: given.default_requests_per_hour()?,
        })
    }
}

impl Embedding {
    /// Without a url the section is not in use, and says so if it has anything else.
    fn read(given: &Given<'_>) -> Result<Option<Self>, ConfigError> {
        let url = given.embedding_url()?;
        let model = given.embedding_model()?;
        let dimension = given.embedding_dimension()?;
        let missing = |key, beside| ConfigError::Incomplete { key, beside };
        let Some(url) = url else {
            return match (model, dimension) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(missing(KEYS.embedding_url, KEYS.embedding_model)),
                (None, Some(_)) => Err(missing(KEYS.embedding_url, KEYS.embedding_dimension)),
            };
        };
        // Last, as in `cluster`: where the section is not in use, its variable may be unset.
        let key: Option<Secret> = given.embedding_key()?;
        let sendable =
            |key: Secret| key.sendable().ok_or(ConfigError::UnusableSecret { key: KEYS.embedding_key });
        Ok(Some(Self {
            url,
            model: model.ok_or(missing(KEYS.embedding_model, KEYS.embedding_url))?,
            key: key.map(sendable).transpose()?,
            dimension: dimension.ok_or(missing(KEYS.embedding_dimension, KEYS.embedding_url))?,
        }))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {FILE_BYTES_MAX} bytes"),
        ));
    }
    Ok(text)
}
