//! Why the server does not start with this configuration.

use std::io;
use std::path::PathBuf;

use super::keys::Key;

/// A configuration that cannot be used. Every kind is the operator's to mend; none is worth a retry.
///
/// Messages quote a value as it was written: a variable's name, never its content.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, not text, too large, or not ours to read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not YAML.
    #[error("the configuration is not valid YAML")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// The file holds something else than sections.
    #[error("the configuration is {found}; it has to be sections such as \"server:\"")]
    NoSections {
        /// What it holds.
        found: &'static str,
    },
    /// No section has this name.
    #[error("unknown section {section:?}; the nearest known one is {nearest:?}")]
    UnknownSection {
        /// The name.
        section: String,
        /// What was probably meant.
        nearest: String,
    },
    /// A section is not a mapping.
    #[error("section {section:?} is {found}; it has to hold keys such as {example:?}")]
    NotASection {
        /// The section.
        section: String,
        /// What stands there.
        found: &'static str,
        /// A key that could.
        example: &'static str,
    },
    /// No key of this section has this name.
    #[error("unknown key {name:?} in section {section:?}; the nearest known key is \"{nearest}\"")]
    UnknownKey {
        /// The section.
        section: String,
        /// The key.
        name: String,
        /// What was probably meant.
        nearest: Key,
    },
    /// A value is not what its key takes.
    #[error("{key} is {value}, which is not {wanted}")]
    Invalid {
        /// The key.
        key: Key,
        /// The value as written.
        value: String,
        /// What the key takes.
        wanted: &'static str,
    },
    /// `${` without a name and a `}` behind it.
    #[error(
        "{key} has a \"${{\" that no variable's name and \"}}\" follow (write \"$${{\" for the characters)"
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
    /// The secret is empty, too long, or cannot stand in an HTTP header.
    #[error("{key} has to be 1 to {bytes_max} visible ASCII characters", bytes_max = super::Secret::BYTES_MAX)]
    UnusableSecret {
        /// The key.
        key: Key,
    },
    /// A key that another one needs has no value.
    #[error("{key} has no value, and {beside} is of no use without one")]
    Incomplete {
        /// The key.
        key: Key,
        /// The one that needs it.
        beside: Key,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("{given} is there and {missing} is not: a server that speaks TLS needs both")]
    HalfTls {
        /// The one.
        given: Key,
        /// The other.
        missing: Key,
    },
    /// Cluster mode would serve every tenant's data to anyone.
    #[error(
        "cluster.enabled is true and auth.require_authentication is false: many tenants cannot be told apart \
         without their keys; leave auth.require_authentication true, or cluster.enabled false"
    )]
    ClusterWithoutAuthentication,
}
