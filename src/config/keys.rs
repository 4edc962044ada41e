//! The table of configuration keys. Each row has a flag, a key of `config.yml` and a default.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use vectorizer_access::Secret;
use vectorizer_embedding::ModelName;
use vectorizer_hivehub::DeploymentName;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::Dimension;
use vectorizer_rest::{Network, PageOrigin};

use super::document::Document;
use super::error::ConfigError;
use super::values::{
    BodyBytes, FilePath, HistorySeconds, HostName, JsonDepth, MemoryBytes, OnFull, RequestCount, Seconds,
    from_flag,
};

/// A key of `config.yml`, with its default in the syntax of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) section: &'static str,
    /// The name. It has a dot if the key is in a group of its section: `tls: { cert, key }`.
    pub(super) name: &'static str,
    pub(super) default: &'static str,
}

/// Defines the keys. Each row becomes a flag, a key of the file, and a method of [`ConfigSources`] that reads the
/// value. A row whose value the configuration does not use does not compile, as its method is dead code.
macro_rules! keys {
    ($(
        $(#[$documentation:meta])+
        $field:ident: $flag:ty = $kind:ident($section:literal, $name:literal, $default:literal) -> $value:ty;
    )+) => {
        /// The configuration file, and values that override it.
        #[derive(Clone, Debug, Default, clap::Args)]
        #[expect(clippy::doc_markdown, reason = "the documentation is what --help prints")]
        #[command(next_help_heading = "Configuration (overrides the file)")]
        pub struct ConfigFlags {
            /// The configuration file [default: ./config.yml, if it exists]
            #[arg(long, value_name = "FILE")]
            pub config: Option<PathBuf>,
            $(
                $(#[$documentation])+
                #[arg(long)]
                pub $field: $flag,
            )+
        }

        /// All keys, by the names of their flags.
        pub(super) struct Keys {
            $(pub(super) $field: Key,)+
        }

        pub(super) const KEYS: Keys = Keys {
            $($field: Key { section: $section, name: $name, default: $default },)+
        };

        /// All keys, in the order of the documentation.
        pub(super) const ALL: &[Key] = &[$(KEYS.$field),+];

        impl ConfigSources<'_> {
            $(
                pub(super) fn $field(&self) -> Result<$value, ConfigError> {
                    self.document.$kind(&KEYS.$field, self.flags.$field.as_ref())
                }
            )+
        }
    };
}

/// The sources of values: the command line and the file.
pub(super) struct ConfigSources<'a> {
    pub(super) document: Document<'a>,
    pub(super) flags: &'a ConfigFlags,
}

keys! {
    /// The address for REST and MCP [default: 127.0.0.1:15002]
    #[arg(value_name = "ADDRESS:PORT", value_parser = from_flag::<SocketAddr>)]
    listen: Option<SocketAddr> = value("server", "listen", "127.0.0.1:15002") -> SocketAddr;

    /// The folder for the data of all tenants [default: ./data]
    #[arg(value_name = "FOLDER", value_parser = from_flag::<PathBuf>)]
    data_dir: Option<PathBuf> = value("server", "data_dir", "./data") -> PathBuf;

    /// Allowed names of the server in Host, besides the names of loopback
    #[arg(value_name = "HOST,...", value_delimiter = ',', value_parser = from_flag::<HostName>)]
    allowed_hosts: Option<Vec<HostName>> = list("server", "allowed_hosts", "[]") -> Vec<HostName>;

    /// Origins whose pages may use the API from a browser, with their scheme; * allows every origin [default: none]
    #[arg(value_name = "ORIGIN,...", value_delimiter = ',', value_parser = from_flag::<PageOrigin>)]
    cors_origins: Option<Vec<PageOrigin>> = list("server", "cors_origins", "[]") -> Vec<PageOrigin>;

    /// The largest request body [default: 33554432]
    #[arg(value_name = "BYTES", value_parser = from_flag::<BodyBytes>)]
    body_bytes_max: Option<BodyBytes> = value("server", "body_bytes_max", "33554432") -> BodyBytes;

    /// The deepest nesting of a JSON body [default: 32]
    #[arg(value_name = "DEPTH", value_parser = from_flag::<JsonDepth>)]
    json_depth_max: Option<JsonDepth> = value("server", "json_depth_max", "32") -> JsonDepth;

    /// Proxies whose X-Forwarded-For is trusted [default: none]
    #[arg(value_name = "NETWORK,...", value_delimiter = ',', value_parser = from_flag::<Network>)]
    trusted_proxies: Option<Vec<Network>> = list("server", "trusted_proxies", "[]") -> Vec<Network>;

    /// The address of a separate listener for /metrics [default: none]
    #[arg(value_name = "ADDRESS:PORT", value_parser = from_flag::<SocketAddr>)]
    metrics_listen: Option<SocketAddr> = optional("server", "metrics_listen", "null") -> Option<SocketAddr>;

    /// The server's certificate chain, as PEM; needs --tls-key [default: none, plain HTTP]
    #[arg(value_name = "FILE", value_parser = from_flag::<FilePath>)]
    tls_cert: Option<FilePath> = optional("server", "tls.cert", "null") -> Option<FilePath>;

    /// The certificate's private key, as PEM
    #[arg(value_name = "FILE", value_parser = from_flag::<FilePath>)]
    tls_key: Option<FilePath> = optional("server", "tls.key", "null") -> Option<FilePath>;

    /// How long the server continues to serve requests, while /ready answers 503, before it stops [default: none]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    shutdown_delay: Option<Seconds> = optional("server", "shutdown_delay", "null") -> Option<Seconds>;

    /// How long a stopping server waits for requests in progress [default: 30]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    shutdown_grace: Option<Seconds> = value("server", "shutdown_grace", "30") -> Seconds;

    /// How long a deleted tenant can be restored before its data is erased [default: 604800]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    delete_grace: Option<Seconds> = value("server", "delete_grace", "604800") -> Seconds;

    /// After how long without use a tenant of a cluster goes to sleep [default: 600]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    tenant_idle: Option<Seconds> = value("server", "tenant_idle", "600") -> Seconds;

    /// The memory budget of all tenants; above it, tenants go to sleep earlier [default: three quarters of all memory]
    #[arg(value_name = "BYTES", value_parser = from_flag::<MemoryBytes>)]
    memory_budget: Option<MemoryBytes> = optional("server", "memory_budget", "null") -> Option<MemoryBytes>;

    /// How long records are kept that a tenant's state does not need, if its plan does not say; 0 drops them soon
    /// [default: for ever]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<HistorySeconds>)]
    history_keep: Option<HistorySeconds> = optional("history", "keep", "null") -> Option<HistorySeconds>;

    /// When a tenant's log is as large as its limit: drop the oldest history, or refuse writes [default: drop]
    #[arg(value_name = "drop|refuse", value_parser = from_flag::<OnFull>)]
    history_on_full: Option<OnFull> = value("history", "on_full", "drop") -> OnFull;

    /// Cluster mode: many tenants, each with its own keys [default: false]
    #[arg(value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = from_flag::<bool>)]
    cluster_enabled: Option<bool> = value("cluster", "enabled", "false") -> bool;

    /// The URL of HiveHub [default: api.hivehub.io, by https]
    #[arg(value_name = "URL", value_parser = from_flag::<ServiceUrl>)]
    hivehub_api_url: Option<ServiceUrl> = value("cluster", "hivehub_api_url", "https://api.hivehub.io") -> ServiceUrl;

    /// This server's key for HiveHub; safer in the environment, as other users of the machine can see arguments
    /// [default: $HIVEHUB_API_KEY]
    #[arg(value_name = "KEY", value_parser = from_flag::<Secret>)]
    hivehub_api_key: Option<Secret> = value("cluster", "hivehub_api_key", "${HIVEHUB_API_KEY}") -> Secret;

    /// The deployment of this server: it does not serve tenants that HiveHub assigns to another one [default: none]
    #[arg(value_name = "NAME", value_parser = from_flag::<DeploymentName>)]
    deployment: Option<DeploymentName> = optional("cluster", "deployment", "null") -> Option<DeploymentName>;

    /// How often quotas are fetched [default: 60]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    quota_check_interval: Option<Seconds> = value("cluster", "quota_check_interval", "60") -> Seconds;

    /// How often usage is reported [default: 300]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    usage_report_interval: Option<Seconds> = value("cluster", "usage_report_interval", "300") -> Seconds;

    /// Whether requests need a key; cluster mode requires true [default: true]
    #[arg(value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = from_flag::<bool>)]
    require_authentication: Option<bool> = value("auth", "require_authentication", "true") -> bool;

    /// How long a validated key stays usable while HiveHub is unavailable [default: 300]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    api_key_cache_ttl: Option<Seconds> = value("auth", "api_key_cache_ttl", "300") -> Seconds;

    /// A tenant's requests per minute, if its plan has no limit [default: 1000]
    #[arg(value_name = "COUNT", value_parser = from_flag::<RequestCount>)]
    default_requests_per_minute: Option<RequestCount> = value("rate_limiting", "default_requests_per_minute", "1000") -> RequestCount;

    /// A tenant's requests per hour, if its plan has no limit [default: 10000]
    #[arg(value_name = "COUNT", value_parser = from_flag::<RequestCount>)]
    default_requests_per_hour: Option<RequestCount> = value("rate_limiting", "default_requests_per_hour", "10000") -> RequestCount;

    /// The embeddings service: POST {url}/embeddings, compatible with OpenAI [default: none]
    #[arg(value_name = "URL", value_parser = from_flag::<ServiceUrl>)]
    embedding_url: Option<ServiceUrl> = optional("embedding", "url", "null") -> Option<ServiceUrl>;

/// The model of the embeddings service
    #[arg(value_name = "NAME", value_parser = from_flag::<ModelName>)]
    embedding_model: Option<ModelName> = optional("embedding", "model", "null") -> Option<ModelName>;

    /// This server's key for the embeddings service; safer as a variable in the file [default: none]
    #[arg(value_name = "KEY", value_parser = from_flag::<Secret>)]
    embedding_key: Option<Secret> = optional("embedding", "key", "null") -> Option<Secret>;

    /// The dimension of the model's vectors
    #[arg(value_name = "COUNT", value_parser = from_flag::<Dimension>)]
    embedding_dimension: Option<Dimension> = optional("embedding", "dimension", "null") -> Option<Dimension>;
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.section, self.name)
    }
}

pub(super) fn is_section(name: &str) -> bool {
    ALL.iter().any(|key| key.section == name)
}

/// Whether the section has a group of this name.
pub(super) fn is_group(section: &str, name: &str) -> bool {
    let within = |key: &Key| key.name.split_once('.').is_some_and(|(group, _)| group == name);
    ALL.iter().any(|key| key.section == section && within(key))
}

pub(super) fn is_known(section: &str, name: &str) -> bool {
    ALL.iter().any(|key| key.section == section && key.name == name)
}

/// The known key that is most similar to `name` in `section`. On a tie, a key of the same section wins. A key of
/// another section wins if the name is right and the section is wrong.
pub(super) fn nearest(section: Option<&str>, name: &str) -> Key {
    // The name of a group, with a value instead of a mapping.
    let within = |key: &&Key| {
        section == Some(key.section) && key.name.split_once('.').is_some_and(|(group, _)| group == name)
    };
    if let Some(key) = ALL.iter().find(within) {
        return *key;
    }
    let distance = |key: &Key| {
        let elsewhere = usize::from(section != Some(key.section));
        2 * strsim::damerau_levenshtein(name, key.name) + elsewhere
    };
    ALL.iter().copied().min_by_key(distance).unwrap_or(KEYS.listen)
}

/// The known section or key that is most similar to an unknown name at the top level.
pub(super) fn nearest_at_top(name: &str) -> String {
    let key = nearest(None, name);
    let section = ALL
        .iter()
        .map(|key| key.section)
        .min_by_key(|section| strsim::damerau_levenshtein(name, section))
        .unwrap_or(KEYS.listen.section);
    if strsim::damerau_levenshtein(name, key.name) < strsim::damerau_levenshtein(name, section) {
        key.to_string()
    } else {
        section.to_owned()
    }
}
