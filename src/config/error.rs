//! The errors of the configuration.

use std::io;
use std::path::PathBuf;

use super::keys::Key;

/// Why the configuration is invalid. The operator has to correct it; retrying does not help.
///
/// Messages quote a value as the file has it: the name of a variable, never its content.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, not text, too large, or not readable.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not YAML.
    #[error("the configuration is not valid YAML")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// The file does not consist of sections.
    #[error("the configuration is {found}; it must have sections such as \"server:\"")]
    NoSections {
        /// What the file has instead.
        found: &'static str,
    },
    /// A section is unknown.
    #[error("unknown section {section:?}; the nearest known one is {nearest:?}")]
    UnknownSection {
        /// The name.
        section: String,
        /// The known name that is most similar.
        nearest: String,
    },
    /// A section is not a mapping.
    #[error("section {section:?} is {found}; it must have keys such as {example:?}")]
    NotASection {
        /// The section.
        section: String,
        /// What the file has instead.
        found: &'static str,
        /// A key of the section.
        example: &'static str,
    },
    /// A key is unknown.
    #[error("unknown key {name:?} in section {section:?}; the nearest known key is \"{nearest}\"")]
    UnknownKey {
        /// The section.
        section: String,
        /// The key.
        name: String,
        /// The known name that is most similar.
        nearest: Key,
    },
    /// A value is not valid for its key.
    #[error("{key} is {value}, which is not {expected}")]
    Invalid {
        /// The key.
        key: Key,
        /// The value as written.
        value: String,
        /// The values that are valid.
        expected: &'static str,
    },
    /// `${` is not followed by a name and `}`.
    #[error(
        "{key} has \"${{\" without a variable's name and \"}}\" after it (write \"$${{\" for the characters themselves)"
    )]
    MalformedVariable {
        /// The key.
        key: Key,
    },
    /// A variable that the value needs is not in the environment.
    #[error("{key} needs the environment variable {variable}, which is not set")]
    UnsetVariable {
        /// The key.
        key: Key,
        /// The variable.
        variable: String,
    },
    /// A secret is empty, too long, or not a valid header value.
    #[error("{key} must be 1 to {bytes_max} visible ASCII characters", bytes_max = super::Secret::BYTES_MAX)]
    UnusableSecret {
        /// The key.
        key: Key,
    },
    /// A key has no value, but another key requires it.
    #[error("{key} has no value, but {beside} requires it")]
    Incomplete {
        /// The key.
        key: Key,
        /// The key that requires it.
        beside: Key,
    },
    /// There is a certificate without a key, or a key without a certificate.
    #[error("{given} is set, but {missing} is not: TLS needs both")]
    IncompleteTls {
        /// The key that is set.
        given: Key,
        /// The key that is missing.
        missing: Key,
    },
    /// Cluster mode would serve every tenant's data to any client.
    #[error(
        "cluster.enabled is true and auth.require_authentication is false: a cluster cannot tell tenants apart \
         without their keys; leave auth.require_authentication true, or cluster.enabled false"
    )]
    ClusterWithoutAuthentication,
}
