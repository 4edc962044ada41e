//! Validation of keys.

use serde::{Deserialize, Serialize};
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_log::{Incarnation, TenantId, Timestamp};

use super::deployment::DeploymentName;
use super::extensible::Extensible;
use super::moment::optional as rfc3339;
use super::policies::PolicyCursor;
use super::{Permission, present};

/// Where keys are validated, below `HiveHub`'s address.
pub const VALIDATE_PATH: &str = "/api/internal/access-keys/validate";

/// Body of `POST` to [`VALIDATE_PATH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateRequest {
    /// The key's SHA-256; the key itself is never sent.
    pub key_sha256: KeyHash,
}

/// Answer to [`ValidateRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidateAnswer {
    /// `{"valid": true, …}`
    Valid(KeyFacts),
    /// `{"valid": false, "reason": …}`
    Refused {
        /// Why.
        reason: Extensible<Reason>,
        /// The position of the answer in the policy feed; `None` if `HiveHub` has none.
        policy_cursor: Option<PolicyCursor>,
    },
}

/// A key that is not unknown, expired, revoked, or of a deleted tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// The key's public name.
    pub key_id: KeyId,
    /// Its permission.
    pub permission: Extensible<Permission>,
    /// What its permission extends to.
    pub scope: Extensible<Scope>,
    /// When it expires; `None` is never.
    #[serde(with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// Its tenant; `None` for a key of cluster scope.
    #[serde(deserialize_with = "present")]
    pub tenant: Option<TenantFacts>,
    /// The position of the answer in the policy feed; `None` if `HiveHub` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_cursor: Option<PolicyCursor>,
}

/// A tenant, as `HiveHub` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantFacts {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// Its plan's name.
    pub plan: String,
    /// Whether it may be served.
    pub status: Extensible<TenantStatus>,
    /// Its incarnation; `None` if `HiveHub` does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The deployment that serves it; `None` is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentName>,
}

/// What a key's permission extends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One tenant's data.
    Tenant,
    /// The node, and no tenant's data.
    Cluster,
}

/// Whether a tenant is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// It is served.
    Active,
    /// It is not served for now.
    Suspended,
    /// It is deleted.
    Deleted,
}

/// Why `HiveHub` refuses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no such key.
    Unknown,
    /// It was revoked.
    Revoked,
    /// It has expired.
    Expired,
    /// Its tenant was deleted.
    TenantDeleted,
}

/// The meaning of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The key is valid.
    Valid(KeyIdentity),
    /// The key is refused.
    Refused(Refusal),
}

/// The identity of a caller with a valid key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIdentity {
    /// The key's public name.
    pub key_id: KeyId,
    /// Its permission.
    pub permission: Permission,
    /// Whose it is.
    pub holder: Holder,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// The holder of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An active tenant.
    Tenant(TenantProfile),
    /// The operator of the cluster. Such a key's permission is [`Permission::Admin`].
    Cluster,
}

/// An active tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantProfile {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// Its plan's name.
    pub plan: String,
    /// Its incarnation; `None` if `HiveHub` does not have it.
    pub incarnation: Option<Incarnation>,
    /// The deployment that serves it; `None` is any.
    pub deployment: Option<DeploymentName>,
}

/// Why a caller is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such key.
    #[error("the key is unknown")]
    Unknown,
    /// It was revoked.
    #[error("the key was revoked")]
    Revoked,
    /// It has expired.
    #[error("the key has expired")]
    Expired,
    /// Its tenant was deleted.
    #[error("the key's tenant was deleted")]
    TenantDeleted,
    /// The key is genuine and its tenant suspended. The status is 403; that of the others is 401.
    #[error("tenant {0} is suspended")]
    TenantSuspended(TenantId),
    /// The answer has a word that this server does not know. It grants nothing.
    #[error("the key cannot be used with this version of the server")]
    NotUnderstood,
}

/// A positive answer that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A key of tenant scope came without its tenant.
    #[error("a key of tenant scope without a tenant")]
    NoTenant,
    /// A key of cluster scope came with a tenant.
    #[error("a key of cluster scope with a tenant")]
    TenantOfCluster,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unknown => Self::Unknown,
            Reason::Revoked => Self::Revoked,
            Reason::Expired => Self::Expired,
            Reason::TenantDeleted => Self::TenantDeleted,
        }
    }
}

impl ValidateAnswer {
    /// The answer in this JSON.
    pub fn from_json(body: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Validity {
            valid: bool,
            reason: Option<Extensible<Reason>>,
            #[serde(default)]
            policy_cursor: Option<PolicyCursor>,
        }
        let Validity { valid, reason, policy_cursor } = serde_json::from_slice(body)?;
        if valid {
            return serde_json::from_slice(body).map(Self::Valid);
        }
        let reason = reason.unwrap_or_else(|| Extensible::Unknown(String::new()));
        Ok(Self::Refused { reason, policy_cursor })
    }

    /// The position of the answer in the policy feed, if it has one.
    pub fn policy_cursor(&self) -> Option<PolicyCursor> {
        match self {
            Self::Valid(facts) => facts.policy_cursor,
            Self::Refused { policy_cursor, .. } => *policy_cursor,
        }
    }

    /// The meaning of the answer. In the contract the key of a suspended tenant is valid; here it is refused, so that
    /// no handler has to check the status.
    pub fn verdict(self) -> Result<Verdict, Contradiction> {
        match self {
            Self::Refused { reason, policy_cursor: _ } => {
                Ok(Verdict::Refused(reason.known().map_or(Refusal::NotUnderstood, Refusal::from)))
            }
            Self::Valid(facts) => facts.verdict(),
        }
    }
}

impl KeyFacts {
    fn verdict(self) -> Result<Verdict, Contradiction> {
        let (Some(permission), Some(scope)) = (self.permission.known(), self.scope.known()) else {
            return Ok(Verdict::Refused(Refusal::NotUnderstood));
        };
        let holder = match (scope, self.tenant) {
            (Scope::Tenant, None) => return Err(Contradiction::NoTenant),
            (Scope::Cluster, Some(_)) => return Err(Contradiction::TenantOfCluster),
            // The contract defines only ADMIN for keys of cluster scope, so others grant nothing.
            (Scope::Cluster, None) if permission != Permission::Admin => {
                return Ok(Verdict::Refused(Refusal::NotUnderstood));
            }
            (Scope::Cluster, None) => Holder::Cluster,
            (Scope::Tenant, Some(tenant)) => match tenant.status {
                Extensible::Known(TenantStatus::Active) => {
                    let TenantFacts { id, name, plan, status: _, incarnation, deployment } = tenant;
                    Holder::Tenant(TenantProfile { id, name, plan, incarnation, deployment })
                }
                Extensible::Known(TenantStatus::Suspended) => {
                    return Ok(Verdict::Refused(Refusal::TenantSuspended(tenant.id)));
                }
                Extensible::Known(TenantStatus::Deleted) => {
                    return Ok(Verdict::Refused(Refusal::TenantDeleted));
                }
                Extensible::Unknown(_) => return Ok(Verdict::Refused(Refusal::NotUnderstood)),
            },
        };
        let expires_at = self.expires_at;
        Ok(Verdict::Valid(KeyIdentity { key_id: self.key_id, permission, holder, expires_at }))
    }
}

impl Serialize for ValidateAnswer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Valid<'a> {
            valid: bool,
            #[serde(flatten)]
            facts: &'a KeyFacts,
        }
        #[derive(Serialize)]
        struct Refused<'a> {
            valid: bool,
            reason: &'a Extensible<Reason>,
            #[serde(skip_serializing_if = "Option::is_none")]
            policy_cursor: &'a Option<PolicyCursor>,
        }
        match self {
            Self::Valid(facts) => Valid { valid: true, facts }.serialize(serializer),
            Self::Refused { reason, policy_cursor } => {
                Refused { valid: false, reason, policy_cursor }.serialize(serializer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CURSOR: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff:17";

    fn answer() -> Value {
        json!({
            "valid": true, "key_id": "k1", "permission": "READ_WRITE", "scope": "tenant", "expires_at": null,
            "tenant": {"id": "acme", "name": "Acme", "plan": "pro", "status": "active"},
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut answer = answer();
        *answer.pointer_mut(pointer).unwrap() = value;
        answer
    }

    fn verdict(answer: &Value) -> Result<Verdict, String> {
        let answer = ValidateAnswer::from_json(answer.to_string().as_bytes()).map_err(|e| e.to_string())?;
        answer.verdict().map_err(|e| e.to_string())
    }

    #[test]
    fn a_valid_key_has_an_identity() {
        let mut answer = with("/expires_at", json!("2030-01-02T03:04:05.5+01:00"));
        answer["added_later"] = json!({"is": "ignored"});
        let Ok(Verdict::Valid(identity)) = verdict(&answer) else { panic!("{answer}") };
        assert_eq!(identity.key_id.as_str(), "k1");
        assert_eq!(identity.permission, Permission::ReadWrite);
        assert_eq!(identity.expires_at.unwrap().to_string(), "2030-01-02T02:04:05.500000Z");
        let Holder::Tenant(tenant) = identity.holder else { panic!("not a tenant's") };
        assert_eq!((tenant.id.as_str(), &*tenant.name, &*tenant.plan), ("acme", "Acme", "pro"));
    }

    #[test]
    fn an_answer_reads_as_it_was_written() {
        let mut dated = answer();
        dated["policy_cursor"] = json!(CURSOR);
        let refused = json!({"valid": false, "reason": "revoked"});
        let refused_at = json!({"valid": false, "reason": "revoked", "policy_cursor": CURSOR});
        let mut told_apart = answer();
        told_apart["tenant"]["incarnation"] = json!("0193a4b2-7c00-7000-8000-0000000000aa");
        told_apart["tenant"]["deployment"] = json!("eu-1");
        for answer in [answer(), dated, told_apart, refused, refused_at] {
            let read = ValidateAnswer::from_json(answer.to_string().as_bytes()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), answer);
        }
    }

    #[test]
    fn a_word_from_the_future_is_a_refusal() {
        for (pointer, word) in
            [("/permission", "SUPERUSER"), ("/scope", "galaxy"), ("/tenant/status", "hibernating")]
        {
            let answer = with(pointer, json!(word));
            assert_eq!(verdict(&answer), Ok(Verdict::Refused(Refusal::NotUnderstood)), "{word}");
        }
        // A refusal without a reason is a refusal.
        for answer in [json!({"valid": false, "reason": "full moon"}), json!({"valid": false})] {
            assert_eq!(verdict(&answer), Ok(Verdict::Refused(Refusal::NotUnderstood)));
        }
    }

    #[test]
    fn only_an_active_tenants_key_lets_anyone_in() {
        let suspended = Refusal::TenantSuspended("acme".parse().unwrap());
        assert_eq!(verdict(&with("/tenant/status", json!("suspended"))), Ok(Verdict::Refused(suspended)));
        assert_eq!(
            verdict(&with("/tenant/status", json!("deleted"))),
            Ok(Verdict::Refused(Refusal::TenantDeleted))
        );
    }

    #[test]
    fn the_operators_key_is_an_admins_and_no_tenants() {
        let mut answer = with("/tenant", Value::Null);
        answer["scope"] = json!("cluster");
        assert_eq!(verdict(&answer), Ok(Verdict::Refused(Refusal::NotUnderstood)));
        answer["permission"] = json!("ADMIN");
        let Ok(Verdict::Valid(identity)) = verdict(&answer) else { panic!("{answer}") };
        assert_eq!(identity.holder, Holder::Cluster);
    }

    #[test]
    fn an_answer_that_contradicts_itself_or_says_too_little_is_an_error() {
        for (pointer, value) in [
            ("/tenant", Value::Null),
            ("/scope", json!("cluster")),
            ("/valid", json!("yes")),
            ("/key_id", Value::Null),
            ("/key_id", json!("a\nb")),
            ("/tenant/id", json!("../acme")),
            ("/tenant", json!({"id": "acme", "name": "", "plan": "", "status": "active", "incarnation": 7})),
            ("/expires_at", json!("soon")),
            ("/permission", json!(7)),
            (
                "/tenant",
                json!({"id": "acme", "name": "", "plan": "", "status": "active", "deployment": "a b"}),
            ),
        ] {
            assert!(verdict(&with(pointer, value.clone())).is_err(), "{pointer} {value}");
        }
        assert!(verdict(&json!([])).is_err() && verdict(&json!({})).is_err());
        let mut answers = [answer(), json!({"valid": false, "reason": "revoked"})];
        for answer in &mut answers {
            answer["policy_cursor"] = json!("17");
            assert!(verdict(answer).is_err(), "{answer}");
        }
    }
}
