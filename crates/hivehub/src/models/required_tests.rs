//! The contract's `required` lists and the models say the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::error::HubError;

const CURSOR: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff:17";
const AT: &str = "2026-01-02T03:04:05Z";

/// An answer, where in it an object of the schema is, and how the program reads it.
struct Sample {
    schema: &'static str,
    answer: Value,
    at: &'static str,
    read: fn(&[u8]) -> Result<(), serde_json::Error>,
}

fn reads<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<T>(body).map(drop)
}

fn validates(body: &[u8]) -> Result<(), serde_json::Error> {
    ValidateAnswer::from_json(body).map(drop)
}

fn samples() -> Vec<Sample> {
    let valid = json!({
        "valid": true, "key_id": "k1", "permission": "ADMIN", "scope": "tenant", "expires_at": null,
        "tenant": {
            "id": "acme", "name": "Acme", "plan": "pro", "status": "active",
            "incarnation": "0193a4b2-7c00-7000-8000-0000000000aa",
        },
        "policy_cursor": CURSOR,
    });
    let quota = json!({
        "storage_bytes": null, "log_bytes": null, "vectors": 7, "collections": null,
        "requests_per_minute": null, "requests_per_hour": null, "status": "active",
        "incarnation": "0193a4b2-7c00-7000-8000-0000000000aa", "policy_cursor": CURSOR,
    });
    let policies = json!({"cursor": CURSOR, "events": [
        {"position": 1, "at": AT, "type": "quota_changed", "tenant": "acme"},
    ]});
    let sample = |schema, answer: &Value, at, read| Sample { schema, answer: answer.clone(), at, read };
    vec![
        sample("ValidKey", &valid, "", validates),
        sample("Tenant", &valid, "/tenant", validates),
        sample(
            "RefusedKey",
            &json!({"valid": false, "reason": "revoked", "policy_cursor": CURSOR}),
            "",
            validates,
        ),
        sample("Quota", &quota, "", reads::<QuotaAnswer>),
        sample("Policies", &policies, "", reads::<PoliciesAnswer>),
        sample("PolicyEvent", &policies, "/events/0", reads::<PoliciesAnswer>),
        sample(
            "UsageReceipt",
            &json!({"id": "x", "outcome": "rejected", "reason": "why"}),
            "",
            reads::<UsageReceipt>,
        ),
        sample("Error", &json!({"error": "x", "details": "y"}), "", reads::<ErrorAnswer>),
    ]
}

#[test]
fn what_the_contract_requires_has_to_be_there_and_what_it_does_not_may_be_missing() {
    let contract: Value =
        serde_saphyr::from_str(include_str!("../../../../docs/hivehub.openapi.yaml")).unwrap();
    for Sample { schema, answer, at, read } in samples() {
        let promised = &contract["components"]["schemas"][schema];
        let required: BTreeSet<&str> =
            promised["required"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert!(read(answer.to_string().as_bytes()).is_ok(), "{schema}: {answer}");
        for field in promised["properties"].as_object().unwrap().keys() {
            let mut without = answer.clone();
            if without.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(field).is_none() {
                // Of an event of another kind.
                assert!(!required.contains(field.as_str()), "{schema}: the sample has no {field}");
                continue;
            }
            // Of this kind of event, too.
            let is_required =
                required.contains(field.as_str()) || (schema, &**field) == ("PolicyEvent", "tenant");
            match read(without.to_string().as_bytes()) {
                Ok(()) => assert!(!is_required, "{schema} is read without {field}"),
                Err(error) => {
                    assert!(is_required, "{schema} is not read without {field}: {error}");
                    let named = HubError::json(&error);
                    let cause = std::error::Error::source(&named).unwrap().to_string();
                    assert_eq!(cause, format!("the field {field:?} is missing"), "{schema}");
                }
            }
        }
    }
}

#[test]
fn nothing_of_an_answer_is_repeated_as_the_name_of_a_field() {
    for body in ["{\"valid\": \"missing field `x`\"}", "[\"missing field `secret`\"]", "missing field `x`"] {
        let error = ValidateAnswer::from_json(body.as_bytes()).unwrap_err();
        let cause = std::error::Error::source(&HubError::json(&error)).unwrap().to_string();
        assert!(!cause.contains("missing"), "{cause}");
    }
}
