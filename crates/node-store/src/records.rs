//! Records about tenants.

use serde::{Deserialize, Serialize};
use vectorizer_hivehub::{PolicyCursor, QuotaNumbers};
use vectorizer_log::{Incarnation, Timestamp};

/// The limits of a plan, as `HiveHub` answered last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredQuota {
    /// The numbers, as fields of the record.
    #[serde(flatten)]
    pub numbers: QuotaNumbers,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_quota_is_one_flat_object() {
        let numbers = QuotaNumbers { log_bytes: Some(9), ..QuotaNumbers::default() };
        let quota = StoredQuota { numbers, incarnation: None };
        let stored = "{\"storage_bytes\":null,\"log_bytes\":9,\"vectors\":null,\"collections\":null,\
                      \"requests_per_minute\":null,\"requests_per_hour\":null,\"incarnation\":null}";
        assert_eq!(serde_json::to_string(&quota).unwrap(), stored);
        assert_eq!(serde_json::from_str::<StoredQuota>(stored).unwrap(), quota);
        // Earlier versions stored no incarnation.
        let earlier = stored.replace(",\"incarnation\":null", "");
        assert_eq!(serde_json::from_str::<StoredQuota>(&earlier).unwrap(), quota);
    }
}
