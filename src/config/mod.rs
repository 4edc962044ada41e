//! The configuration: `config.yml`, the environment, and the command line.
//!
//! A value on the command line overrides the file, and the file overrides the default. This module checks everything
//! once. The types of the values cannot hold an invalid one.

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
use vectorizer_embedding::EmbeddingService;
use vectorizer_hivehub::DeploymentName;
use vectorizer_http_client::ServiceUrl;
use vectorizer_rest::{Network, PageOrigin};

pub use error::ConfigError;
pub use keys::ConfigFlags;
use keys::{ConfigSources, KEYS};
pub use values::{
    BodyBytes, FilePath, HistorySeconds, HostName, JsonDepth, MemoryBytes, OnFull, RequestCount, Seconds,
};
pub use vectorizer_access::Secret;

/// The file that is read if the command line names none and this file exists.
pub const DEFAULT_FILE: &str = "config.yml";

/// The largest file, in bytes. Real configurations are far smaller.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The listener, the data folder, and the limits on requests.
    pub server: Server,
    /// Cluster mode; `None` is single-tenant mode.
    pub cluster: Option<Cluster>,
    /// Authentication.
    pub auth: Auth,
    /// The limits of a tenant whose plan has none.
    pub rate_limiting: RateLimiting,
    /// How long history is kept.
    pub history: History,
    /// The embeddings service, if there is one.
    pub embedding: Option<EmbeddingService>,
}

/// Section `server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The address for REST and MCP.
    pub listen: SocketAddr,
    /// The folder for the data of all tenants.
    pub data_dir: PathBuf,
    /// The allowed names of the server in `Host`, besides the names of loopback.
    pub allowed_hosts: Vec<HostName>,
    /// The origins whose pages may use the API from a browser.
    pub cors_origins: Vec<PageOrigin>,
    /// The largest request body.
    pub body_bytes_max: BodyBytes,
    /// The deepest nesting of a JSON body.
    pub json_depth_max: JsonDepth,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
    /// The address of a separate listener for `/metrics`.
    pub metrics_listen: Option<SocketAddr>,
    /// The certificate and key for TLS; `None` for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long the server continues to serve requests, while `/ready` answers 503, before it stops.
    pub shutdown_delay: Option<Seconds>,
    /// How long a stopping server waits for requests in progress.
    pub shutdown_grace: Seconds,
    /// How long a deleted tenant can be restored.
    pub delete_grace: Seconds,
    /// After how long without use a tenant of a cluster goes to sleep.
    pub tenant_idle: Seconds,
    /// The memory budget of all tenants, above which they go to sleep earlier; `None` for three quarters of all memory.
    pub memory_budget: Option<MemoryBytes>,
}

/// `server.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, as PEM.
    pub cert: FilePath,
    /// The certificate's private key, as PEM.
    pub key: FilePath,
}

/// Section `cluster`, if it is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The URL of `HiveHub`.
    pub hivehub_api_url: ServiceUrl,
    /// This server's key for `HiveHub`.
    pub hivehub_api_key: Secret,
    /// The deployment of this server, which does not serve tenants of another one; `None` if it has no deployment.
    pub deployment: Option<DeploymentName>,
    /// How often a tenant's quota is fetched.
    pub quota_check_interval: Seconds,
    /// How often usage is reported.
    pub usage_report_interval: Seconds,
}

/// Section `auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Always true in cluster mode. Single-tenant mode has no keys.
    pub require_authentication: bool,
    /// How long a validated key stays usable while `HiveHub` is unavailable.
    pub api_key_cache_ttl: Seconds,
}

/// Section `history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How long records are kept that a tenant's state does not need; `None` is for ever.
    pub keep: Option<HistorySeconds>,
    /// What happens when a tenant's log is as large as its limit.
    pub on_full: OnFull,
}

/// Section `rate_limiting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimiting {
    /// A tenant's requests per minute.
    pub default_requests_per_minute: RequestCount,
    /// A tenant's requests per hour.
    pub default_requests_per_hour: RequestCount,
}

impl Config {
    /// Loads the configuration from the file in `flags` (or [`DEFAULT_FILE`], if it exists), the `environment`, and
    /// `flags`.
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

    /// Parses the text of a `config.yml`. An empty text leaves every default.
    pub fn from_yaml(
        text: &str,
        flags: &ConfigFlags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let given = ConfigSources { document: Document::parse(text, environment)?, flags };
        let config = Self {
            server: Server::read(&given)?,
            cluster: Cluster::read_if_enabled(&given)?,
            auth: Auth::read(&given)?,
            rate_limiting: RateLimiting::read(&given)?,
            history: History::read(&given)?,
            embedding: embedding(&given)?,
        };
        if config.cluster.is_some() && !config.auth.require_authentication {
            return Err(ConfigError::ClusterWithoutAuthentication);
        }
        Ok(config)
    }
}

impl Server {
    fn read(given: &ConfigSources<'_>) -> Result<Self, ConfigError> {
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
    fn read(given: &ConfigSources<'_>) -> Result<Option<Self>, ConfigError> {
        let cert = given.tls_cert()?;
        let key = given.tls_key()?;
        let half = |given, missing| Err(ConfigError::IncompleteTls { given, missing });
        match (cert, key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(Self { cert, key })),
            (Some(_), None) => half(KEYS.tls_cert, KEYS.tls_key),
            (None, Some(_)) => half(KEYS.tls_key, KEYS.tls_cert),
        }
    }
}

impl Cluster {
    fn read_if_enabled(given: &ConfigSources<'_>) -> Result<Option<Self>, ConfigError> {
        let enabled = given.cluster_enabled()?;
        match Self::read(given) {
            Ok(cluster) => Ok(enabled.then_some(cluster)),
            // The default key is a variable, which need not be set in single-tenant mode.
            Err(ConfigError::UnsetVariable { .. }) if !enabled => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the key last: if the section is not in use, its variable may be unset, but the other values are still
    /// checked.
    fn read(given: &ConfigSources<'_>) -> Result<Self, ConfigError> {
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
    fn read(given: &ConfigSources<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            require_authentication: given.require_authentication()?,
            api_key_cache_ttl: given.api_key_cache_ttl()?,
        })
    }
}

impl History {
    fn read(given: &ConfigSources<'_>) -> Result<Self, ConfigError> {
        Ok(Self { keep: given.history_keep()?, on_full: given.history_on_full()? })
    }
}

impl RateLimiting {
    fn read(given: &ConfigSources<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            default_requests_per_minute: given.default_requests_per_minute()?,
            default_requests_per_hour: given.default_requests_per_hour()?,
        })
    }
}

/// Section `embedding`. Without a URL the section is not in use. A model or a dimension without a URL is an error.
fn embedding(given: &ConfigSources<'_>) -> Result<Option<EmbeddingService>, ConfigError> {
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
    // Read last, as in `cluster`: if the section is not in use, its variable may be unset.
    let key: Option<Secret> = given.embedding_key()?;
    let sendable =
        |key: Secret| key.sendable().ok_or(ConfigError::UnusableSecret { key: KEYS.embedding_key });
    Ok(Some(EmbeddingService {
        url,
        model: model.ok_or(missing(KEYS.embedding_model, KEYS.embedding_url))?,
        key: key.map(sendable).transpose()?,
        dimension: dimension.ok_or(missing(KEYS.embedding_dimension, KEYS.embedding_url))?,
    }))
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
