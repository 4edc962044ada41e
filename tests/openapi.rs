//! The description that the server serves is one of the server.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer::api::location;
use vectorizer::auth::{Operation, Requirement};

use crate::node::{ACME, Key, Node};

/// The methods a path item can hold, beside its other fields.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

#[tokio::test(flavor = "multi_thread")]
async fn the_served_description_names_every_route_and_no_other() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let answer = node.keyless().get("/openapi.json").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    assert!(!document["info"]["title"].as_str().unwrap().is_empty());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));

    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|method| METHODS.contains(&method.as_str())) {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let served: BTreeSet<_> = Operation::ALL
        .map(location)
        .map(|(method, path)| (method.to_string(), path.to_owned()))
        .into_iter()
        .collect();
    assert_eq!(served.len(), Operation::ALL.len(), "two operations at one place");
    assert_eq!(described, served);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_whole_every_reference_leads_somewhere_and_every_placeholder_is_a_parameter() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let document = node.keyless().get("/openapi.json").await.expect(200);
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let scheme = &document["components"]["securitySchemes"]["key"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    let mut names = BTreeSet::new();
    for (method, path) in Operation::ALL.map(location) {
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        assert!(
            names.insert(operation["operationId"].as_str().unwrap()),
            "{method} {path}: its id is another's"
        );
        let in_path: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let described: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(described, in_path, "{method} {path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        // Open to everybody exactly where no key is asked for.
        let open = operation
            .get("security")
            .is_some_and(|security| *security == json!([{}]) || *security == json!([]));
        assert_eq!(open, ["/health", "/ready", "/api/v1/openapi.json"].contains(&path), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_described_with_its_two_formats_and_every_parameter() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let document = node.keyless().get("/openapi.json").await.expect(200);
    let operation = &document["paths"]["/api/v1/log"]["get"];
    let names: BTreeSet<&str> = operation["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    let known = [
        "follow",
        "format",
        "from",
        "limit",
        "since",
        "to",
        "until",
        "with_payload",
        "with_stored",
        "with_vector",
    ];
    assert_eq!(names, BTreeSet::from(known));
    let parameter = |name: &str| {
        let parameters = operation["parameters"].as_array().unwrap();
        parameters.iter().find(|parameter| parameter["name"] == name).unwrap()
    };
    for name in ["since", "until"] {
        assert_eq!(parameter(name)["schema"]["format"], "date-time", "{name}");
        assert_eq!(parameter(name)["required"], false, "{name}");
    }
    let formats = parameter("format").to_string();
    assert!(formats.contains("\"ndjson\"") && formats.contains("\"csv\""), "{formats}");
    let content = operation["responses"]["200"]["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["application/x-ndjson", "text/csv"]);
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An operation's place in a story in which every one succeeds, and what it is sent.
fn part_in_the_story(operation: Operation) -> (usize, Value) {
    match operation {
        Operation::CreateCollection => (0, json!({"name": "words", "dimension": 1, "metric": "dot"})),
        Operation::UpsertVectors => {
            (1, json!({"vectors": [{"id": "a", "vector": [1], "payload": {"n": 1}}]}))
        }
        Operation::ChangePayload => (2, json!({"n": 2})),
        Operation::Search => (3, json!({"vector": [1], "with_vector": true})),
        Operation::SearchBatch => (3, json!({"searches": [{"vector": [1]}]})),
        Operation::Count => (3, json!({})),
        Operation::DeleteVectors => (3, json!({"ids": ["never"]})),
        Operation::Mcp => (3, json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})),
        Operation::ListCollections
        | Operation::DescribeCollection
        | Operation::ListVectors
        | Operation::GetVector
        | Operation::ReadLog
        | Operation::ReadLogHead
        | Operation::Metrics
        | Operation::ListTenants
        | Operation::ClusterHealth
        | Operation::Usage
        | Operation::ValidateKey
        | Operation::Health
        | Operation::Ready
        | Operation::OpenApi => (3, Value::Null),
        Operation::DeleteVector => (4, Value::Null),
        Operation::DeleteCollection => (5, Value::Null),
        Operation::DeleteTenant => (6, Value::Null),
        Operation::RestoreTenant => (7, Value::Null),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_with_the_status_type_and_fields_that_are_described() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    let document = client.get("/openapi.json").await.expect(200);
    let mut story = Operation::ALL.map(|operation| (part_in_the_story(operation), operation));
    story.sort_by_key(|((place, _), _)| *place);
    for ((_, body), operation) in story {
        let (method, template) = location(operation);
        let path = template.replace("{name}", "words").replace("tenants/{id}", "tenants/acme");
        let path = path.replace("{id}", "a");
        let key = match operation.requirement() {
            Requirement::Cluster => Key::Operator,
            Requirement::Tenant(_)
            | Requirement::TenantOrCluster
            | Requirement::AnyKey
            | Requirement::AnyTenant
            | Requirement::Nothing => ACME,
        };
        let mut request = client.request_at(method.clone(), &path).bearer_auth(node.key(key));
        if !body.is_null() {
            request = request.json(&body);
        }
        if operation == Operation::Mcp {
            request = request.header("accept", "application/json, text/event-stream");
        }
        let answer = client.send(request).await;
        let responses = &document["paths"][template][method.as_str().to_lowercase()]["responses"];
        let described = &responses[answer.status.as_str()];
        assert!(
            answer.status.is_success() && described.is_object(),
            "{operation:?}: {} {}",
            answer.status,
            answer.body
        );
        let successes = responses.as_object().unwrap().keys().filter(|status| status.starts_with('2'));
        assert_eq!(successes.count(), 1, "{operation:?}");
        let content_type = answer.headers["content-type"].to_str().unwrap();
        let schema = &described["content"][content_type]["schema"];
        assert!(schema.is_object(), "{operation:?}: {content_type} is not described");
        has_the_described_fields(&document, schema, &answer.body, &format!("{operation:?}"));
        if method != Method::GET {
            assert_eq!(
                document["paths"][template][method.as_str().to_lowercase()]["requestBody"].is_object(),
                !body.is_null()
            );
        }
    }
}

/// All fields that are required are there, and no field is there that is not described.
fn has_the_described_fields(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).unwrap();
        return has_the_described_fields(document, schema, value, place);
    }
    if let Some(all) = schema["allOf"].as_array() {
        // One value in several parts: no part describes all of its fields.
        for part in all {
            for name in part["required"].as_array().into_iter().flatten() {
                assert!(value.get(name.as_str().unwrap()).is_some(), "{place} has no {name}");
            }
        }
        return;
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (number, value) in values.iter().enumerate() {
            has_the_described_fields(document, items, value, &format!("{place}[{number}]"));
        }
    }
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(name.as_str().unwrap()), "{place} has no {name}: {value}");
    }
    for (name, value) in fields {
        let property = properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not described"));
        has_the_described_fields(document, property, value, &format!("{place}.{name}"));
    }
}
