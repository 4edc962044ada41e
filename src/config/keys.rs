//! Every key of `config.yml`, with its default.

use std::fmt;

/// A key and what it is when nobody says otherwise. A default is written as it would be in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) default: &'static str,
}

const fn key(section: &'static str, name: &'static str, default: &'static str) -> Key {
    Key { section, name, default }
}

pub(super) const LISTEN: Key = key("server", "listen", "127.0.0.1:15002");
pub(super) const DATA_DIR: Key = key("server", "data_dir", "./data");
pub(super) const ALLOWED_HOSTS: Key = key("server", "allowed_hosts", "[]");
pub(super) const CORS_ORIGINS: Key = key("server", "cors_origins", "[]");
pub(super) const BODY_BYTES_MAX: Key = key("server", "body_bytes_max", "33554432");
pub(super) const JSON_DEPTH_MAX: Key = key("server", "json_depth_max", "32");
pub(super) const TRUSTED_PROXIES: Key = key("server", "trusted_proxies", "[]");
pub(super) const METRICS_LISTEN: Key = key("server", "metrics_listen", "null");
/// A key within a mapping of its section: `tls: { cert, key }`.
pub(super) const TLS_CERT: Key = key("server", "tls.cert", "null");
pub(super) const TLS_KEY: Key = key("server", "tls.key", "null");
pub(super) const SHUTDOWN_DELAY: Key = key("server", "shutdown_delay", "null");
pub(super) const SHUTDOWN_GRACE: Key = key("server", "shutdown_grace", "30");
pub(super) const DELETE_GRACE: Key = key("server", "delete_grace", "604800");
pub(super) const TENANT_IDLE: Key = key("server", "tenant_idle", "600");
pub(super) const MEMORY_BUDGET: Key = key("server", "memory_budget", "null");
pub(super) const CLUSTER_ENABLED: Key = key("cluster", "enabled", "false");
pub(super) const HIVEHUB_API_URL: Key = key("cluster", "hivehub_api_url", "https://api.hivehub.io");
pub(super) const HIVEHUB_API_KEY: Key = key("cluster", "hivehub_api_key", "${HIVEHUB_API_KEY}");
pub(super) const DEPLOYMENT: Key = key("cluster", "deployment", "null");
pub(super) const QUOTA_CHECK_INTERVAL: Key = key("cluster", "quota_check_interval", "60");
pub(super) const USAGE_REPORT_INTERVAL: Key = key("cluster", "usage_report_interval", "300");
pub(super) const REQUIRE_AUTHENTICATION: Key = key("auth", "require_authentication", "true");
pub(super) const API_KEY_CACHE_TTL: Key = key("auth", "api_key_cache_ttl", "300");
pub(super) const REQUESTS_PER_MINUTE: Key = key("rate_limiting", "default_requests_per_minute", "1000");
pub(super) const REQUESTS_PER_HOUR: Key = key("rate_limiting", "default_requests_per_hour", "10000");
pub(super) const EMBEDDING_URL: Key = key("embedding", "url", "null");
pub(super) const EMBEDDING_MODEL: Key = key("embedding", "model", "null");
pub(super) const EMBEDDING_KEY: Key = key("embedding", "key", "null");
pub(super) const EMBEDDING_DIMENSION: Key = key("embedding", "dimension", "null");

/// All of them, in the order of the documentation.
pub(super) const ALL: &[Key] = &[
    LISTEN,
    DATA_DIR,
    ALLOWED_HOSTS,
    CORS_ORIGINS,
    BODY_BYTES_MAX,
    JSON_DEPTH_MAX,
    TRUSTED_PROXIES,
    METRICS_LISTEN,
    TLS_CERT,
    TLS_KEY,
    SHUTDOWN_DELAY,
    SHUTDOWN_GRACE,
    DELETE_GRACE,
    TENANT_IDLE,
    MEMORY_BUDGET,
    CLUSTER_ENABLED,
    HIVEHUB_API_URL,
    HIVEHUB_API_KEY,
    DEPLOYMENT,
    QUOTA_CHECK_INTERVAL,
    USAGE_REPORT_INTERVAL,
    REQUIRE_AUTHENTICATION,
    API_KEY_CACHE_TTL,
    REQUESTS_PER_MINUTE,
    REQUESTS_PER_HOUR,
    EMBEDDING_URL,
    EMBEDDING_MODEL,
    EMBEDDING_KEY,
    EMBEDDING_DIMENSION,
];

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
    ALL.iter().copied().min_by_key(distance).unwrap_or(LISTEN)
}

/// The section or key that an unknown name at the top was most likely meant to be.
pub(super) fn nearest_at_top(name: &str) -> String {
    let key = nearest(None, name);
    let section = ALL
        .iter()
        .map(|key| key.section)
        .min_by_key(|section| strsim::damerau_levenshtein(name, section))
        .unwrap_or(LISTEN.section);
    if strsim::damerau_levenshtein(name, key.name) < strsim::damerau_levenshtein(name, section) {
        key.to_string()
    } else {
        section.to_owned()
    }
}
