//! The contract and the server say the same.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::{Call, Caller};

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("../../../../../docs/hivehub.openapi.yaml")).unwrap()
});

/// Whether a path is what a path of the contract stands for.
fn stands_for(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(path).all(|(wanted, part)| wanted.starts_with('{') || *wanted == part)
}

/// What is wrong with an answer under a schema of the contract, if anything is.
fn faults(schema: &Value, answer: &Value) -> Option<String> {
    const PLACE: &str = "http://contract.test/schema";
    let mut root = schema.clone();
    root["components"] = CONTRACT["components"].clone();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.set_default_draft(boon::Draft::V2020_12);
    compiler.enable_format_assertions();
    compiler.add_resource(PLACE, root).unwrap();
    let index = compiler.compile(PLACE, &mut schemas).unwrap_or_else(|error| panic!("{schema}: {error:#}"));
    schemas.validate(answer, index).err().map(|error| format!("{error:#}"))
}

/// Holds an answer against what the contract says of this call and status. Of a path that is in no
/// contract only errors come, in their own form.
pub(super) fn assert_fits(method: &str, path: &str, status: u16, answer: &Value) {
    let operation = operation(method, path);
    let schema = match operation {
        None => json!({"$ref": "#/components/schemas/Error"}),
        Some(operation) => {
            let response = &operation["responses"][status.to_string()];
            assert!(response.is_object(), "{method} {path} answered {status}, which is not in the contract");
            if response.get("$ref").is_some() {
                json!({"$ref": "#/components/schemas/Error"})
            } else {
                let content = response["content"].as_object().unwrap();
                content.values().next().unwrap()["schema"].clone()
            }
        }
    };
    assert_eq!(faults(&schema, answer), None, "{method} {path} answered {answer}");
    assert!(operation.is_some() || status >= 400, "{method} {path} is served and not in the contract");
}

/// The operation of the contract that is called so.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = CONTRACT["paths"].as_object().unwrap();
    let exact = paths.iter().find(|(template, _)| stands_for(template, path));
    exact.and_then(|(_, operations)| operations.get(method.to_lowercase()))
}

/// Holds a request against what the contract says of this call: what was given fits, and what does not fit was
/// refused.
pub(super) fn assert_request_fits(method: &str, path: &str, status: u16, body: Option<&Value>) {
    let Some(operation) = operation(method, path) else { return };
    let fault = match (operation.get("requestBody"), body) {
        (None, None) => None,
        (None, Some(_)) => Some("it takes no body".to_owned()),
        (Some(_), None) => Some("it needs a body".to_owned()),
        (Some(wanted), Some(body)) => {
            let content = wanted["content"].as_object().unwrap();
            faults(&content.values().next().unwrap()["schema"], body)
        }
    };
    if let Some(fault) = fault {
        assert!(status >= 400, "{method} {path} took {body:?}, which is not the contract's: {fault}");
    }
}

/// Holds what a server asks against the contract: the call, its parameters and its body.
pub(super) fn assert_asks_as_promised(method: &str, path: &str, body: Option<&Value>) {
    let operation =
        operation(method, path).unwrap_or_else(|| panic!("{method} {path} is not in the contract"));
    assert_eq!(operation["tags"], json!(["service"]), "{method} {path}");
    assert_request_fits(method, path, 200, body);
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let url = reqwest::Url::parse(&format!("http://hub{path}")).unwrap();
    for (name, text) in url.query_pairs() {
        let parameter = parameters
            .iter()
            .map(|it| CONTRACT.pointer(it["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap())
            .find(|parameter| parameter["in"] == "query" && parameter["name"] == *name)
            .unwrap_or_else(|| panic!("{method} {path}: there is no parameter {name}"));
        // Whatever is of another type is written as that type's JSON.
        let written = serde_json::from_str(&text).ok().filter(Value::is_number);
        let value = written.unwrap_or_else(|| json!(text));
        assert_eq!(faults(&parameter["schema"], &value), None, "{method} {path}: {name}={text}");
    }
}

#[test]
fn every_path_and_method_in_the_contract_is_served_and_the_other_way_round() {
    let mut promised = BTreeSet::new();
    for (path, operations) in CONTRACT["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if method != "parameters" {
                let security = operation["security"][0].as_object().unwrap().keys().next().unwrap();
                promised.insert((method.to_uppercase(), path.as_str(), security.as_str()));
            }
        }
    }
    let served = Call::ALL.iter().map(|call| {
        let key = match call.caller() {
            Caller::Service => "serviceKey",
            Caller::Operator => "operatorKey",
        };
        (call.method().to_owned(), call.path(), key)
    });
    assert_eq!(served.collect::<BTreeSet<_>>(), promised);
    assert_eq!(promised.len(), Call::ALL.len());
    assert_eq!(CONTRACT["openapi"], "3.1.0");
    let schemes = &CONTRACT["components"]["securitySchemes"];
    assert_eq!(schemes["serviceKey"]["name"], "X-Service-Key");
    assert_eq!(schemes["operatorKey"]["scheme"], "bearer");
}

#[test]
fn every_schema_is_one_and_every_reference_leads_somewhere() {
    let mut waiting = vec![&*CONTRACT];
    while let Some(value) = waiting.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let target = CONTRACT.pointer(reference.trim_start_matches('#'));
            assert!(target.is_some(), "{reference}");
        }
        match value {
            Value::Object(fields) => waiting.extend(fields.values()),
            Value::Array(items) => waiting.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    for name in CONTRACT["components"]["schemas"].as_object().unwrap().keys() {
        // Null is looked at for the schema's sake: one that is none cannot be compiled.
        let _ = faults(&json!({"$ref": format!("#/components/schemas/{name}")}), &Value::Null);
    }
}

#[test]
fn the_check_itself_tells_a_wrong_answer() {
    let schema = json!({"$ref": "#/components/schemas/PolicyEvent"});
    let fits = |answer: &Value| faults(&schema, answer).is_none();
    let event =
        json!({"position": 1, "at": "2026-01-02T03:04:05Z", "type": "quota_changed", "tenant": "acme"});
    assert!(fits(&event));
    for (field, value) in [("at", json!("soon")), ("type", json!("x")), ("position", json!(0))] {
        let mut wrong = event.clone();
        wrong[field] = value;
        assert!(!fits(&wrong), "{wrong}");
    }
    assert!(!fits(
        &json!({"position": 1, "at": "2026-01-02T03:04:05Z", "type": "key_revoked", "key_id": "k"})
    ));
}
