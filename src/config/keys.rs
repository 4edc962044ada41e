//! The table of the configuration's keys: a row each, with its flag, its place in `config.yml` and its default.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use vectorizer_access::Secret;
use vectorizer_hivehub::DeploymentName;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::Dimension;

use super::document::Document;
use super::error::ConfigError;
use super::values::{
    BodyBytes, FilePath, HostName, JsonDepth, MemoryBytes, ModelName, Network, PageOrigin, RequestCount,
    Seconds, from_flag,
};

/// A key of `config.yml`, and its value unless one is given, written as it would be in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) section: &'static str,
    /// With a dot where it lies within a mapping of its section: `tls: { cert, key }`.
    pub(super) name: &'static str,
    pub(super) default: &'static str,
}

/// A row is a flag, a key that may be in the file, and a method of [`Given`] that reads its value. A value that the
/// configuration does not use does not compile: the method is dead code.
macro_rules! keys {
    ($(
        $(#[$documentation:meta])+
        $field:ident: $flag:ty = $kind:ident($section:literal, $name:literal, $default:literal) -> $value:ty;
    )+) => {
        /// The configuration file, and values that win over it.
        #[derive(Clone, Debug, Default, clap::Args)]
        #[expect(clippy::doc_markdown, reason = "the documentation is what --help prints")]
        #[command(next_help_heading = "Configuration (wins over the file)")]
        pub struct ConfigFlags {
            /// The configuration file [default: ./config.yml, if there is one]
            #[arg(long, value_name = "FILE")]
            pub config: Option<PathBuf>,
            $(
                $(#[$documentation])+
                #[arg(long)]
                pub $field: $flag,
            )+
        }

        /// Every key, by the name of its flag.
        pub(super) struct Keys {
            $(pub(super) $field: Key,)+
        }

        pub(super) const KEYS: Keys = Keys {
            $($field: Key { section: $section, name: $name, default: $default },)+
        };

        /// Every key, in the order of the documentation.
        pub(super) const ALL: &[Key] = &[$(KEYS.$field),+];

        impl Given<'_> {
            $(
                pub(super) fn $field(&self) -> Result<$value, ConfigError> {
                    self.document.$kind(&KEYS.$field, self.flags.$field.as_ref())
                }
            )+
        }
    };
}

/// What was given on the command line and in the file, value by value.
pub(super) struct Given<'a> {
    pub(super) document: Document<'a>,
    pub(super) flags: &'a ConfigFlags,
}

keys! {
    /// Where REST and MCP are served [default: 127.0.0.1:15002]
    #[arg(value_name = "ADDRESS:PORT", value_parser = from_flag::<SocketAddr>)]
    listen: Option<SocketAddr> = value("server", "listen", "127.0.0.1:15002") -> SocketAddr;

    /// The folder of every tenant's data [default: ./data]
    #[arg(value_name = "FOLDER", value_parser = from_flag::<PathBuf>)]
    data_dir: Option<PathBuf> = value("server", "data_dir", "./data") -> PathBuf;

    /// Names under which the server may be addressed, beside the loopback's
    #[arg(value_name = "HOST,...", value_delimiter = ',', value_parser = from_flag::<HostName>)]
    allowed_hosts: Option<Vec<HostName>> = list("server", "allowed_hosts", "[]") -> Vec<HostName>;

    /// Origins whose pages in browsers may use the API, each with its scheme; * is every one [default: none]
    #[arg(value_name = "ORIGIN,...", value_delimiter = ',', value_parser = from_flag::<PageOrigin>)]
    cors_origins: Option<Vec<PageOrigin>> = list("server", "cors_origins", "[]") -> Vec<PageOrigin>;

    /// The largest request body [default: 33554432]
    #[arg(value_name = "BYTES", value_parser = from_flag::<BodyBytes>)]
    body_bytes_max: Option<BodyBytes> = value("server", "body_bytes_max", "33554432") -> BodyBytes;

    /// The deepest nesting of a JSON body [default: 32]
    #[arg(value_name = "DEPTH", value_parser = from_flag::<JsonDepth>)]
    json_depth_max: Option<JsonDepth> = value("server", "json_depth_max", "32") -> JsonDepth;

    /// Proxies whose word about a client's address is taken [default: none]
    #[arg(value_name = "NETWORK,...", value_delimiter = ',', value_parser = from_flag::<Network>)]
    trusted_proxies: Option<Vec<Network>> = list("server", "trusted_proxies", "[]") -> Vec<Network>;

    /// A listener of its own for /metrics [default: none]
    #[arg(value_name = "ADDRESS:PORT", value_parser = from_flag::<SocketAddr>)]
    metrics_listen: Option<SocketAddr> = optional("server", "metrics_listen", "null") -> Option<SocketAddr>;

    /// The server's certificate and those that vouch for it, as PEM; with --tls-key [default: none, plain HTTP]
    #[arg(value_name = "FILE", value_parser = from_flag::<FilePath>)]
    tls_cert: Option<FilePath> = optional("server", "tls.cert", "null") -> Option<FilePath>;

    /// The certificate's private key, as PEM
    #[arg(value_name = "FILE", value_parser = from_flag::<FilePath>)]
    tls_key: Option<FilePath> = optional("server", "tls.key", "null") -> Option<FilePath>;

    /// How long everything is served still while /ready says 503, before the server stops [default: none]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    shutdown_delay: Option<Seconds> = optional("server", "shutdown_delay", "null") -> Option<Seconds>;

    /// How long requests in flight may take to end when the server stops [default: 30]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    shutdown_grace: Option<Seconds> = value("server", "shutdown_grace", "30") -> Seconds;

    /// How long a deleted tenant can be had back before it is erased [default: 604800]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    delete_grace: Option<Seconds> = value("server", "delete_grace", "604800") -> Seconds;

    /// How long nobody uses a tenant of a cluster before it sleeps [default: 600]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    tenant_idle: Option<Seconds> = value("server", "tenant_idle", "600") -> Seconds;

    /// How much memory tenants may take up before they sleep sooner [default: three quarters of all]
    #[arg(value_name = "BYTES", value_parser = from_flag::<MemoryBytes>)]
    memory_budget: Option<MemoryBytes> = optional("server", "memory_budget", "null") -> Option<MemoryBytes>;

    /// Many tenants, each with keys of its own [default: false]
    #[arg(value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = from_flag::<bool>)]
    cluster_enabled: Option<bool> = value("cluster", "enabled", "false") -> bool;

    /// Where HiveHub is [default: api.hivehub.io, by https]
    #[arg(value_name = "URL", value_parser = from_flag::<ServiceUrl>)]
    hivehub_api_url: Option<ServiceUrl> = value("cluster", "hivehub_api_url", "https://api.hivehub.io") -> ServiceUrl;

    /// This server's key for HiveHub; better left to the environment, where other users of the machine
    /// do not see it [default: $HIVEHUB_API_KEY]
    #[arg(value_name = "KEY", value_parser = from_flag::<Secret>)]
    hivehub_api_key: Option<Secret> = value("cluster", "hivehub_api_key", "${HIVEHUB_API_KEY}") -> Secret;

    /// The deployment that this server is of: tenants that HiveHub says are of another are not served [default: none]
    #[arg(value_name = "NAME", value_parser = from_flag::<DeploymentName>)]
    deployment: Option<DeploymentName> = optional("cluster", "deployment", "null") -> Option<DeploymentName>;

    /// How often quotas are asked for anew [default: 60]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    quota_check_interval: Option<Seconds> = value("cluster", "quota_check_interval", "60") -> Seconds;

    /// How often usage is reported [default: 300]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    usage_report_interval: Option<Seconds> = value("cluster", "usage_report_interval", "300") -> Seconds;

    /// Whether requests need a key; cluster mode does not start without [default: true]
    #[arg(value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = from_flag::<bool>)]
    require_authentication: Option<bool> = value("auth", "require_authentication", "true") -> bool;

    /// How long a valid key may be used while HiveHub cannot be asked [default: 300]
    #[arg(value_name = "SECONDS", value_parser = from_flag::<Seconds>)]
    api_key_cache_ttl: Option<Seconds> = value("auth", "api_key_cache_ttl", "300") -> Seconds;

    /// A tenant's requests per minute, where its plan names no number [default: 1000]
    #[arg(value_name = "COUNT", value_parser = from_flag::<RequestCount>)]
    default_requests_per_minute: Option<RequestCount> = value("rate_limiting", "default_requests_per_minute", "1000") -> RequestCount;

    /// A tenant's requests per hour, where its plan names no number [default: 10000]
    #[arg(value_name = "COUNT", value_parser = from_flag::<RequestCount>)]
    default_requests_per_hour: Option<RequestCount> = value("rate_limiting", "default_requests_per_hour", "10000") -> RequestCount;

    /// A service that turns texts into vectors: POST {url}/embeddings, as OpenAI has it [default: none]
    #[arg(value_name = "URL", value_parser = from_flag::<ServiceUrl>)]
    embedding_url: Option<ServiceUrl> = optional("embedding", "url", "null") -> Option<ServiceUrl>;

    /// Its model
    #[arg(value_name = "NAME", value_parser = from_flag::<ModelName>)]
    embedding_model: Option<ModelName> = optional("embedding", "model", "null") -> Option<ModelName>;

    /// This server's key for it; better left to a variable in the file [default: none]
    #[arg(value_name = "KEY", value_parser = from_flag::<Secret>)]
    embedding_key: Option<Secret> = optional("embedding", "key", "null") -> Option<Secret>;

    /// How many numbers its vectors have
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

/// Whether keys of the section lie in a mapping of this name.
pub(super) fn is_group(section: &str, name: &str) -> bool {
    let within = |key: &Key| key.name.split_once('.').is_some_and(|(group, _)| group == name);
    ALL.iter().any(|key| key.section == section && within(key))
}

pub(super) fn is_known(section: &str, name: &str) -> bool {
    ALL.iter().any(|key| key.section == section && key.name == name)
}

/// The key that `name`, found in `section`, was most likely meant to be. A key of the same section
/// wins a tie; one of another section wins where the key was right and its place wrong.
pub(super) fn nearest(section: Option<&str>, name: &str) -> Key {
    // A mapping with a value in its place.
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

/// The section or key that an unknown name at the top was most likely meant to be.
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
