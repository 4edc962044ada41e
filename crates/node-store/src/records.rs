//! Records about tenants.

use serde::{Deserialize, Serialize};
use vectorizer_hivehub::PolicyCursor;
use vectorizer_log::{Incarnation, Timestamp};

/// The limits of a plan, as answered last. `None` is the configured default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredQuota {
    /// Logical bytes of vectors.
    pub storage_bytes: Option<u64>,
    /// Stored bytes of the log.
    pub log_bytes: Option<u64>,
    /// Vectors.
    pub vectors: Option<u64>,
    /// Collections.
    pub collections: Option<u64>,
    /// Requests within a minute.
    pub requests_per_minute: Option<u64>,
    /// Requests within an hour.
    pub requests_per_hour: Option<u64>,
    /// The tenant's incarnation, if it is known.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
}

/// A deletion that is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDeletion {
    /// The event that says so.
    pub at: PolicyCursor,
    /// The deleted incarnation, if it is known.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// Whether the event undoes a deletion.
    #[serde(default)]
    pub is_undone: bool,
}

/// How large a tenant was, and when it was used last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSize {
    /// The last record.
    pub seq: u64,
    /// Collections.
    pub collections: u64,
    /// Vectors.
    pub vectors: u64,
    /// Logical bytes of the vectors.
    pub storage_bytes: u64,
    /// Stored bytes of the log.
    pub log_bytes: u64,
    /// Its memory with the log closed, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// When it was used last, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<Timestamp>,
}
