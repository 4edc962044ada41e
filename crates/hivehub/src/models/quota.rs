//! Quotas.

use serde::{Deserialize, Serialize};
use vectorizer_log::{Incarnation, TenantId};

use super::extensible::Extensible;
use super::keys::TenantStatus;
use super::policies::PolicyCursor;
use super::present;

/// Where a tenant's quota is asked for, below `HiveHub`'s address; `{id}` stands for the tenant.
pub const QUOTA_PATH: &str = "/api/internal/vectorizer/tenants/{id}/quota";

/// The path of a tenant's quota. A tenant id needs no escaping in a path.
pub fn quota_path(tenant: &TenantId) -> String {
    QUOTA_PATH.replace("{id}", tenant.as_str())
}

/// The numbers of a quota. `None` (null) is the configured default. Of the first six, none may be missing.
///
/// `HiveHub` answers with them, and a node stores them as they were answered. Other types have the same six names and
/// stay apart, because their values differ: the self-run hub bounds each number and refuses unknown names, its
/// operator's changes tell null from a missing number, a tenant's limits have the defaults filled in, and REST shows
/// those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaNumbers {
    /// Logical bytes of all vectors.
    #[serde(deserialize_with = "present")]
    pub storage_bytes: Option<u64>,
    /// Bytes of the tenant's log.
    #[serde(deserialize_with = "present")]
    pub log_bytes: Option<u64>,
    /// Vectors in all collections.
    #[serde(deserialize_with = "present")]
    pub vectors: Option<u64>,
    /// Collections.
    #[serde(deserialize_with = "present")]
    pub collections: Option<u64>,
    /// Requests within a minute; 0 lets nothing in.
    #[serde(deserialize_with = "present")]
    pub requests_per_minute: Option<u64>,
    /// Requests within an hour; 0 lets nothing in.
    #[serde(deserialize_with = "present")]
    pub requests_per_hour: Option<u64>,
    /// Days for which a tenant's history is kept. May be missing, which is the configured default like null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_days: Option<u64>,
}

/// Answer to `GET` of [`QUOTA_PATH`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaAnswer {
    /// The numbers, as fields of the answer.
    #[serde(flatten)]
    pub numbers: QuotaNumbers,
    /// Whether the tenant is served; `None` if `HiveHub` does not have it in this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Extensible<TenantStatus>>,
    /// The tenant's incarnation; `None` if `HiveHub` does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The policies it was made under; `None` from a `HiveHub` without a policy feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_cursor: Option<PolicyCursor>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_null_is_the_configured_default_and_a_zero_is_none_at_all() {
        let answer = json!({
            "storage_bytes": u64::MAX, "log_bytes": null, "vectors": null, "collections": 3,
            "requests_per_minute": 0, "requests_per_hour": null, "status": "suspended",
            "policy_cursor": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff:17", "added_later": [1],
        });
        let quota: QuotaAnswer = serde_json::from_value(answer).unwrap();
        let numbers = quota.numbers;
        assert_eq!((numbers.storage_bytes, numbers.log_bytes), (Some(u64::MAX), None));
        assert_eq!((numbers.requests_per_minute, numbers.requests_per_hour), (Some(0), None));
        assert_eq!(quota.status, Some(Extensible::Known(TenantStatus::Suspended)));
        assert_eq!(quota.policy_cursor.unwrap().position(), 17);
    }

    #[test]
    fn an_answer_says_every_number_and_nothing_it_does_not_know() {
        let numbers = QuotaNumbers { vectors: Some(5), ..QuotaNumbers::default() };
        let answer = serde_json::to_value(QuotaAnswer { numbers, ..QuotaAnswer::default() }).unwrap();
        let expected = json!({
            "storage_bytes": null, "log_bytes": null, "vectors": 5, "collections": null,
            "requests_per_minute": null, "requests_per_hour": null,
        });
        assert_eq!(answer, expected);
        for number in [json!(-1), json!(1.5), json!("7")] {
            let mut wrong = expected.clone();
            assert!(serde_json::from_value::<QuotaAnswer>(wrong.clone()).is_ok());
            wrong["vectors"] = number;
            assert!(serde_json::from_value::<QuotaAnswer>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tenants_quota_has_a_path_of_its_own() {
        let path = quota_path(&"acme-2".parse().unwrap());
        assert_eq!(path, "/api/internal/vectorizer/tenants/acme-2/quota");
    }
}
